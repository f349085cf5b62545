//! Serves the other nodes: lets their connections in, and answers what they ask.

mod admission;
mod answer;

use std::sync::Arc;

use raft_store::types::NodeId;

use crate::duties::failover;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::raft::Raft;
use crate::transport::{Hello, Host, PeerRequests, Request, Response, SnapshotHead, Welcome};

impl Host for Node {
    async fn admit(&self, hello: &Hello) -> Result<PeerRequests, Welcome> {
        admission::admit(self, hello).await
    }

    fn welcome(&self) -> Welcome {
        Welcome::Accepted { start: self.identities.start(), boot: self.boot }
    }

    async fn revoked(&self, hello: &Hello) {
        admission::revoked(self, hello).await;
    }

    async fn answer(self: &Arc<Self>, allowed: PeerRequests, request: Request) -> Response {
        answer::answer(self, allowed, request).await
    }

    async fn install(&self, sender: NodeId, head: SnapshotHead, bytes: Vec<u8>) -> Response {
        answer::install(self, sender, head, bytes).await
    }

    fn ended(self: &Arc<Self>, from: NodeId) {
        failover::connection_ended(self, from);
    }

    fn raft(&self) -> &Raft {
        &self.raft
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
