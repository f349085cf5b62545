//! The raftshare index node: a Raft member that serves the replicated index over HTTP.
//!
//! # Three floors
//!
//! The crate is built in floors, and a module names only modules below its own:
//!
//! ```text
//!  cli, start            words in, settings out; assembling a node and stopping it in order
//!  ─────────────────────────────────────────────────────────────────────────────────────────
//!  http                  the API: one file for a group of endpoints, one for failures and their statuses
//!  duties                tasks that use the whole node: membership, founding, comparisons, failover, …
//!  ─────────────────────────────────────────────────────────────────────────────────────────
//!  node                  the handle: the parts of a running node, and the questions they answer together
//!  ─────────────────────────────────────────────────────────────────────────────────────────
//!  propose  transport  search  leader  comparison  events  freshness  identities  condition  …
//!                        the parts: each takes what it needs, and none knows the node
//!  sys                   clocks, network, memory, descriptors, the log's thread
//! ```
//!
//! [`node::Node`] is a bag of parts, and whoever gets it can reach everything. So the parts do not get it.
//! [`propose::Proposer`] takes Raft and a clock, [`search::names`] takes the applied state, [`leader::Leadership`] is
//! told the time and the catalog, and [`transport`] serves connections for a [`transport::Host`] that it does not know.
//! Each can be read, tested and replaced by itself. What really needs the node is a task with a purpose, and stands
//! above it in [`duties`].
//!
//! ```
//! use node::search::{Mode, Search, SearchIndex};
//! use raft_store::types::FileName;
//!
//! // The search index needs no node, no catalog and no thread.
//! let mut index = SearchIndex::default();
//! index.insert(0, &FileName::parse("docs/report 2024.pdf").expect("a valid name"));
//! let search = Search::new("reprot", Mode::Fuzzy, |step| step(&index));
//! assert_eq!(search.finish(&search.view(&index), 10, |_| true).total, 1);
//! ```
//!
//! # A write and a read
//!
//! ```text
//!  http ──► propose ──► openraft ──► raft-store (log, catalog)         a write
//!  http ──► http::consistency ─────► catalog, or search                a read, once its source is new enough
//!  raft-store's feed ──► duties::derived ──► leader, search, events    what follows from an applied entry
//!  duties::leading ──► leader (pure) ──► propose, wake-ups             the timed work of a leader
//!  transport ◄──► other nodes ──► duties::peers                        the same port, told apart by the first bytes
//! ```
//!
//! # What holds, and what checks it
//!
//! `tests/floors.rs` reads the sources and checks that:
//!
//! * nothing below [`node`] names the node, and no modules stand in a circle;
//! * only [`http`] names axum and its `ApiError`: everything else has typed errors of its own, which `http::error` maps
//!   to statuses in one place;
//! * only [`sys::clock`] reads a clock, and only [`propose::LogClock`] turns what it shows into the time of entries;
//! * only [`propose`] gives commands to Raft.

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
pub mod testbed;
pub mod transport;
