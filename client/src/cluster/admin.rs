//! Looking at the cluster itself and changing its members.
//!
//! Invariant: membership changes have no idempotency key, so they are sent once; after a broken connection the caller
//! gets [`Error::Unknown`] and looks at [`IndexClient::cluster`] before asking again.

use std::time::Duration;

use raft_store::types::NodeId;
use serde::de::DeserializeOwned;

use super::retry::Repeat;
use super::{Error, IndexClient, Read};
use crate::contract::{
    AddLearner, Cluster, ClusterResponse, Demote, Digest, DigestResponse, Endpoint, Init, InitRequest, Leader,
    LeaderInfo, MemberId, NoBody, NoQuery, NodeAddress, Promote, PromoteRequest, Remove, Response, Snapshot, Transfer,
};

/// A member to be.
pub type NewNode = NodeAddress;

impl IndexClient {
    /// Who leads. Answered by any node; refused with `no_quorum` while nobody does.
    pub async fn leader(&self) -> Result<LeaderInfo, Error> {
        let answer: Read<LeaderInfo> = self.ask::<Leader>(&NoQuery {}).await?;
        let mut routes = self.shared.routes.lock();
        self.note_leader(&mut routes, &answer.value);
        Ok(answer.value)
    }

    /// Members, roles, lag and liveness as the node sees them that answers; [`IndexClient::only`] picks the node.
    pub async fn cluster(&self) -> Result<Read<ClusterResponse>, Error> {
        self.ask::<Cluster>(&NoQuery {}).await
    }

    /// The digest of a node's state (D1); [`IndexClient::only`] picks the node.
    pub async fn digest(&self) -> Result<Read<DigestResponse>, Error> {
        self.ask::<Digest>(&NoQuery {}).await
    }

    /// Founds the cluster, once (C1); an empty list makes a cluster of the one node that is asked.
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

    /// The same, but the cluster waits for the learner to catch up, so long at most. The call may take as much longer.
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

    /// Takes a snapshot now.
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
        // What the answer holds is for people; its status says all.
        self.post_unkeyed::<E>(request, wait, Repeat::Once).await.map(|_| ())
    }
}
