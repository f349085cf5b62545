//! `POST /register`: a peer and its holdings (P1, P2).

use raft_store::types::{ContentHash, FileName, Incarnation, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileEntry, Json, Task, decode, endpoint};

endpoint! {
    /// Create or refresh a peer and state its holdings.
    ///
    /// Send `files`, or `digest` and `count` if the holdings have not changed. Without `listing` the request contains
    /// the whole listing (P1, P2). With `listing` it contains one page, and `last` marks the final page. If the answer
    /// has `listing: wanted`, send the whole listing: the digest did not match, or a newer listing replaced this one.
    Register = Post "/register" as "register", Logged;
    request: RegisterRequest;
    answer: Json<RegisterResponse>, "Registered.";
    errors: BadName;
}

/// Body of `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRequest {
    /// The registering peer.
    pub peer_id: PeerId,
    /// Base URL of the peer's HTTP server.
    pub address: String,
    /// The peer's holdings, or one page of them; optional with `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub files: Option<Vec<FileEntry>>,
    /// Failure zone of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Bytes the peer is willing to store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Marks `files` as one page of a listing (P2).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::object")]
    pub listing: Option<ListingPage>,
    /// SHA-256 over all holdings, in place of `files` if they have not changed (P2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<ContentHash>,
    /// Number of holdings that `digest` covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// False for a peer that writes but serves no files; its holdings do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
}

/// The address of a peer that serves no files: nobody fetches from it.
pub const NOT_SERVING: &str = "http://127.0.0.1:0";

impl RegisterRequest {
    /// States a peer's whole holdings.
    pub fn whole(peer_id: PeerId, address: String, files: Vec<FileEntry>) -> Self {
        let (zone, capacity_bytes, listing, digest, count, serving) = (None, None, None, None, None, None);
        Self { peer_id, address, files: Some(files), zone, capacity_bytes, listing, digest, count, serving }
    }

    /// A peer that writes and serves no files.
    pub fn not_serving(peer_id: PeerId) -> Self {
        Self { serving: Some(false), ..Self::whole(peer_id, NOT_SERVING.to_owned(), Vec::new()) }
    }
}

/// The listing that a page belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListingPage {
    /// The listing's id, chosen by the peer.
    pub id: String,
    /// Whether this page completes the listing.
    pub last: bool,
}

/// Answer to `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterResponse {
    /// Always true.
    pub ok: bool,
    /// The number of this registration (P1).
    pub incarnation: Incarnation,
    /// Tasks for this peer.
    pub tasks: Vec<Task>,
    /// What became of the listing (P2).
    pub listing: ListingAnswer,
    /// Holdings that contradict the index (F4).
    pub conflicts: Vec<ConflictEntry>,
}

/// What became of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListingAnswer {
    /// The listing was accepted.
    Accepted,
    /// The digest matched; nothing changed.
    Unchanged,
    /// The digest did not match, or a newer listing replaced this one; send the whole listing.
    Wanted,
}

/// A holding that contradicts the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictEntry {
    /// The file's name.
    pub name: FileName,
    /// The current version in the index.
    pub current_version: Version,
    /// SHA-256 of the current version; `null` for a tombstone.
    #[schema(required)]
    pub hash: Option<ContentHash>,
}
