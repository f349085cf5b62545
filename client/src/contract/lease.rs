//! Leases and their wait queue (L1–L7): acquire, renew, release, leave, look up.

use raft_store::catalog::{self, Op};
use raft_store::types::{FencingToken, FileName, LeaseToken, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileParam, Json, NoContent, decode, endpoint};

endpoint! {
    /// Ask for the lease of a file, join its wait queue, poll, or claim the grant.
    ///
    /// With `wait` the peer joins the wait queue if the lease is taken. `waitMs` (at most 60,000) is how long the
    /// request may wait before it is answered `granted: false` with the peer's `position` (1 = next). To poll, repeat
    /// the request (L5). An answer to a poll that was not logged has no `Raftshare-Index`.
    Acquire = Post "/lease" as "acquireLease", Logged;
    request: LeaseRequest;
    answer: Json<LeaseResponse>, "A grant or a refusal; `granted` tells which.";
    errors: BadName;
}

endpoint! {
    /// Renew a live lease; both tokens stay the same.
    Renew = Post "/lease/renew" as "renewLease", Logged;
    request: RenewRequest;
    answer: Json<GrantResponse>, "Renewed.";
    errors: BadName, LeaseExpired;
}

endpoint! {
    /// Release a live lease.
    ///
    /// Any token other than the live lease's is refused with `lease_expired`.
    Release = Post "/lease/release" as "releaseLease", Logged;
    request: ReleaseRequest;
    answer: NoContent, "Released.";
    errors: BadName, LeaseExpired;
}

endpoint! {
    /// Leave the wait queue; succeeds even if the peer is not in it.
    Leave = Post "/lease/leave" as "leaveLine", Logged;
    request: LeaveRequest;
    answer: NoContent, "The peer is not in the wait queue.";
    errors: BadName;
}

endpoint! {
    /// Look up the lease of a file and its wait queue.
    Lease = Get "/lease" as "leaseStatus", Read;
    query: FileParam;
    answer: Json<LeaseStatus>, "The lease, or the unclaimed grant.";
    errors: BadName, NotFound;
}

/// Body of `POST /lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRequest {
    /// The requesting peer.
    pub peer_id: PeerId,
    /// The file's name; the file need not exist yet (L6).
    pub file_name: FileName,
    /// TTL in milliseconds (L1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Whether to join the wait queue if the lease is taken (L5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// How long this request may wait for the lease, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Body of `POST /lease/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// The lease's holder.
    pub peer_id: PeerId,
    /// The leased file.
    pub file_name: FileName,
    /// The secret token of the grant.
    #[serde(deserialize_with = "decode::any_token")]
    pub lease_token: LeaseToken,
    /// New TTL in milliseconds; the granted one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Body of `POST /lease/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The lease's holder.
    pub peer_id: PeerId,
    /// The leased file.
    pub file_name: FileName,
    /// The secret token of the grant.
    #[serde(deserialize_with = "decode::any_token")]
    pub lease_token: LeaseToken,
}

/// Body of `POST /lease/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRequest {
    /// The leaving peer.
    pub peer_id: PeerId,
    /// The file whose wait queue it leaves.
    pub file_name: FileName,
}

/// Answer to `POST /lease`: a grant or a refusal; `granted` tells which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LeaseResponse {
    /// The caller has the lease.
    Granted(GrantResponse),
    /// Another peer has the lease.
    Denied(DeniedResponse),
}

/// A granted or renewed lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantResponse {
    /// Always true.
    pub granted: bool,
    /// When the lease ends, in Unix seconds; for display only (T4).
    pub expiration: u64,
    /// The secret token that renew, release and publish require.
    pub lease_token: LeaseToken,
    /// Greater than every earlier grant's (L2).
    pub fencing_token: FencingToken,
    /// Remaining TTL in milliseconds; count it from the moment the request was sent (T4).
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
    /// The peer that has the lease.
    pub holder: PeerId,
    /// When the lease ends, in Unix seconds; for display only (T4).
    pub expiration: u64,
    /// Remaining time of the lease in milliseconds.
    pub remaining_ms: u64,
    /// The caller's position in the wait queue (1 = next), if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// Answer to `GET /lease`, and the `lease` field of `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// The file's name.
    pub file_name: FileName,
    /// The peer that has the lease, or whose turn it is to claim it.
    pub holder: PeerId,
    /// The lease's fencing token; 0 while the grant is unclaimed.
    pub fencing_token: FencingToken,
    /// When the lease ends, in Unix seconds; for display only (T4). `null` if the asked node knows no leader, because
    /// lease time stands still without one (R5).
    #[schema(required)]
    pub expiration: Option<u64>,
    /// Remaining time in milliseconds; `null` if the asked node knows no leader.
    #[schema(required)]
    pub remaining_ms: Option<u64>,
    /// The wait queue, next peer first.
    pub line: Vec<LinePlace>,
}

/// One place in a wait queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinePlace {
    /// The waiting peer.
    pub peer_id: PeerId,
    /// Position in the queue; 1 = next.
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
