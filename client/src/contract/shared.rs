//! Types that several endpoints share.

use raft_store::types::{ContentHash, FencingToken, FileName, NodeId, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One file in a registration or an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// The file's name (F1).
    pub name: FileName,
    /// The version the peer believes it holds or wants to publish; optional (F5, F6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// A task for a peer (M3, F8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The task's id, for `working` and `failed` of heartbeats.
    pub id: String,
    /// What to do.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The file's name.
    pub file: FileName,
    /// The version to fetch, or the tombstone's version.
    pub version: Version,
    /// Size of that version in bytes; 0 if unknown, and for removals.
    pub size: u64,
    /// SHA-256 of that version; `null` for removals.
    #[schema(required)]
    pub hash: Option<ContentHash>,
    /// Fencing token under which that version was published. A peer refuses a lower one than it has seen (L8).
    pub fencing_token: FencingToken,
    /// Base URL of one live holder; empty for removals.
    pub source: String,
    /// Base URLs of all live holders.
    pub sources: Vec<String>,
}

/// Kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskKind {
    /// Fetch a copy of a file the peer does not have.
    Replicate,
    /// Replace a stale copy.
    Update,
    /// Move the copy of a deleted file into the trash.
    Remove,
}

/// A peer and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerAddress {
    /// The peer's id.
    pub id: PeerId,
    /// Base URL of the peer.
    pub address: String,
}

/// Answer to `GET /leader`, and the `leader` field of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaderInfo {
    /// The leader's node id.
    pub id: NodeId,
    /// Node address, `host:port`.
    pub address: String,
    /// The term in which it leads.
    pub term: u64,
}

/// One file of a peer's own `GET /files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedFile {
    /// The file's name.
    pub name: FileName,
    /// Size in bytes.
    pub size: u64,
    /// The version that this peer holds according to the index.
    pub version: Version,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// Query of endpoints about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct FileParam {
    /// The file's name.
    pub file: FileName,
}

/// Confirmation of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}
