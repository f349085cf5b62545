//! `GET /why`: why a file has the copies it has.

use raft_store::types::{FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileParam, Json, TaskKind, endpoint};

endpoint! {
    /// Explain why a file has the copies it has.
    ///
    /// The answer has the replication rule, the holders, the tasks under way, and the peers that got no task, with the
    /// reason for each. Only the leader plans: it answers `linearizable` reads, and in a stale answer of another node
    /// `tasks` and `refused` are `null`.
    Why = Get "/why" as "why", Read;
    query: FileParam;
    answer: Json<WhyResponse>, "The explanation.";
    errors: BadName, NotFound;
}

/// Answer to `GET /why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyResponse {
    /// The file's name.
    pub name: FileName,
    /// The replication rule, and how far it is fulfilled.
    pub rule: ReplicationRule,
    /// Peers that hold the current or an older remembered version.
    pub holders: Vec<WhyHolder>,
    /// Tasks under way; `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub tasks: Option<Vec<WhyTask>>,
    /// Live peers that could have a task but have none, and the reason for each; `null` except at a confirmed leader.
    #[schema(required)]
    pub refused: Option<Vec<RefusedPeer>>,
}

/// The replication rule of a file and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationRule {
    /// Live copies wanted (M1).
    pub desired: u64,
    /// Live copies of the current version.
    pub live: u64,
    /// Copies that count as under way (M2); `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub under_way: Option<u64>,
    /// The state in one sentence.
    pub summary: String,
}

/// One holder in the answer to `GET /why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyHolder {
    /// The peer's id.
    pub id: PeerId,
    /// The version the peer holds.
    pub version: Version,
    /// Whether this is the current version.
    pub current: bool,
    /// Whether the peer is live.
    pub live: bool,
}

/// One task under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyTask {
    /// The task's id.
    pub id: String,
    /// The peer that has the task.
    pub peer: PeerId,
    /// What to do.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The version to fetch, or the tombstone's version.
    pub version: Version,
    /// Whether the peer reports that it is working on the task.
    pub working: bool,
}

/// A live peer that gets no task now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPeer {
    /// The peer's id.
    pub peer: PeerId,
    /// The reason.
    pub reason: String,
}
