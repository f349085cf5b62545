//! `GET /file`: everything about one file.

use raft_store::types::{Attributes, ContentHash, FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Json, LeaseStatus, endpoint};

endpoint! {
    /// Look up a file: version, hash, holders, lease and attributes.
    ///
    /// A name that has attributes and no current version is a record (K1): its `version`, `size` and `hash` are `null`,
    /// and it has no holders.
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
    /// Current version; `null` for a record.
    #[schema(required)]
    pub version: Option<Version>,
    /// Size of the current version in bytes; `null` for a record.
    #[schema(required)]
    pub size: Option<u64>,
    /// SHA-256 of the current version; `null` for a record.
    #[schema(required)]
    pub hash: Option<ContentHash>,
    /// Peers that hold the current or an older remembered version.
    pub holders: Vec<HolderEntry>,
    /// The live lease or unclaimed grant; `null` if there is none.
    #[schema(required)]
    pub lease: Option<LeaseStatus>,
    /// Wanted and live copies.
    pub replicas: ReplicaCount,
    /// The name's attributes (K1).
    pub attributes: Attributes,
}

/// The current version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentVersion {
    /// Its number.
    pub version: Version,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub hash: ContentHash,
}

impl FileResponse {
    /// The current version; `None` for a record, which has attributes and no bytes (K1).
    pub fn current(&self) -> Option<CurrentVersion> {
        Some(CurrentVersion { version: self.version?, size: self.size?, hash: self.hash? })
    }
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
