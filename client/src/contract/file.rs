//! One file whole.

use raft_store::types::{ContentHash, FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Json, LeaseStatus, endpoint};

endpoint! {
    /// One file whole: version, hash, holders, lease.
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

/// `GET /file?name=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileResponse {
    /// The name.
    pub name: FileName,
    /// Current version.
    pub version: Version,
    /// Size in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// Everybody with a remembered version.
    pub holders: Vec<HolderEntry>,
    /// The live lease, or `null`.
    #[schema(required)]
    pub lease: Option<LeaseStatus>,
    /// Copies wanted and counted.
    pub replicas: ReplicaCount,
    /// Free-form attributes; empty.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// One holder within `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HolderEntry {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// The version it holds.
    pub version: Version,
    /// Whether that is the current one.
    pub current: bool,
    /// Whether the peer is live.
    pub live: bool,
}

/// Copies wanted and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaCount {
    /// R of this file.
    pub desired: u32,
    /// Live holders of the current version.
    pub live: u32,
}
