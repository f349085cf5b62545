//! The cluster as one node sees it.

use raft_store::types::{ContentHash, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, Json, Octets, endpoint};

endpoint! {
    /// Show the cluster as this node sees it: leader, members and quorum.
    Cluster = Get "/cluster" as "cluster", Own;
    answer: Json<ClusterResponse>, "The cluster.";
    errors: Unauthorized;
}

endpoint! {
    /// Get the digest of the replicated state (D1).
    ///
    /// The digest is a SHA-256 over the canonical state at `appliedIndex`. `checkpoints` has the digests at the last
    /// checkpoints, oldest first and at most 8 (N3). Digests of different `format`s cannot be compared.
    Digest = Get "/cluster/digest" as "digest", Own;
    answer: Json<DigestResponse>, "The digest and its log index.";
    errors: Unauthorized, Overloaded;
}

endpoint! {
    /// Download the state of the asked node as one file.
    ///
    /// The file contains its own checksum; `raftshare-node verify FILE` checks it.
    Backup = Get "/cluster/backup" as "backup", Local;
    answer: Octets, "The backup.";
    errors: BadRequest, Overloaded;
}

endpoint! {
    /// Take a snapshot on the asked node now.
    Snapshot = Post "/cluster/snapshot" as "takeSnapshot", Local;
    answer: Json<Done>, "Started.";
    errors: BadRequest, Forbidden, TooLarge, Overloaded;
}

/// Answer to `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResponse {
    /// The cluster's id, 16 hexadecimal digits; `null` before the cluster is founded.
    #[schema(required)]
    pub cluster_id: Option<String>,
    /// The leader's node id; `null` if the asked node knows no leader that a majority confirmed recently (R5).
    #[schema(required)]
    pub leader: Option<NodeId>,
    /// The asked node's current term.
    pub term: u64,
    /// All members.
    pub nodes: Vec<ClusterNode>,
    /// Size of a majority, and how many voters are healthy.
    pub quorum: QuorumInfo,
    /// Condition of the asked node, as in `nodes`; `null` if the node does not report one.
    #[serde(default)]
    #[schema(required)]
    pub condition: Option<String>,
    /// Log index of the last comparison, if the members' states differed there and no majority agreed (N3); `null`
    /// otherwise.
    #[serde(default)]
    #[schema(required)]
    pub digest_alarm: Option<u64>,
}

/// One member in the answer to `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNode {
    /// Node id.
    pub id: NodeId,
    /// Node address, `host:port`.
    pub address: String,
    /// The role the member reports: leader, follower, learner or candidate; `null` for a voter that does not answer
    /// (R5).
    #[schema(required)]
    pub role: Option<String>,
    /// Whether the member is a voter.
    #[serde(default)]
    pub voter: bool,
    /// Milliseconds since the member answered the asked node's probe; `null` if it did not, 0 for the asked node.
    #[schema(required)]
    pub last_contact_ms: Option<u64>,
    /// The member's applied log index; `null` if the member does not answer.
    #[schema(required)]
    pub applied_index: Option<u64>,
    /// Entries behind the leader; `null` if there is no leader, or if the member or the leader does not answer.
    #[schema(required)]
    pub lag: Option<u64>,
    /// Whether the member just answered the asked node's probe; `null` if the asked node cannot tell, because it was
    /// removed or its data directory is an older copy.
    #[schema(required)]
    pub alive: Option<bool>,
    /// The condition the member reports: `ok`, `starting`, `older copy`, `removed` or `diverged`; `null` if the member
    /// does not answer.
    #[serde(default)]
    #[schema(required)]
    pub condition: Option<String>,
    /// Fraction of the member's name index that is loaded, 0 to 1; absent once the index is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<f64>,
    /// The member's software version; `null` if the member does not answer.
    #[schema(required)]
    pub version: Option<String>,
}

/// Size of a majority, and how many voters are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuorumInfo {
    /// Voters needed for a majority.
    pub size: usize,
    /// Voters that answer and whose condition is `ok`; `null` if the asked node cannot tell (R5).
    #[schema(required)]
    pub healthy: Option<usize>,
}

/// Answer to `GET /cluster/digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigestResponse {
    /// Log index of the digested state.
    pub applied_index: u64,
    /// SHA-256 over the canonical state (D1).
    pub digest: ContentHash,
    /// Format of the digest. Digests of different formats cannot be compared: the nodes run different versions.
    #[serde(default)]
    pub format: u32,
    /// Digests at the last checkpoints, oldest first. All members take checkpoints at the same log indexes (N3).
    #[serde(default)]
    pub checkpoints: Vec<CheckpointDigest>,
}

/// The digest of a node's state right after a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointDigest {
    /// Log index of the checkpoint.
    pub index: u64,
    /// The digest at that index.
    pub digest: ContentHash,
}
