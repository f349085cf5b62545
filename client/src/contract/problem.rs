//! The error body of the contract: `application/problem+json` (RFC 9457) with a `code`, and whether a failed write may
//! have been applied (W5).

use raft_store::types::{ContentHash, FencingToken, PeerId, Version};
use serde::{Deserialize, Serialize};

use utoipa::ToSchema;

use super::LeaderInfo;

/// Media type of error bodies.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Every code of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Broken JSON, wrong types, values out of range.
    BadRequest,
    /// A file name that breaks F1.
    BadName,
    /// Credentials missing or wrong.
    Unauthorized,
    /// This node does not lead, and the caller asked not to be forwarded.
    NotLeader,
    /// The peer holds no copy.
    NotHolder,
    /// No lease token, or a wrong one.
    LeaseRequired,
    /// The lease is over.
    LeaseExpired,
    /// Not allowed.
    Forbidden,
    /// This node takes no writes.
    ReadOnly,
    /// No such thing.
    NotFound,
    /// Wrong method; see `Allow`.
    MethodNotAllowed,
    /// The peer is not registered.
    UnknownPeer,
    /// Not the version that comes next.
    VersionConflict,
    /// Bytes of no remembered version.
    HashConflict,
    /// The idempotency key lies below its floor.
    KeyExpired,
    /// The cluster exists already.
    AlreadyInitialized,
    /// An unsafe or impossible membership change.
    MembershipRefused,
    /// Compacted away.
    Compacted,
    /// The body is over the limit.
    TooLarge,
    /// The idempotency key was used for another request.
    KeyReused,
    /// A queue or table is full; try again later.
    Overloaded,
    /// No leader, or the leader reaches no majority.
    NoQuorum,
    /// The write may or may not have been applied; repeat it with the same key.
    OutcomeUnknown,
    /// The state is older than the read accepts.
    TooStale,
    /// The node belongs to no cluster yet.
    NotInitialized,
    /// The node's disk failed.
    StorageFailed,
    /// The node has not loaded yet what the answer comes from; see `progress`.
    Loading,
    /// The node's state is not the cluster's.
    Diverged,
    /// The node was removed from the cluster.
    Removed,
    /// A code this build does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Its HTTP status. The only place that gives errors their status.
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

    /// Its name in an error body.
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
    /// It was not and will not be.
    No,
    /// It may have been; repeat it with the same key.
    Unknown,
}

/// The error body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// For programs.
    pub code: ErrorCode,
    /// On failed writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedState>,
    /// Where to send it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderInfo>,
    /// The index's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<Version>,
    /// Its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Who has the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PeerId>,
    /// Fencing token of the lease that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    /// How much of a loading node's work is done, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// When trying again makes sense, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// A problem with a status, a code and words; the rest is absent.
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
            progress: None,
            retry_after_ms: None,
        }
    }
}
