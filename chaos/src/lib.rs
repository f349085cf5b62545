//! Fault injection for a raftshare cluster: real processes, faults from outside, a recorded history,
//! and checkers with a model of their own.
//!
//! ```text
//!  scenario/ (data) ── schedule.rs (seed → actions) ── nemesis.rs ──► process.rs, cluster.rs   kill, stop, restart
//!        │                                                  └─────────► fault/  (links, disks, files, clocks, …)
//!        │                                                                     ▲
//!        └── workload/  (library clients, zombies, a reader) ── HTTP ──────────┘
//!                 │ every request and answer
//!                 ▼
//!  history.rs, recorder.rs ── model.rs ── checker/ (one property per file) ── report/
//!                                                                      pass · violation · unknown · invalid
//! ```
//!
//! A run has two phases. Under faults only safety is examined: nothing acknowledged may be lost, contradicted or done
//! twice. Then every fault is removed, and liveness is demanded: the cluster must heal, serve, hold the same state on
//! every node, and still have everything it acknowledged (`verify.rs`).
//!
//! Verdicts: *pass* needs a valid run in which every property was decided and held; *violation* names the operations
//! that show it; *unknown* means that something could not be decided; *invalid* that too little happened to mean
//! anything. What the harness itself could not do is an error, and none of these.
//!
//! Not proven here: that disks keep what a killed process had not synced (the page cache survives `kill
//! -9`), behaviour under broken networks, and anything about machines other than this one. A seed
//! constrains a run, it does not replay it.
//!
//! Invariant: the product's binaries run unmodified; no hook of this crate is in them.

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
