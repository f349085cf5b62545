//! The replicated index of raftshare: which machine has which version of a file, and who may write the next one.
//!
//! # What the crate is
//!
//! Every index node runs the same state machine over the same Raft log. This crate is that state machine, the log and
//! the snapshots on disk. It neither opens sockets nor reads clocks; those are the business of the crate `node`.
//!
//! ```text
//!  Batch { stamp, commands } ──► Catalog::apply ──► Applied { replies, events }     pure: no clock, no I/O, no random
//!        ▲                            │                                             numbers
//!        │ log entry                  │ encode / decode: canonical bytes
//!  openraft ──► storage: log ──► LogDevice (sled, or simulated)      storage: snapshots (checksummed files)
//! ```
//!
//! # The pure core
//!
//! [`catalog`] is the state machine. It is an ordinary value: [`catalog::Catalog::apply`] takes a log entry, changes
//! the catalog and returns one reply for each command, and events for everything that changed. Nothing else changes it.
//! So whatever a distributed system makes hard to test is tested here without one: golden scripts state what each
//! operation does, random histories check the invariants after every step, and replay is compared with snapshots.
//!
//! [`types`] is the vocabulary that all crates share, and the limits that they have to agree on. Without features the
//! crate is this core, and it is all that a client links.
//!
//! # The storage
//!
//! The feature `storage` adds the other half. `raft` fixes openraft's types, `proposal` carries a batch
//! together with its encoding, and `storage` implements openraft's log and state machine on a data directory: a log in
//! sled with one flusher for group commit, and snapshots in checksummed files. The feature `sim` adds a simulated disk
//! that loses what was not synced when it crashes; tests and the simulator in `chaos` run the same code on it.
//!
//! # Invariants
//!
//! - Equal logs give equal states, byte for byte (D1). Time and randomness are in the log entries: the leader stamps an
//!   entry with the log clock (T1), and draws tokens before it proposes (D2). The hash tables of a process use secret
//!   seeds ([`hasher`]), and nothing replicated depends on their order.
//! - A file has at most one live lease (L1), and a version is published under the live lease only (F5).
//! - A command with an idempotency key is applied once, however often it is sent (X1).
//! - What was acknowledged to Raft is on the disk (W1). After the first storage error nothing is acknowledged (W4).
//! - The bytes of log and snapshots outlive a build: each format has a version, and a golden file pins the bytes (D3).
//!
//! Rule numbers (T1, F4, L5 …) are explained in `docs/consistency.md`.
//!
//! # Example
//!
//! ```
//! use raft_store::catalog::{Acquire, Batch, Catalog, Command, EntryId, Listing, Register, Reply, Stamp};
//! use raft_store::types::{FileName, LeaseToken, PeerId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let peer = PeerId::parse("laptop")?;
//! let register = Register {
//!     peer: peer.clone(),
//!     address: "http://laptop:7000".into(),
//!     zone: None,
//!     capacity_bytes: None,
//!     serving: true,
//!     listing: Listing::Whole(Vec::new()),
//! };
//! let file = FileName::parse("notes.txt")?;
//! let token = LeaseToken([7; 16]);
//! let acquire = Acquire { peer, file: file.clone(), ttl_ms: 60_000, wait: false, token };
//!
//! // One log entry of term 1, stamped one second after the log clock began.
//! let commands = vec![Command { key: None, op: register.into() }, Command { key: None, op: acquire.into() }];
//! let batch = Batch { stamp: Some(Stamp { term: 1, at: 1_000 }), commands };
//!
//! let mut catalog = Catalog::default();
//! let entry = EntryId { term: 1, index: 1 };
//! let applied = catalog.apply(entry, &batch);
//! let Ok(Reply::Granted(grant)) = &applied.replies[1].result else { panic!("the file was free") };
//! assert_eq!((grant.fencing_token, grant.deadline), (1, 61_000));
//!
//! // Another node applies the same entry, or loads a snapshot: both have the same state.
//! let mut replica = Catalog::default();
//! assert_eq!(replica.apply(entry, &batch), applied);
//! let restored = Catalog::decode(&catalog.encode())?;
//! assert_eq!(restored.state_digest(), replica.state_digest());
//!
//! // Once log time has passed the deadline, the lease is over.
//! let later = EntryId { term: 1, index: 2 };
//! replica.apply(later, &Batch { stamp: Some(Stamp { term: 1, at: 61_000 }), commands: Vec::new() });
//! assert!(replica.lease(&file).is_none());
//! # Ok(())
//! # }
//! ```

pub mod catalog;
mod checksum;
pub mod hasher;
pub mod histogram;
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
