//! Inspects the cluster and changes its members.
//!
//! Invariant: membership changes have no idempotency key, so they are sent once. After a broken connection the caller
//! gets [`Error::Unknown`] and checks [`IndexClient::cluster`] before it asks again.

use std::time::Duration;

use raft_store::types::NodeId;
use serde::de::DeserializeOwned;

use super::retry::Repeat;
use super::{Error, IndexClient, Read};
use crate::contract::{
    AddLearner, Cluster, ClusterResponse, Demote, Digest, DigestResponse, Endpoint, Init, InitRequest, Leader,
    LeaderInfo, MemberId, NoBody, NoQuery, NodeAddress, Promote, PromoteRequest, Remove, Response, Snapshot, Transfer,
};

/// A future member.
pub type NewNode = NodeAddress;

impl IndexClient {
    /// The leader. Any node answers this; refused with `no_quorum` while there is no leader.
    pub async fn leader(&self) -> Result<LeaderInfo, Error> {
        let answer: Read<LeaderInfo> = self.ask::<Leader>(&NoQuery {}).await?;
        let mut routes = self.shared.routes.lock();
        self.note_leader(&mut routes, &answer.value);
        Ok(answer.value)
    }

    /// Members, roles, lag and liveness as the answering node sees them; [`IndexClient::only`] picks the node.
    pub async fn cluster(&self) -> Result<Read<ClusterResponse>, Error> {
        self.ask::<Cluster>(&NoQuery {}).await
    }

    /// The digest of a node's state (D1); [`IndexClient::only`] picks the node.
    pub async fn digest(&self) -> Result<Read<DigestResponse>, Error> {
        self.ask::<Digest>(&NoQuery {}).await
    }

    /// Founds the cluster, once (C1). With an empty list the asked node becomes the only member.
    pub async fn init(&self, nodes: &[NewNode]) -> Result<(), Error> {
        self.change::<Init>(&InitRequest { nodes: Some(nodes.to_vec()).filter(|nodes| !nodes.is_empty()) }).await
    }

    /// Adds a learner (C2).
    pub async fn add_learner(&self, node: &NewNode) -> Result<(), Error> {
        self.change::<AddLearner>(node).await
    }

    /// Makes a learner a voter (C2).
    pub async fn promote(&self, id: NodeId) -> Result<(), Error> {
        self.change::<Promote>(&PromoteRequest { id, wait_ms: None }).await
    }

    /// Like `promote`, but waits up to `wait` for the learner to catch up. The call's limit grows by the same time.
    pub async fn promote_within(&self, id: NodeId, wait: Duration) -> Result<(), Error> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.change_within::<Promote>(&PromoteRequest { id, wait_ms: Some(wait_ms) }, wait).await
    }

    /// Makes a voter a learner (C2).
    pub async fn demote(&self, id: NodeId) -> Result<(), Error> {
        self.change::<Demote>(&MemberId { id }).await
    }

    /// Removes a member (C2).
    pub async fn remove(&self, id: NodeId) -> Result<(), Error> {
        self.change::<Remove>(&MemberId { id }).await
    }

    /// Hands leadership to a voter (C2).
    pub async fn transfer(&self, id: NodeId) -> Result<(), Error> {
        self.change::<Transfer>(&MemberId { id }).await
    }

    /// Takes a snapshot on a node now.
    pub async fn snapshot(&self) -> Result<(), Error> {
        self.change::<Snapshot>(&NoBody {}).await
    }

    async fn change<E: Endpoint>(&self, request: &E::Request) -> Result<(), Error>
    where
        Response<E>: DeserializeOwned,
    {
        self.change_within::<E>(request, Duration::ZERO).await
    }

    async fn change_within<E: Endpoint>(&self, request: &E::Request, wait: Duration) -> Result<(), Error>
    where
        Response<E>: DeserializeOwned,
    {
        // The status says everything; the body is for people.
        self.post_unkeyed::<E>(request, wait, Repeat::Once).await.map(|_| ())
    }
}
