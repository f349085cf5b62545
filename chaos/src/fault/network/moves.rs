//! Nodes that come back where nobody knows them yet.
//!
//! Invariant: a moved node keeps its port and its directory; what moves is the address at which
//! the others are told to reach it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use raft_store::types::NodeId;

use super::Network;
use crate::fault::{Arena, Effect};
use crate::history::{FaultName, Record};

/// How long nodes at other addresses may take to serve (C4).
const FOUND_WITHIN: Duration = Duration::from_secs(10);

impl Network {
    /// Nobody listens at the old addresses any more, which are those of proxies; clients dial the nodes themselves.
    pub(super) async fn move_away(&mut self, arena: &mut Arena<'_>, moved: &[NodeId]) -> anyhow::Result<Vec<Effect>> {
        for id in moved {
            arena.cluster.kill(*id)?;
        }
        for id in moved {
            let at = self.fronts.iter().position(|(of, _)| of == id).context("a node without a proxy")?;
            self.servers[at].abort();
            let plan = arena.cluster.plan(*id).context("a node without a plan")?;
            let (server, front) = self.front(*id, &plan.listen).await?;
            (self.servers[at], self.fronts[at].1) = (server, front);
        }
        let members: Vec<String> = self.fronts.iter().map(|(id, front)| format!("{id}={front}")).collect();
        let fronts = self.fronts.clone();
        for (id, front) in fronts.iter().filter(|(id, _)| moved.contains(id)) {
            arena.cluster.readdress(*id, front.to_string(), &members.join(","))?;
            arena.cluster.restart(*id)?;
        }
        let since = Instant::now();
        for id in moved {
            let left = FOUND_WITHIN.saturating_sub(since.elapsed());
            if arena.cluster.wait_node_ready(*id, left).await.is_err() {
                let what =
                    format!("node {id}, which came back at another address, does not serve within {FOUND_WITHIN:?}");
                arena.recorder.record(Record::Misbehaved { what });
            }
        }
        let words = format!("n{moved:?} came back at other addresses after {:.2} s", since.elapsed().as_secs_f64());
        Ok(vec![Effect::installed(FaultName::Move, moved.first().copied(), words)])
    }
}
