//! The catalog: a pure, deterministic state machine (D1).
//!
//! ```text
//!  apply(entry) ─► move_clock ─► clean_up ─► per command: keys::dedup ─► ops::Op::apply ─► rules ─► records, tables
//!                                               │ key seen before: the remembered answer
//!                                               ▼
//!                                           Applied { replies, events }
//! ```
//!
//! | module | what is in it |
//! | --- | --- |
//! | `state`, `records` | what is replicated |
//! | `peer_sets`, `derived` | what is derived from it, and how it is rebuilt |
//! | `apply`, `clock` | one log entry: the clock, what time ends, the commands |
//! | `ops` | the operations, one file each, and the one list of them |
//! | `rules` | what several operations do to files, leases, the wait queue and peers |
//! | `keys` | the idempotency table |
//! | `command`, `reply`, `rejection`, `event` | what goes in and what comes out |
//! | `tables` | the data structures below: slabs, maps, sets, name indexes |
//! | `read` | queries, and the values they return |
//! | `codec`, `digest` | canonical bytes, and the digest that members compare |
//! | `check` | whether decoded bytes can be relied on, and the invariants |
//!
//! Invariants (each is a function of `check::invariants`, which tests call after every step):
//!
//! - a file has at most one live lease (L1), and fencing tokens grow with every grant (L2);
//! - versions of a file have no gaps, and every holder has the bytes of a remembered version (F2, F4);
//! - nobody waits for a free file, and nobody waits twice (L5);
//! - a record ends with its last attribute (K1);
//! - everything derived (name index, deadlines, peers' sets, totals) equals its recomputation;
//! - a refusal changes nothing but the idempotency table (X1).

mod apply;
mod check;
mod clock;
mod codec;
mod command;
mod derived;
mod digest;
mod event;
mod keys;
mod ops;
mod peer_sets;
mod read;
mod records;
mod rejection;
mod reply;
mod rules;
mod state;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

pub use check::invariants::{Violation, check};
pub use codec::{Image, STATE_DIGEST_FORMAT};
pub use command::*;
pub use event::*;
pub use ops::*;
pub use read::holdings::{HoldingsDigest, HoldingsImage};
pub use read::view::*;
pub use rejection::Rejection;
pub use reply::*;
pub use state::{Catalog, Limits};

/// Why bytes are not a catalog (D3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This build does not know the format.
    #[error("the catalog has format version {found}, this build knows {known}; use the build that wrote it")]
    UnknownVersion {
        /// What the bytes say.
        found: u8,
        /// What this build reads and writes.
        known: u8,
    },
    /// The bytes are damaged; says where.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
}
