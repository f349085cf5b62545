//! Founding a cluster and changing its members (C1, C2, C6).

use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, Json, decode, endpoint};

endpoint! {
    /// Found the cluster, once (C1).
    ///
    /// With an empty body the asked node founds a cluster of its own, as the only member.
    Init = Post "/cluster/init" as "clusterInit", Local;
    request: InitRequest;
    answer: Json<InitResponse>, "Founded.";
    errors: BadRequest, Forbidden, AlreadyInitialized, MembershipRefused, TooLarge, Overloaded, NoQuorum, OutcomeUnknown;
}

endpoint! {
    /// Add a learner (a read replica).
    ///
    /// If the target does not answer or lags, or if the cluster could not commit the change, the answer is an immediate
    /// 409 `membership_refused` with the reason (C6).
    AddLearner = Post "/cluster/learners" as "addLearner", Leader;
    request: NodeAddress;
    answer: Json<Done>, "The change is committed.";
    errors: MembershipRefused;
}

endpoint! {
    /// Make a learner a voter.
    ///
    /// If the target does not answer or lags, or if the cluster could not commit the change, the answer is an immediate
    /// 409 `membership_refused` with the reason (C6).
    /// `waitMs` (at most 60,000) is how long to wait for the learner to catch up.
    Promote = Post "/cluster/promote" as "promote", Leader;
    request: PromoteRequest;
    answer: Json<Done>, "The change is committed.";
    errors: MembershipRefused;
}

endpoint! {
    /// Make a voter a learner.
    ///
    /// If the target does not answer or lags, or if the cluster could not commit the change, the answer is an immediate
    /// 409 `membership_refused` with the reason (C6).
    Demote = Post "/cluster/demote" as "demote", Leader;
    request: MemberId;
    answer: Json<Done>, "The change is committed.";
    errors: MembershipRefused;
}

endpoint! {
    /// Remove a member.
    ///
    /// If the target does not answer or lags, or if the cluster could not commit the change, the answer is an immediate
    /// 409 `membership_refused` with the reason (C6).
    Remove = Post "/cluster/remove" as "remove", Leader;
    request: MemberId;
    answer: Json<Done>, "The change is committed.";
    errors: MembershipRefused;
}

endpoint! {
    /// Hand leadership to a voter.
    ///
    /// If the target does not answer or lags, or if the cluster could not commit the change, the answer is an immediate
    /// 409 `membership_refused` with the reason (C6).
    Transfer = Post "/cluster/transfer" as "transfer", Leader;
    request: MemberId;
    answer: Json<Done>, "The change is committed.";
    errors: MembershipRefused;
}

/// Body of `POST /cluster/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InitRequest {
    /// The founding members; only the asked node if absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub nodes: Option<Vec<NodeAddress>>,
}

/// A node and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAddress {
    /// The node's id.
    pub id: NodeId,
    /// Node address, `host:port`.
    pub address: String,
}

/// Answer to `POST /cluster/init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitResponse {
    /// Always true.
    pub ok: bool,
    /// The cluster's id, 16 hexadecimal digits.
    #[schema(required)]
    pub cluster_id: Option<String>,
}

/// A member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberId {
    /// The node's id.
    pub id: NodeId,
}

/// Body of `POST /cluster/promote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromoteRequest {
    /// The node's id.
    pub id: NodeId,
    /// How long to wait for the learner to catch up, in milliseconds; by default the request does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}
