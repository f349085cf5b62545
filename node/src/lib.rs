//! The raftshare index node: a Raft member that serves the replicated index over HTTP.
//!
//! ```text
//!  api ──► propose ──► openraft ──► raft-store (log, catalog)        a write
//!  api ──► read ─────────────────► catalog                           a read
//!  leadership ──► liveness, planner (pure) ──► propose, wake-ups     the leader's duties
//!  transport ◄──► other nodes                                        one port for both kinds of traffic
//! ```
//!
//! Only `propose` gives commands to Raft, only `clock` gives the time that goes into entries, only
//! `api::error` gives failures their status codes.

mod addresses;
pub mod api;
pub mod birth;
pub mod cli;
pub mod clock;
pub mod condition;
pub mod config;
mod cut;
pub mod deadline;
mod descriptors;
pub mod dev;
mod digests;
pub mod divergence;
pub mod events;
pub mod freshness;
pub mod identities;
pub mod leadership;
pub mod liveness;
pub mod logging;
pub mod membership;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod net;
pub mod node;
pub mod observer;
pub mod operate;
mod places;
pub mod planner;
pub mod propose;
pub mod pulse;
pub mod read;
pub mod search;
mod serve;
mod snapshots;
pub mod standing;
pub mod start;
pub mod starts;
pub mod succession;
pub mod testbed;
pub mod transport;
