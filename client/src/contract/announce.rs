//! Holdings, new files and new versions (F3–F6).

use raft_store::types::{FencingToken, FileName, LeaseToken, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppliedState, ErrorCode, FileEntry, Json, Task, decode, endpoint};

endpoint! {
    /// Announce holdings, create a file, or publish a version.
    ///
    /// Takes `file`, or `files` for many holdings at once. A new version needs the file's live lease, by its token
    /// (F3–F6). An older version than the peer holds is answered with the current one and changes nothing (F4). An old
    /// version of a deleted name is answered with a `REMOVE` task. With `files`: a result for each, in order.
    Announce = Post "/announce" as "announce", Logged;
    request: AnnounceRequest;
    answer: Json<AnnounceAnswer>, "Taken in.";
    errors: BadName, LeaseRequired, LeaseExpired, VersionConflict, HashConflict;
}

/// `POST /announce`: either `file` or `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceRequest {
    /// Who announces.
    pub peer_id: PeerId,
    /// One file.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::object")]
    pub file: Option<FileEntry>,
    /// Many holdings at once.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub files: Option<Vec<FileEntry>>,
    /// The lease under which a new version is published (F5).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
    /// Keep the lease after publishing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_lease: Option<bool>,
}

/// Answer to `POST /announce`: of one file, or of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnnounceAnswer {
    /// To `file`.
    One(AnnounceResponse),
    /// To `files`.
    Many(AnnounceManyResponse),
}

/// Answer to `POST /announce` with `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResponse {
    /// Always true.
    pub ok: bool,
    /// The version the peer now holds, or has published.
    pub version: Version,
    /// The lease's fencing token, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}

/// Answer to `POST /announce` with `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnnounceManyResponse {
    /// True if every file was taken in.
    pub ok: bool,
    /// One per file, in order (X4).
    pub results: Vec<AnnounceResult>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}

/// One file's result within `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResult {
    /// The name.
    pub name: FileName,
    /// Whether it was taken in.
    pub ok: bool,
    /// The version the peer now holds, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Why not, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The index's version, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<Version>,
    /// Whether the refusal is definite (`no`) or the chunk's outcome is `unknown` (W5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedState>,
}
