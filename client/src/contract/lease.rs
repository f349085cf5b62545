//! Leases and their line (L1–L7): acquire, renew, release, leave, look.

use raft_store::catalog::{self, Op};
use raft_store::types::{FencingToken, FileName, LeaseToken, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileParam, Json, NoContent, decode, endpoint};

endpoint! {
    /// Ask for the lease of a file, join its line, poll the place, claim the grant.
    ///
    /// `wait` joins the line if the lease is taken. `waitMs` (at most 60,000) is how long this request may hang before
    /// it answers `granted: false` with the `position` (1 = next). Repeating the request is the poll (L5); a poll that
    /// is not logged carries no `Raftshare-Index`.
    Acquire = Post "/lease" as "acquireLease", Logged;
    request: LeaseRequest;
    answer: Json<LeaseResponse>, "Granted or denied, told apart by `granted`.";
    errors: BadName;
}

endpoint! {
    /// Extend a live lease; both tokens are kept.
    Renew = Post "/lease/renew" as "renewLease", Logged;
    request: RenewRequest;
    answer: Json<GrantResponse>, "Extended.";
    errors: BadName, LeaseExpired;
}

endpoint! {
    /// End a live lease.
    ///
    /// Any token that is not the live lease's is refused with `lease_expired`.
    Release = Post "/lease/release" as "releaseLease", Logged;
    request: ReleaseRequest;
    answer: NoContent, "Released.";
    errors: BadName, LeaseExpired;
}

endpoint! {
    /// Leave the line; fine if not in it.
    Leave = Post "/lease/leave" as "leaveLine", Logged;
    request: LeaveRequest;
    answer: NoContent, "Not in line.";
    errors: BadName;
}

endpoint! {
    /// The lease on a name and its line.
    Lease = Get "/lease" as "leaseStatus", Read;
    query: FileParam;
    answer: Json<LeaseStatus>, "The lease, or the pending grant.";
    errors: BadName, NotFound;
}

/// `POST /lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRequest {
    /// Who asks.
    pub peer_id: PeerId,
    /// For which name.
    pub file_name: FileName,
    /// Duration in milliseconds (L1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Join the line if the lease is taken (L5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// How long this request may hang, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// `POST /lease/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// The holder.
    pub peer_id: PeerId,
    /// The leased name.
    pub file_name: FileName,
    /// The grant's secret.
    #[serde(deserialize_with = "decode::any_token")]
    pub lease_token: LeaseToken,
    /// New duration in milliseconds; the granted one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// `POST /lease/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The holder.
    pub peer_id: PeerId,
    /// The leased name.
    pub file_name: FileName,
    /// The grant's secret.
    #[serde(deserialize_with = "decode::any_token")]
    pub lease_token: LeaseToken,
}

/// `POST /lease/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRequest {
    /// Who leaves.
    pub peer_id: PeerId,
    /// Whose line.
    pub file_name: FileName,
}

/// Answer to `POST /lease` and `/lease/renew`: a grant or a refusal, told apart by `granted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LeaseResponse {
    /// The lease is the caller's.
    Granted(GrantResponse),
    /// It is somebody else's.
    Denied(DeniedResponse),
}

/// A granted or renewed lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantResponse {
    /// Always true.
    pub granted: bool,
    /// When it ends, Unix seconds; for people (T4).
    pub expiration: u64,
    /// The secret to renew, release and publish with.
    pub lease_token: LeaseToken,
    /// Greater than every earlier grant's (L2).
    pub fencing_token: FencingToken,
    /// Remaining duration in milliseconds, to be counted from the moment the request was sent (T4).
    pub ttl_ms: u64,
    /// The file's current version; 0 if it does not exist yet.
    pub version: Version,
}

/// A refused lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeniedResponse {
    /// Always false.
    pub granted: bool,
    /// Who has it.
    pub holder: PeerId,
    /// When it ends, Unix seconds; for people (T4).
    pub expiration: u64,
    /// How long it still lives, in milliseconds.
    pub remaining_ms: u64,
    /// The caller's place in line (1 = next), if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// `GET /lease?file=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// The name.
    pub file_name: FileName,
    /// Who has it, or whose turn it is to claim it.
    pub holder: PeerId,
    /// Its fencing token; 0 while the grant is unclaimed.
    pub fencing_token: FencingToken,
    /// When it ends, Unix seconds; for people (T4). `null` if the asked node knows no leader,
    /// whose time it would be (R5).
    #[schema(required)]
    pub expiration: Option<u64>,
    /// How long it still lives, in milliseconds; `null` as above.
    #[schema(required)]
    pub remaining_ms: Option<u64>,
    /// Who waits, next first.
    pub line: Vec<LinePlace>,
}

/// One place in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinePlace {
    /// Who.
    pub peer_id: PeerId,
    /// 1 = next.
    pub position: u64,
}

impl From<ReleaseRequest> for Op {
    fn from(request: ReleaseRequest) -> Self {
        Self::Release(catalog::Release { peer: request.peer_id, file: request.file_name, token: request.lease_token })
    }
}

impl From<LeaveRequest> for Op {
    fn from(request: LeaveRequest) -> Self {
        Self::Leave(catalog::Leave { peer: request.peer_id, file: request.file_name })
    }
}
