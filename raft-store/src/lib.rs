//! The replicated index of raftshare: a pure *catalog*, and below the feature `storage` its Raft log and snapshots.
//!
//! ```text
//!  Batch{stamp, commands} ──► Catalog::apply ──► Applied{replies, events}      pure: no clock, no I/O, no randomness
//!        ▲                         │
//!        │ log entry               │ encode / decode (canonical bytes)
//!  openraft ──► storage::log ──► LogDevice (sled | simulated)     storage::snapshot (checksummed files)
//! ```
//!
//! Replicated state never depends on a clock or a random number: both travel inside entries (rules T1, D2); the tables
//! of a process hash with a secret of its own ([`hasher`], [`name_table`]), and nothing that is replicated depends on
//! that. Rule numbers (T1, F4, L5 …) in comments are explained in `docs/consistency.md`.

pub mod catalog;
mod checksum;
pub mod hasher;
pub mod name_table;
#[cfg(feature = "schema")]
mod schema;
pub mod types;

#[cfg(feature = "storage")]
pub mod proposal;
#[cfg(feature = "storage")]
pub mod raft;
#[cfg(feature = "storage")]
pub mod storage;
