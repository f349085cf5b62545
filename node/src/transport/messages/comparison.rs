//! How the members' states compare, and a state that is given to a member whose own is wrong (N3).

use raft_store::types::{ContentHash, NodeId};
use serde::{Deserialize, Serialize};

/// The digest of one member at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDigest {
    /// Digests of different formats are not compared.
    pub format: u32,
    /// Its state's digest.
    pub digest: ContentHash,
}

/// What a leader tells all members after a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The leader's term.
    pub term: u64,
    /// Log index of the checkpoint.
    pub index: u64,
    /// The digest format.
    pub format: u32,
    /// The majority's digest; `None` if different digests have no majority.
    pub agreed: Option<ContentHash>,
    /// Members that have it.
    pub with: Vec<NodeId>,
    /// Members that have another one.
    pub odd: Vec<NodeId>,
}

/// A member's digest at a checkpoint, for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DigestAnswer {
    /// It is this.
    Known(MemberDigest),
    /// It will be known: the member has not reached the checkpoint, or is still hashing.
    Later,
    /// It will not be known: the member passed the checkpoint long ago, or without applying it.
    Never,
}

/// Part of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePart {
    /// The last log index that the state covers.
    pub at: u64,
    /// Bytes of the whole.
    pub total: u64,
    /// The part.
    pub bytes: Vec<u8>,
}
