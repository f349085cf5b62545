//! Why a file has the copies it has.

use raft_store::types::{FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FileParam, Json, TaskKind, endpoint};

endpoint! {
    /// Why a file has the copies it has: the rule, the holders, tasks under way, peers without one and the reason each.
    ///
    /// Only the leader plans: at level `linearizable` it answers, and a stale answer of another node has `null` there.
    Why = Get "/why" as "why", Read;
    query: FileParam;
    answer: Json<WhyResponse>, "The rule, the holders, the tasks, and the peers without one.";
    errors: BadName, NotFound;
}

/// Answer to `GET /why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyResponse {
    /// The file.
    pub name: FileName,
    /// What is wanted, and how far it is.
    pub rule: ReplicationRule,
    /// Everybody with a remembered version.
    pub holders: Vec<WhyHolder>,
    /// Tasks under way; `null` on a node that does not plan (R5).
    #[schema(required)]
    pub tasks: Option<Vec<WhyTask>>,
    /// Live peers that could have, or should have, a task and have none, and the reason each; `null` as above.
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
    /// Copies that count as under way (M2); `null` on a node that does not plan (R5).
    #[schema(required)]
    pub under_way: Option<u64>,
    /// The state in a sentence.
    pub summary: String,
}

/// One holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyHolder {
    /// Who.
    pub id: PeerId,
    /// Which version it has.
    pub version: Version,
    /// Whether that is the current one.
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
    /// Whose.
    pub peer: PeerId,
    /// What.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Which version.
    pub version: Version,
    /// Whether the peer says it works on it.
    pub working: bool,
}

/// A live peer that gets no copy now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPeer {
    /// Who.
    pub peer: PeerId,
    /// Why.
    pub reason: String,
}
