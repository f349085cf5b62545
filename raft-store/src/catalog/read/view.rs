//! What readers of the catalog get: plain values copied out of it, so that no reader holds its lock while it answers.

use std::sync::Arc;

use crate::types::{ContentHash, FencingToken, FileName, Incarnation, LogTime, PeerId, Version};

/// A file as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Its name.
    pub name: FileName,
    /// Its current version; 0 while only a lease or a line exists (L6).
    pub version: Version,
    /// Size of the current version in bytes, if a holder stated it.
    pub size: Option<u64>,
    /// Hash of the current version; `None` for version 0 and for a tombstone.
    pub hash: Option<ContentHash>,
    /// True if the current version is a tombstone (F7).
    pub deleted: bool,
    /// Fencing token under which the current version was published; 0 without a lease.
    pub fencing_token: FencingToken,
    /// Everybody with a remembered version, in peer-id order, live or not.
    pub holders: Vec<HolderView>,
    /// Peers that deleted their copy and must not get it back unasked (F7), in peer-id order.
    pub refused: Vec<PeerId>,
    /// Live copies this file should have (M1).
    pub replicas_desired: u32,
}

/// One holder of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderView {
    /// Who.
    pub peer: PeerId,
    /// Base URL of its HTTP server.
    pub address: Arc<str>,
    /// Which version its bytes are.
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

/// The lease on a name, or the pending grant of the head of its line, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// The name.
    pub file: FileName,
    /// Whose lease, or whose turn to claim.
    pub holder: PeerId,
    /// Its fencing token; `None` while the grant is unclaimed.
    pub fencing_token: Option<FencingToken>,
    /// When the lease, or the window to claim it, ends (log time).
    pub deadline: LogTime,
    /// Who waits, next first. The peer of a pending grant is not among them.
    pub line: Vec<WaiterView>,
}

/// One place in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiterView {
    /// Who.
    pub peer: PeerId,
    /// Identifies this stay in line; a peer that leaves and joins again gets a greater one.
    pub ticket: u64,
}

/// Where a waiter stands; the answer to a poll (L5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In line; 1 = next.
    Waiting {
        /// Identifies this stay in line.
        ticket: u64,
        /// 1 = next.
        position: u64,
    },
    /// Its turn: a poll should claim the grant now.
    Offered {
        /// Identifies this stay in line.
        ticket: u64,
        /// Until when (log time).
        deadline: LogTime,
    },
}

/// Totals for `/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers known, live or not.
    pub peers: u64,
    /// Peers live.
    pub peers_live: u64,
    /// Names whose current version exists (no tombstones, no version 0).
    pub files: u64,
    /// Bytes of all current versions, each counted once.
    pub bytes: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Live leases.
    pub leases: u64,
    /// Peers waiting in lines, pending grants included.
    pub waiting: u64,
    /// Remembered answers.
    pub answers: u64,
}
