//! The error body of the contract: `application/problem+json` (RFC 9457) with a `code`, and whether a failed write may
//! have been applied (W5).

use raft_store::types::{AttributeKey, AttributeValue, ContentHash, FencingToken, FileName, PeerId, Version};
use serde::{Deserialize, Serialize};

use utoipa::ToSchema;

use super::LeaderInfo;

/// Media type of error bodies.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Error codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Invalid JSON, wrong types, or values out of range.
    BadRequest,
    /// The file name breaks rule F1.
    BadName,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// This node does not lead, and the caller asked not to be forwarded.
    NotLeader,
    /// The peer holds no copy of the file.
    NotHolder,
    /// The lease token is missing or wrong.
    LeaseRequired,
    /// The lease has ended.
    LeaseExpired,
    /// The request is not allowed.
    Forbidden,
    /// This node accepts no writes.
    ReadOnly,
    /// The requested path, file or lease does not exist.
    NotFound,
    /// The path does not support this method; see the `Allow` header.
    MethodNotAllowed,
    /// The peer is not registered.
    UnknownPeer,
    /// The version is not the next one, or another peer created the file first.
    VersionConflict,
    /// The hash is that of no remembered version.
    HashConflict,
    /// An addition would leave its bounds or the range of integers.
    OutOfBounds,
    /// The idempotency key is below its session's floor.
    KeyExpired,
    /// The cluster already exists.
    AlreadyInitialized,
    /// The membership change is unsafe or impossible.
    MembershipRefused,
    /// The requested events are no longer available.
    Compacted,
    /// The body exceeds the size limit.
    TooLarge,
    /// The idempotency key was already used for another request.
    KeyReused,
    /// A queue or table is full; try again later.
    Overloaded,
    /// There is no leader, or the leader cannot reach a majority.
    NoQuorum,
    /// The write may or may not have been applied; repeat it with the same key.
    OutcomeUnknown,
    /// The node's state is older than the read accepts.
    TooStale,
    /// The node does not belong to a cluster yet.
    NotInitialized,
    /// The node's storage failed.
    StorageFailed,
    /// The node is still loading the data for this answer; see `progress`.
    Loading,
    /// The node's state differs from the cluster's.
    Diverged,
    /// The node was removed from the cluster.
    Removed,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The code's HTTP status. This is the only place that maps errors to statuses.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadName => 400,
            Self::Unauthorized => 401,
            Self::NotLeader
            | Self::NotHolder
            | Self::LeaseRequired
            | Self::LeaseExpired
            | Self::Forbidden
            | Self::ReadOnly => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UnknownPeer
            | Self::VersionConflict
            | Self::HashConflict
            | Self::OutOfBounds
            | Self::KeyExpired
            | Self::AlreadyInitialized
            | Self::MembershipRefused => 409,
            Self::Compacted => 410,
            Self::TooLarge => 413,
            Self::KeyReused => 422,
            Self::Overloaded => 429,
            Self::NoQuorum
            | Self::OutcomeUnknown
            | Self::TooStale
            | Self::NotInitialized
            | Self::StorageFailed
            | Self::Loading
            | Self::Diverged
            | Self::Removed => 503,
            Self::Unknown => 500,
        }
    }

    /// The code as it appears in an error body.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// Whether a failed write was applied (W5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppliedState {
    /// It was not applied and never will be.
    No,
    /// It may have been applied; repeat it with the same key.
    Unknown,
}

/// Error body (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do about it.
    pub detail: String,
    /// Error code for programs.
    pub code: ErrorCode,
    /// Whether a failed write was applied; only for writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedState>,
    /// The leader, to which the request should be sent instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderInfo>,
    /// The file's current version in the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<Version>,
    /// SHA-256 of the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Size of the current version in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The peer that has the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PeerId>,
    /// Fencing token of the ended lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    /// The name that the transaction was refused for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FileName>,
    /// The attribute that the transaction was refused for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attr: Option<AttributeKey>,
    /// The value that the attribute has, and that could not be added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<AttributeValue>,
    /// Fraction that a loading node has loaded, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// How long to wait before trying again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// A problem with status, code, title and detail; all other fields are absent.
    pub fn new(status: u16, code: ErrorCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title.into(),
            status,
            detail: detail.into(),
            code,
            applied: None,
            leader: None,
            current_version: None,
            hash: None,
            size: None,
            holder: None,
            fencing_token: None,
            name: None,
            attr: None,
            value: None,
            progress: None,
            retry_after_ms: None,
        }
    }
}
