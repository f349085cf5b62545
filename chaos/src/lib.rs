//! Fault injection for a raftshare cluster: real processes, faults from outside, a recorded history, and checkers with
//! a model of their own. Beside it stand a simulator of whole clusters and, as a feature, a benchmark.
//!
//! # A run
//!
//! ```text
//!  scenario (data) ── schedule (seed → actions) ── nemesis ──► cluster   kill, stop, restart
//!        │                                            └──► fault       links, disks, files, clocks
//!        │                                                   ▲
//!        └── workload (library clients, zombies, readers) ───┘ HTTP
//!                 │ every request and answer
//!                 ▼
//!  history, recorder ── model ── checker (one property per file) ── report
//!                                                  pass · violation · unknown · invalid
//! ```
//!
//! A scenario is a value: the setup around the nodes, what the clients do, the steps of a round, the checkers that
//! judge the run and what a valid run has to show. [`runner`] starts the cluster and the clients; [`nemesis`] carries
//! out the steps. Every request is in the [`history`] before it is sent, and every answer after it has arrived, on one
//! clock.
//!
//! A run has two phases. While faults are active, only safety is examined: nothing acknowledged may be lost,
//! contradicted or done twice. Then every fault is removed and liveness is demanded: the cluster must heal, serve, hold
//! the same state on every node, and still have everything it acknowledged ([`verify`]).
//!
//! # Verdicts
//!
//! - *Pass*: the run was valid, and every property was decided and held.
//! - *Violation*: a property was broken; the report names the operations that show it.
//! - *Unknown*: something could not be decided.
//! - *Invalid*: too little happened to mean anything.
//!
//! What the harness itself could not do is an error and none of these.
//!
//! # Faults
//!
//! A fault works from outside: through addresses, mounts, signals, the environment, files of a process that is down, or
//! the product's own commands. The families of faults are declared in one list in [`fault`]. Their names are one enum,
//! [`history::FaultName`]; it says what each fault means to every checker, so none can be forgotten.
//!
//! # The simulator
//!
//! [`sim`] runs whole clusters in one thread, on simulated disks, a simulated network and simulated time. Its clients
//! send the same writes, and its histories are judged by the same checkers. A failing seed replays bit for bit. The
//! seed of a run of real processes only constrains it.
//!
//! # What is not proven
//!
//! `kill -9` does not show that unsynced data is lost, because the page cache survives it; the power cuts of the disk
//! family do. Nothing is said about machines other than the one that was tested.
//!
//! # A history is judged by itself
//!
//! ```
//! use chaos::checker::ALL;
//! use chaos::history::{Event, FORMAT, Record, RunInfo};
//! use chaos::model::Model;
//! use chaos::report::{Verdict, judge};
//!
//! let run = RunInfo { format: FORMAT, nodes: 3, rounds: 1, ..RunInfo::default() };
//! let history = [Event { at: 0, record: Record::Run(run) }];
//! // Nothing was asked, so nothing was decided.
//! assert_eq!(judge(&Model::new(&history), ALL, None).verdict, Verdict::Unknown);
//! ```
//!
//! Invariant: the product's binaries run unmodified; they contain no hook of this crate.

#[cfg(feature = "bench")]
pub mod bench;
pub mod checker;
pub mod cli;
pub mod cluster;
pub mod columns;
pub mod fault;
pub mod history;
pub mod holder;
pub mod interrupt;
pub mod live;
pub mod matrix;
pub mod model;
pub mod nemesis;
pub mod observer;
pub mod recorder;
pub mod report;
pub mod revision;
pub mod runner;
pub mod scenario;
pub mod schedule;
pub mod sim;
pub mod verify;
pub mod workload;
