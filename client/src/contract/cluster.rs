//! The cluster as one node sees it.

use raft_store::types::{ContentHash, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, Json, Octets, endpoint};

endpoint! {
    /// The cluster as this node sees it: leader, members, majority.
    Cluster = Get "/cluster" as "cluster", Own;
    answer: Json<ClusterResponse>, "Leader, members, majority.";
    errors: Unauthorized;
}

endpoint! {
    /// A digest of the replicated state (D1).
    ///
    /// SHA-256 over the canonical state at that index, and those at the last checkpoints, up to 8, oldest first (N3).
    /// Digests of different `format`s are not comparable.
    Digest = Get "/cluster/digest" as "digest", Own;
    answer: Json<DigestResponse>, "The digest and its log index.";
    errors: Unauthorized, Overloaded;
}

endpoint! {
    /// The state of the asked node as one file with a checksum of its own.
    ///
    /// `raftshare-node verify FILE` checks it.
    Backup = Get "/cluster/backup" as "backup", Local;
    answer: Octets, "The backup.";
    errors: BadRequest, Overloaded;
}

endpoint! {
    /// Take a snapshot now; every node takes its own.
    Snapshot = Post "/cluster/snapshot" as "takeSnapshot", Local;
    answer: Json<Done>, "Begun.";
    errors: BadRequest, Forbidden, TooLarge, Overloaded;
}

/// `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResponse {
    /// The cluster's id, 16 hexadecimal digits; `null` before it is born.
    #[schema(required)]
    pub cluster_id: Option<String>,
    /// The leader's node id; `null` if the asked node knows of none that a majority confirmed a moment ago (R5).
    #[schema(required)]
    pub leader: Option<NodeId>,
    /// The asked node's term.
    pub term: u64,
    /// Every member.
    pub nodes: Vec<ClusterNode>,
    /// What a majority is, and how many voters answer.
    pub quorum: QuorumInfo,
    /// What the asked node may do beyond its role, as in `nodes`; `null` from a node that does not say.
    #[serde(default)]
    #[schema(required)]
    pub condition: Option<String>,
    /// Log index at which the members' states were found to differ without a majority that agrees (N3); `null` if the
    /// last comparison found none of that.
    #[serde(default)]
    #[schema(required)]
    pub digest_alarm: Option<u64>,
}

/// One member within `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNode {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    /// leader, follower, learner or candidate, in its own words; `null` for a voter that does not answer (R5).
    #[schema(required)]
    pub role: Option<String>,
    /// Whether it votes.
    #[serde(default)]
    pub voter: bool,
    /// Milliseconds since it answered the asked node's probe; `null` if it did not; 0 for the asked node itself.
    #[schema(required)]
    pub last_contact_ms: Option<u64>,
    /// Its applied log index; `null` if it does not answer.
    #[schema(required)]
    pub applied_index: Option<u64>,
    /// Entries it is behind the leader; `null` if one of the two does not answer or there is no leader.
    #[schema(required)]
    pub lag: Option<u64>,
    /// Whether it answered the asked node's probe just now; `null` if the asked node is in no position to tell, because
    /// it was removed or its data directory is an older copy.
    #[schema(required)]
    pub alive: Option<bool>,
    /// What it may do beyond its role, in its own words: `ok`, `starting`, `older copy`, `removed` or
    /// `diverged`; `null` if it does not answer.
    #[serde(default)]
    #[schema(required)]
    pub condition: Option<String>,
    /// How much of its name index is loaded, 0 to 1; left out once all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<f64>,
    /// Its software version, where it answered.
    #[schema(required)]
    pub version: Option<String>,
}

/// Majority and how many voters answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuorumInfo {
    /// Voters needed for a majority.
    pub size: usize,
    /// Voters that answer and whose condition is `ok`; `null` if the asked node is in no position to tell (R5).
    #[schema(required)]
    pub healthy: Option<usize>,
}

/// `GET /cluster/digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigestResponse {
    /// The log index the digest was taken at.
    pub applied_index: u64,
    /// SHA-256 over the canonical state (D1).
    pub digest: ContentHash,
    /// Digests of different formats are not to be compared: the nodes run different versions.
    #[serde(default)]
    pub format: u32,
    /// The state's digests at the last checkpoints, oldest first: positions that all members have in common (N3).
    #[serde(default)]
    pub checkpoints: Vec<CheckpointDigest>,
}

/// The digest of a node's state right after a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointDigest {
    /// Log index of the checkpoint.
    pub index: u64,
    /// The digest there.
    pub digest: ContentHash,
}
