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

mod announce;
mod answers;
mod apply;
mod clock;
mod codec;
mod command;
mod dedup;
mod digest;
#[cfg(test)]
mod digest_tests;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod holdings;
mod ids;
mod invariants;
mod leases;
mod line;
mod listing;
#[cfg(test)]
mod model;
mod name_index;
mod owners;
mod peers;
#[cfg(test)]
mod properties;
mod query;
mod reply;
#[cfg(test)]
mod scripts;
mod segments;
mod slab;
mod small_map;
mod state;
mod validate;
mod view;
#[cfg(test)]
mod wire_tests;

pub use codec::{Image, STATE_DIGEST_FORMAT};
pub use command::*;
pub use holdings::{HoldingsDigest, HoldingsImage};
pub use invariants::{Violation, check};
pub use reply::*;
pub use state::{Catalog, Limits};
pub use view::*;

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
