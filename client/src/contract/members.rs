//! Founding a cluster, and changing its members (C1, C2, C6).

use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, Json, decode, endpoint};

endpoint! {
    /// Found the cluster, once (C1).
    ///
    /// An empty body founds a cluster of the one node that is asked.
    Init = Post "/cluster/init" as "clusterInit", Local;
    request: InitRequest;
    answer: Json<InitResponse>, "Founded.";
    errors: BadRequest, Forbidden, AlreadyInitialized, MembershipRefused, TooLarge, Overloaded, NoQuorum, OutcomeUnknown;
}

endpoint! {
    /// Add a learner (a shadow).
    ///
    /// 409 `membership_refused` at once, with the reason, when the target does not answer or lags, or the cluster could
    /// not commit the change (C6).
    AddLearner = Post "/cluster/learners" as "addLearner", Leader;
    request: NodeAddress;
    answer: Json<Done>, "Done.";
    errors: MembershipRefused;
}

endpoint! {
    /// Make a learner a voter.
    ///
    /// 409 `membership_refused` at once, with the reason, when the target does not answer or lags, or the cluster could
    /// not commit the change (C6). `waitMs` (at most
    /// 60,000) is how long to wait until the learner has caught up.
    Promote = Post "/cluster/promote" as "promote", Leader;
    request: PromoteRequest;
    answer: Json<Done>, "Done.";
    errors: MembershipRefused;
}

endpoint! {
    /// Make a voter a learner.
    ///
    /// 409 `membership_refused` at once, with the reason, when the target does not answer or lags, or the cluster could
    /// not commit the change (C6).
    Demote = Post "/cluster/demote" as "demote", Leader;
    request: MemberId;
    answer: Json<Done>, "Done.";
    errors: MembershipRefused;
}

endpoint! {
    /// Remove a member.
    ///
    /// 409 `membership_refused` at once, with the reason, when the target does not answer or lags, or the cluster could
    /// not commit the change (C6).
    Remove = Post "/cluster/remove" as "remove", Leader;
    request: MemberId;
    answer: Json<Done>, "Done.";
    errors: MembershipRefused;
}

endpoint! {
    /// Hand leadership to a voter.
    ///
    /// 409 `membership_refused` at once, with the reason, when the target does not answer or lags, or the cluster could
    /// not commit the change (C6).
    Transfer = Post "/cluster/transfer" as "transfer", Leader;
    request: MemberId;
    answer: Json<Done>, "Done.";
    errors: MembershipRefused;
}

/// `POST /cluster/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InitRequest {
    /// The founding members; the asked node alone if left out or empty.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub nodes: Option<Vec<NodeAddress>>,
}

/// A node and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAddress {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
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
    /// Its node id.
    pub id: NodeId,
}

/// `POST /cluster/promote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromoteRequest {
    /// Its node id.
    pub id: NodeId,
    /// How long to wait until it has caught up, in milliseconds; not at all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}
