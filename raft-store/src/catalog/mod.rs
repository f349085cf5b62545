//! The catalog: a pure, deterministic state machine (D1).

mod command;
mod reply;
mod view;

pub use command::*;
pub use reply::*;
pub use view::*;

use crate::types::{ContentHash, FileName, LogTime, PeerId};

/// The replicated index.
#[derive(Debug, Clone, Default)]
pub struct Catalog {}

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

#[allow(unused_variables, clippy::unimplemented)]
impl Catalog {
    /// Applies one log entry: moves the clock, ends what is over, then runs the commands in order.
    ///
    /// `entry_term` is the term of the entry's own log id (T2).
    pub fn apply(&mut self, entry_term: u64, batch: &Batch) -> Applied {
        unimplemented!()
    }
    /// The log clock, in milliseconds (T1).
    pub fn now(&self) -> LogTime {
        unimplemented!()
    }
    /// Canonical bytes: two nodes that applied the same log get the same ones (D1).
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// Reads what [`Catalog::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
    /// SHA-256 over the canonical bytes.
    pub fn digest(&self) -> ContentHash {
        unimplemented!()
    }
    /// A file, or what is left of it (tombstone, name under a lease); `None` if the name was never used.
    pub fn file(&self, name: &FileName) -> Option<FileView> {
        unimplemented!()
    }
    /// All files whose current version exists, in name order, starting after `after`.
    pub fn files<'a>(&'a self, after: Option<&'a FileName>) -> Box<dyn Iterator<Item = FileView> + 'a> {
        unimplemented!()
    }
    /// The lease, or pending grant, on a name; `None` if neither lives now.
    pub fn lease(&self, file: &FileName) -> Option<LeaseView> {
        unimplemented!()
    }
    /// Every live lease and pending grant, in name order.
    pub fn leases<'a>(&'a self) -> Box<dyn Iterator<Item = LeaseView> + 'a> {
        unimplemented!()
    }
    /// Where a peer stands in a file's line; `None` if it is not in it.
    pub fn place(&self, file: &FileName, peer: &PeerId) -> Option<Place> {
        unimplemented!()
    }
    /// A peer, live or not.
    pub fn peer(&self, id: &PeerId) -> Option<PeerView> {
        unimplemented!()
    }
    /// All peers in id order, live or not.
    pub fn peers<'a>(&'a self) -> Box<dyn Iterator<Item = PeerView> + 'a> {
        unimplemented!()
    }
    /// What a peer holds, in name order.
    pub fn holdings<'a>(&'a self, peer: &PeerId) -> Box<dyn Iterator<Item = (FileName, HolderView)> + 'a> {
        unimplemented!()
    }
    /// Whether log time has to go on: a lease or pending grant lives (T3).
    pub fn needs_ticks(&self) -> bool {
        unimplemented!()
    }
    /// The default number of live copies (M1).
    pub fn replicas_default(&self) -> u32 {
        unimplemented!()
    }
    /// Totals, kept up to date by every step, so that reading them costs nothing.
    pub fn counts(&self) -> Counts {
        unimplemented!()
    }
}
