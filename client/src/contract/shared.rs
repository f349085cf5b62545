//! Types that several endpoints have in common.

use raft_store::types::{ContentHash, FencingToken, FileName, NodeId, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One file of a registration or an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// The name (F1).
    pub name: FileName,
    /// The version the peer believes it has (F6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// What a peer should do (M3, F8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Names the task in `working` and `failed`.
    pub id: String,
    /// What to do.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// With which file.
    pub file: FileName,
    /// The version to fetch, or the tombstone's.
    pub version: Version,
    /// Its size in bytes; 0 if no holder stated it, and for removals.
    pub size: u64,
    /// Its hash; `null` for removals.
    #[schema(required)]
    pub hash: Option<ContentHash>,
    /// The grant under which that version was published; a peer refuses a lower one than it has seen (L8).
    pub fencing_token: FencingToken,
    /// One live holder's base URL; empty for removals.
    pub source: String,
    /// Every live holder's base URL.
    pub sources: Vec<String>,
}

/// Kinds of tasks.
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

/// A peer and where it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerAddress {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
}

/// `GET /leader`, and the `leader` field of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaderInfo {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    /// The term it leads.
    pub term: u64,
}

/// One file of a peer's own `GET /files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedFile {
    /// The name.
    pub name: FileName,
    /// Size in bytes.
    pub size: u64,
    /// The version the index knows this peer to hold.
    pub version: Version,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// Query of the endpoints about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct FileParam {
    /// The file's name.
    pub file: FileName,
}

/// A change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}
