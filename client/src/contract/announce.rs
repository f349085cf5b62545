//! `POST /announce`: holdings, new files and new versions (F3–F6).

use raft_store::types::{FencingToken, FileName, LeaseToken, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppliedState, ErrorCode, FileEntry, Json, Task, decode, endpoint};

endpoint! {
    /// Announce holdings, create a file, or publish a version.
    ///
    /// Send either `file`, or `files` to announce many holdings at once; with `files` the answer has one result per
    /// file, in the same order. To publish a new version, pass the token of the file's live lease (F3–F6). If the
    /// announced version is older than the one the peer holds, nothing changes and the answer names the current version
    /// (F4). For an old version of a deleted name the answer has a `REMOVE` task.
    Announce = Post "/announce" as "announce", Logged;
    request: AnnounceRequest;
    answer: Json<AnnounceAnswer>, "Accepted.";
    errors: BadName, LeaseRequired, LeaseExpired, VersionConflict, HashConflict;
}

/// Body of `POST /announce`. Exactly one of `file` and `files` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceRequest {
    /// The announcing peer.
    pub peer_id: PeerId,
    /// One file: a holding, a new file or a new version.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::object")]
    pub file: Option<FileEntry>,
    /// Many holdings.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub files: Option<Vec<FileEntry>>,
    /// Token of the lease under which a new version is published (F5); only with `file`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
    /// Whether to keep the lease after publishing; by default publishing releases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_lease: Option<bool>,
}

/// Answer to `POST /announce`; its form follows that of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnnounceAnswer {
    /// Answer to a request with `file`.
    One(AnnounceResponse),
    /// Answer to a request with `files`.
    Many(AnnounceManyResponse),
}

/// Answer to `POST /announce` with `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResponse {
    /// Always true.
    pub ok: bool,
    /// The version the peer now holds or has just published; the current version if nothing changed (F4).
    pub version: Version,
    /// Fencing token of the lease, if the request used one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    /// Tasks for this peer.
    pub tasks: Vec<Task>,
}

/// Answer to `POST /announce` with `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnnounceManyResponse {
    /// True if every file was accepted.
    pub ok: bool,
    /// One result per file, in the order of the request (X4).
    pub results: Vec<AnnounceResult>,
    /// Tasks for this peer.
    pub tasks: Vec<Task>,
}

/// Result for one file of `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResult {
    /// The file's name.
    pub name: FileName,
    /// Whether the file was accepted.
    pub ok: bool,
    /// As `version` of a single answer; only if the file was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Error code; only if the file was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The current version in the index; only if the file was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<Version>,
    /// `no` if the refusal is definite, `unknown` if the file may have been accepted (W5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedState>,
}
