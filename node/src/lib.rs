//! The raftshare index node: a Raft member that serves the replicated index over HTTP.
//!
//! ```text
//!  http ─► propose ──► openraft ──► raft-store (log, catalog)        a write
//!  http (consistency) ────────────► catalog                           a read
//!  leadership ──► liveness, planner (pure) ──► propose, wake-ups     the leader's duties
//!  transport ◄──► other nodes                                        one port for both kinds of traffic
//! ```
//!
//! Only `propose` gives commands to Raft, only `clock` gives the time that goes into entries, only
//! `http::error` gives failures their status codes.

pub mod cli;
pub mod comparison;
pub mod condition;
pub mod config;
pub mod deadline;
pub mod duties;
pub mod events;
pub mod freshness;
pub mod http;
pub mod identities;
pub mod leader;
pub mod metrics;
pub mod node;
pub mod propose;
pub mod raft;
pub mod search;
pub mod start;
pub mod sys;
pub mod transport;
