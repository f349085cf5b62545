//! Asking the nodes: who leads, and who serves.

use std::time::{Duration, Instant};

use client::contract::LeaderInfo;
use raft_store::types::NodeId;

use super::{Cluster, ClusterError, POLL};

impl Cluster {
    /// Who leads, by the word of the living node that knows the highest term.
    pub async fn leader(&self) -> Option<LeaderInfo> {
        let asked = self.living().into_iter().map(|id| self.leader_by(id));
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().max_by_key(|leader| leader.term)
    }

    /// Waits until somebody leads.
    pub async fn wait_leader(&self, within: Duration) -> Option<LeaderInfo> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(leader) = self.leader().await {
                return Some(leader);
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    /// Waits until every node serves linearizable reads and writes.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + within;
        let mut waiting = self.ids();
        while !waiting.is_empty() {
            if let Some((id, status)) = self.ended().into_iter().next() {
                return Err(self.not_ready(format!("node {id} ended by itself ({status}) and did not serve"), within));
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("nodes {waiting:?} did not become ready"), within));
            }
            let cluster = &*self;
            let polls = waiting.iter().map(|&id| async move { (!cluster.is_ready(id).await).then_some(id) });
            waiting = futures::future::join_all(polls).await.into_iter().flatten().collect();
            if !waiting.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until one node serves linearizable reads and writes.
    pub async fn wait_node_ready(&self, id: NodeId, within: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + within;
        while !self.is_ready(id).await {
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("node {id} did not become ready"), within));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether a node serves linearizable reads and writes.
    pub async fn is_ready(&self, id: NodeId) -> bool {
        let Some(url) = self.url(id) else { return false };
        matches!(self.http.get(format!("{url}/readyz")).send().await, Ok(answer) if answer.status().is_success())
    }

    async fn leader_by(&self, id: NodeId) -> Option<LeaderInfo> {
        let url = self.url(id)?;
        let answer = self.http.get(format!("{url}/leader")).send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }
}
