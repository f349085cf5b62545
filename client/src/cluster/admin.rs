//! Looking at the cluster itself and changing its members.
//!
//! Invariant: membership changes have no idempotency key, so they are sent once; after a broken connection the caller
//! gets [`Error::Unknown`] and looks at [`IndexClient::cluster`] before asking again.

use std::time::Duration;

use raft_store::types::NodeId;
use serde::Serialize;

use super::retry::Repeat;
use super::{Error, IndexClient, Read};
use crate::api::{ClusterResponse, DigestResponse, LeaderInfo};

/// A member to be, within `POST /cluster/init` and `/cluster/learners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewNode {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
}

#[derive(Serialize)]
struct InitRequest<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    nodes: &'a [NewNode],
}

#[derive(Serialize)]
struct NodeRequest {
    id: NodeId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PromoteRequest {
    id: NodeId,
    wait_ms: u64,
}

impl IndexClient {
    /// Who leads. Answered by any node; refused with `no_quorum` while nobody does.
    pub async fn leader(&self) -> Result<LeaderInfo, Error> {
        let answer: Read<LeaderInfo> = self.read("/leader", &[]).await?;
        let mut routes = self.shared.routes.lock();
        self.note_leader(&mut routes, &answer.value);
        Ok(answer.value)
    }

    /// Members, roles, lag and liveness as the node sees them that answers; [`IndexClient::only`] picks the node.
    pub async fn cluster(&self) -> Result<Read<ClusterResponse>, Error> {
        self.read("/cluster", &[]).await
    }

    /// The digest of a node's state (D1); [`IndexClient::only`] picks the node.
    pub async fn digest(&self) -> Result<Read<DigestResponse>, Error> {
        self.read("/cluster/digest", &[]).await
    }

    /// Founds the cluster, once (C1); an empty list makes a cluster of the one node that is asked.
    pub async fn init(&self, nodes: &[NewNode]) -> Result<(), Error> {
        self.change("/cluster/init", &InitRequest { nodes }).await
    }

    /// Adds a learner (C2).
    pub async fn add_learner(&self, node: &NewNode) -> Result<(), Error> {
        self.change("/cluster/learners", node).await
    }

    /// Makes a learner a voter (C2).
    pub async fn promote(&self, id: NodeId) -> Result<(), Error> {
        self.change("/cluster/promote", &NodeRequest { id }).await
    }

    /// The same, but the cluster waits for the learner to catch up, so long at most. The call may take as much longer.
    pub async fn promote_within(&self, id: NodeId, wait: Duration) -> Result<(), Error> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.change_within("/cluster/promote", &PromoteRequest { id, wait_ms }, wait).await
    }

    /// Makes a voter a learner (C2).
    pub async fn demote(&self, id: NodeId) -> Result<(), Error> {
        self.change("/cluster/demote", &NodeRequest { id }).await
    }

    /// Removes a member (C2).
    pub async fn remove(&self, id: NodeId) -> Result<(), Error> {
        self.change("/cluster/remove", &NodeRequest { id }).await
    }

    /// Hands leadership to a voter (C2).
    pub async fn transfer(&self, id: NodeId) -> Result<(), Error> {
        self.change("/cluster/transfer", &NodeRequest { id }).await
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) -> Result<(), Error> {
        self.change("/cluster/snapshot", &serde_json::Map::new()).await
    }

    async fn change<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Error> {
        self.change_within(path, body, Duration::ZERO).await
    }

    async fn change_within<B: Serialize>(&self, path: &str, body: &B, wait: Duration) -> Result<(), Error> {
        // What the answer holds is for people; its status says all.
        let (_, _): (serde_json::Value, _) = self.post_unkeyed(path, body, wait, Repeat::Once).await?;
        Ok(())
    }
}
