//! `GET /file`: everything about one file.

use raft_store::types::{ContentHash, FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Json, LeaseStatus, endpoint};

endpoint! {
    /// Look up a file: version, hash, holders and lease.
    File = Get "/file" as "file", Read;
    query: NameParam;
    answer: Json<FileResponse>, "The file.";
    errors: BadName, NotFound;
}

/// Query of `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct NameParam {
    /// The file's name.
    pub name: FileName,
}

/// Answer to `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileResponse {
    /// The file's name.
    pub name: FileName,
    /// Current version.
    pub version: Version,
    /// Size of the current version in bytes.
    pub size: u64,
    /// SHA-256 of the current version.
    pub hash: ContentHash,
    /// Peers that hold the current or an older remembered version.
    pub holders: Vec<HolderEntry>,
    /// The live lease or unclaimed grant; `null` if there is none.
    #[schema(required)]
    pub lease: Option<LeaseStatus>,
    /// Wanted and live copies.
    pub replicas: ReplicaCount,
    /// Reserved for attributes of the file; always empty.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// One holder in the answer to `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HolderEntry {
    /// The peer's id.
    pub id: PeerId,
    /// Base URL of the peer.
    pub address: String,
    /// The version the peer holds.
    pub version: Version,
    /// Whether this is the current version.
    pub current: bool,
    /// Whether the peer is live.
    pub live: bool,
}

/// Wanted and live copies of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaCount {
    /// Live copies wanted of this file (R).
    pub desired: u32,
    /// Live holders of the current version.
    pub live: u32,
}
