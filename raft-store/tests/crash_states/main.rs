//! Crash consistency, exhaustively: a sequence of appends, truncations, purges, votes and snapshots is recorded, the
//! power is cut at every point of the recording, and every kind of disk that may be left is opened again.
//!
//! Two levels: [`simulated`] cuts at every call of the log device and keeps every prefix of what was not synced;
//! [`files`] cuts at every operation on every file, names and directories included, as the real store makes them
//! through sled. `RAFT_STORE_CRASH_STATES` sets how many states of files each recording is opened in (default 500).
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "the order of these maps is never used")]

#[path = "../crash/mod.rs"]
mod crash;
mod files;
mod recorder;
mod script;
mod simulated;
mod states;
