//! What queries return: plain values copied out of the catalog, so that no reader holds its lock while it answers a
//! request.
//!
//! Invariant: values do not change once they are returned.

use std::sync::Arc;

use crate::catalog::event::FileNumber;
use crate::types::{Attributes, ContentHash, FencingToken, FileName, Incarnation, LogTime, PeerId, Version};

/// A file or a record as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Its name.
    pub name: FileName,
    /// Its current version; 0 while there are only attributes, a lease or a wait queue (K1, L6).
    pub version: Version,
    /// Size of the current version in bytes, if a holder has stated it.
    pub size: Option<u64>,
    /// Hash of the current version; `None` for version 0 and for a tombstone.
    pub hash: Option<ContentHash>,
    /// True if the current version is a tombstone (F7).
    pub deleted: bool,
    /// Fencing token under which the current version was published; 0 without a lease.
    pub fencing_token: FencingToken,
    /// All peers with a remembered version, live or not, in the order of their ids.
    pub holders: Vec<HolderView>,
    /// Peers that deleted their copy and must not be given it again unasked (F7), in the order of their ids.
    pub refused: Vec<PeerId>,
    /// The number of live copies that this file should have (M1).
    pub replicas_desired: u32,
    /// Its attributes (K1).
    pub attributes: Attributes,
}

impl FileView {
    /// Whether the name has attributes and no current version (K1).
    pub fn is_record(&self) -> bool {
        self.hash.is_none() && !self.attributes.is_empty()
    }
}

/// A name that exists, and what it has (K1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedName {
    /// Its number.
    pub number: FileNumber,
    /// The name.
    pub name: FileName,
    /// Whether it has a current version.
    pub has_version: bool,
    /// Whether it has an attribute.
    pub has_attributes: bool,
}

/// One holder of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderView {
    /// Who.
    pub peer: PeerId,
    /// Base URL of its HTTP server.
    pub address: Arc<str>,
    /// The version of its bytes.
    pub version: Version,
    /// Hash of those bytes.
    pub hash: ContentHash,
    /// Whether that is the file's current version.
    pub current: bool,
    /// Whether the peer is live (P5).
    pub live: bool,
}

/// A peer as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its id.
    pub id: PeerId,
    /// Base URL of its HTTP server.
    pub address: String,
    /// Failure zone.
    pub zone: Option<String>,
    /// Bytes it is willing to hold.
    pub capacity_bytes: Option<u64>,
    /// Its newest registration.
    pub incarnation: Incarnation,
    /// Registered, serving and not expired.
    pub live: bool,
    /// Number of its holdings, current and stale.
    pub holdings: u64,
}

/// The lease or pending grant on a name, and its wait queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// The name.
    pub file: FileName,
    /// The peer that has the lease or may claim it.
    pub holder: PeerId,
    /// Its fencing token; `None` while the grant is unclaimed.
    pub fencing_token: Option<FencingToken>,
    /// When the lease, or the window to claim it, ends (log time).
    pub deadline: LogTime,
    /// The waiting peers, next first. The peer of a pending grant is not among them.
    pub line: Vec<WaiterView>,
}

/// One place in a wait queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiterView {
    /// Who.
    pub peer: PeerId,
    /// Identifies this place; a peer that leaves and joins again gets a greater ticket.
    pub ticket: u64,
}

/// A waiter's place, which answers a poll (L5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It waits.
    Waiting {
        /// Identifies this place.
        ticket: u64,
        /// 1 = next.
        position: u64,
    },
    /// It may claim the lease now.
    Offered {
        /// Identifies this place.
        ticket: u64,
        /// Until when (log time).
        deadline: LogTime,
    },
}

/// Totals for `/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Known peers, live or not.
    pub peers: u64,
    /// Live peers.
    pub peers_live: u64,
    /// Names whose current version exists: neither tombstones nor names without a version.
    pub files: u64,
    /// Names with attributes and without a current version (K1).
    pub records: u64,
    /// Bytes of all current versions, each counted once.
    pub bytes: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Live leases.
    pub leases: u64,
    /// Places in wait queues, pending grants included.
    pub waiting: u64,
    /// Remembered answers.
    pub answers: u64,
}
