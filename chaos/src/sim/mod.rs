//! Seeded simulation of a whole cluster in one process: real nodes (HTTP layer, coalescer, openraft, log store,
//! catalog) over simulated disks, a simulated network and simulated time, while clients work and everything breaks.
//!
//! ```text
//!  plan.rs (seed → what may happen) ─► run.rs ── steps turmoil; every step: faults.rs breaks,
//!                                        │       watch.rs and liveness.rs examine
//!                                        │
//!            machine.rs (a node on net.rs and a SimDisk) ◄── HTTP ── actor.rs, guest.rs (clients), probe.rs,
//!                                        │                           admin.rs (membership), heal.rs
//!                                        │ history
//!                                        ▼
//!                       the checkers of real runs  ─► outcome.rs ─► batch.rs (one process per seed), cli.rs
//! ```
//!
//! Two phases: under faults only safety counts; then everything is healed and liveness is demanded. In
//! quiet worlds, where one fault comes at a time, liveness.rs demands it under faults too: writes go
//! on wherever a majority is left (C7).
//!
//! Invariant: one seed is one process and one thread, and whatever happens in it follows from the seed alone: time is
//! simulated, and chance comes from `entropy.rs`. So a failing seed replays bit for bit.
//!
//! Not simulated: sled and real files (their crash tests are in `raft-store`), reqwest and the client library, the rate
//! of Raft's own timers (clock rates apply to log time), the work done on blocking threads (searches,
//! `/cluster/digest`), and TCP's repeats: a lost message breaks its connection.

mod actor;
mod admin;
pub mod batch;
pub mod cli;
mod cuts;
mod entropy;
mod faults;
mod guest;
mod heal;
mod http;
mod journal;
mod liveness;
mod machine;
mod net;
pub mod outcome;
mod plan;
mod probe;
mod run;
mod watch;

pub use outcome::Outcome;
pub use run::run_seed;
