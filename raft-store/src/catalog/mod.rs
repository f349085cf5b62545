//! The catalog: a pure, deterministic state machine (D1).
//!
//! ```text
//!  apply(entry) ─► clock ─► clean_up ─► per command: dedup ─► execute ─► peers, listing, announce, files, leases, line
//!                                           │ key seen: the remembered answer
//!                                           ▼
//!                                       Applied { replies, events }
//! ```
//!
//! Invariants (each a function of `invariants`, walked after every step of every test):
//!
//! - a file has at most one live lease (L1), and fencing tokens grow with every grant (L2);
//! - versions of a file have no gaps, and every holder's bytes are a remembered version's (F2, F4);
//! - nobody waits for a free file, and nobody waits twice (L5);
//! - everything derived (name index, deadlines, peers' sets, totals) equals its recomputation;
//! - a refusal changes nothing but the table of answers (X1).

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

/// Bytes that are no catalog: damaged, or of an unknown format version (D3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A format this build does not know.
    #[error("the catalog has format version {found}, this build knows {known}; use the build that wrote it")]
    UnknownVersion {
        /// What the bytes say.
        found: u8,
        /// What this build reads and writes.
        known: u8,
    },
    /// The bytes do not decode.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
}
