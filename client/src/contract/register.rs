//! A peer, and what it holds (P1, P2).

use raft_store::types::{ContentHash, FileName, Incarnation, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileEntry, Json, Task, decode, endpoint};

endpoint! {
    /// Create or refresh a peer and state its holdings.
    ///
    /// State `files`, or `digest` with `count` if the holdings have not changed. Without `listing` the request is the
    /// whole listing and is answered `accepted` (P1, P2).
    /// `listing` marks `files` as one page, and `last` completes it. `wanted` asks for the whole listing.
    Register = Post "/register" as "register", Logged;
    request: RegisterRequest;
    answer: Json<RegisterResponse>, "Registered.";
    errors: BadName;
}

/// `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRequest {
    /// Who registers.
    pub peer_id: PeerId,
    /// Base URL of its HTTP server.
    pub address: String,
    /// Its holdings, or one page of them; may be left out with `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub files: Option<Vec<FileEntry>>,
    /// Failure zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Bytes it is willing to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Marks `files` as one page of a listing (P2).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::object")]
    pub listing: Option<ListingPage>,
    /// SHA-256 over unchanged holdings (P2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<ContentHash>,
    /// Number of holdings behind `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// False for a peer that only writes and serves no files; its holdings do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
}

/// Which page of which listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListingPage {
    /// The listing's id, chosen by the peer.
    pub id: String,
    /// Whether this page completes it.
    pub last: bool,
}

/// Answer to `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterResponse {
    /// Always true.
    pub ok: bool,
    /// This registration.
    pub incarnation: Incarnation,
    /// What the index wants done.
    pub tasks: Vec<Task>,
    /// `accepted`, `unchanged` or `wanted` (P2).
    pub listing: ListingAnswer,
    /// Stated holdings that contradict the index (F4).
    pub conflicts: Vec<ConflictEntry>,
}

/// What became of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListingAnswer {
    /// Taken in.
    Accepted,
    /// The digest matched.
    Unchanged,
    /// Send the whole listing.
    Wanted,
}

/// A stated holding that contradicts the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictEntry {
    /// The name.
    pub name: FileName,
    /// What the index has.
    pub current_version: Version,
    /// Its hash; `null` for a tombstone.
    #[schema(required)]
    pub hash: Option<ContentHash>,
}
