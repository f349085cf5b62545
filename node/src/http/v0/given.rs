//! Which tasks a peer was given: the original's client never says that it works on one, nor that it failed.
//!
//! A task is given once. While the client may be at it, the planner is told that it works on it; after that, that it
//! failed, and the copy goes to another peer or to the same one later (M2).
//!
//! Invariant: soft state of the leader, bounded by [`PEERS_MAX`]. Losing it means only that a task is given again.

use std::collections::HashMap;
use std::time::Duration;

use client::contract::{FailedTask, Task, TaskKind};
use parking_lot::Mutex;
use raft_store::catalog::HolderView;
use raft_store::types::PeerId;
use tokio::time::Instant;

use super::wire::ReplicationTask;
use super::{Current, peer_info};
use crate::node::Node;
use crate::sys::clock;

/// How long a task counts as under way. The original's client gives a download up after 10 s.
pub const UNDER_WAY: Duration = Duration::from_secs(15);
/// Peers whose tasks are remembered; beyond it, those that were given nothing for [`UNDER_WAY`] are forgotten.
const PEERS_MAX: usize = 10_000;
/// The code of a task that was not announced in time.
const NOT_ANNOUNCED: &str = "not_announced";

/// The tasks that each peer was given, with the moment.
#[derive(Debug, Default)]
pub struct Given(Mutex<HashMap<PeerId, Vec<(String, Instant)>>>);

impl Given {
    /// What the peer would say: the tasks it works on, and those that failed. The latter are forgotten.
    pub fn said(&self, peer: &PeerId) -> (Vec<String>, Vec<FailedTask>) {
        let mut given = self.0.lock();
        let Some(tasks) = given.get_mut(peer) else { return Default::default() };
        let failed = tasks.extract_if(.., |(_, at)| at.elapsed() >= UNDER_WAY);
        let failed = failed.map(|(id, _)| FailedTask { id, code: NOT_ANNOUNCED.to_owned() }).collect();
        (tasks.iter().map(|(id, _)| id.clone()).collect(), failed)
    }

    /// Forgets what a peer was given.
    pub fn forget(&self, peer: &PeerId) {
        self.0.lock().remove(peer);
    }

    /// Takes the tasks that the original knows, as it writes them, and remembers that they were given. It knows no
    /// removals.
    pub fn take(&self, node: &Node, peer: &PeerId, tasks: Vec<Task>) -> Vec<ReplicationTask> {
        let mut taken = Vec::with_capacity(tasks.len());
        for task in tasks.into_iter().filter(|task| task.kind != TaskKind::Remove) {
            if let Some(rendered) = rendered(node, &task) {
                taken.push((task.id, rendered));
            }
        }
        self.remember(peer, taken.iter().map(|(id, _)| id.clone()).collect());
        taken.into_iter().map(|(_, task)| task).collect()
    }

    fn remember(&self, peer: &PeerId, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        let mut given = self.0.lock();
        if given.len() >= PEERS_MAX && !given.contains_key(peer) {
            given.retain(|_, tasks| tasks.iter().any(|(_, at)| at.elapsed() < UNDER_WAY));
        }
        if given.len() < PEERS_MAX || given.contains_key(peer) {
            let now = clock::now();
            given.entry(peer.clone()).or_default().extend(ids.into_iter().map(|id| (id, now)));
        }
    }
}

/// A task in the original's format; `None` if the file has moved on since it was planned.
fn rendered(node: &Node, task: &Task) -> Option<ReplicationTask> {
    let file = node.catalog().file(&task.file)?;
    let current = Current::of_view(&file).filter(|current| current.version == task.version)?;
    let is_source = |holder: &&HolderView| holder.live && holder.current && *holder.address == *task.source;
    let source = file.holders.iter().find(is_source)?;
    let source_peer = peer_info(node, &source.peer, &source.address);
    Some(ReplicationTask { file: current.info(&task.file), source_peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> PeerId {
        PeerId::parse(format!("p{n}")).expect("valid")
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_under_way_and_then_failed_once() {
        let given = Given::default();
        given.remember(&peer(1), vec!["t1".into()]);
        tokio::time::advance(UNDER_WAY / 2).await;
        given.remember(&peer(1), vec!["t2".into()]);
        assert_eq!(given.said(&peer(1)), (vec!["t1".into(), "t2".into()], vec![]));
        tokio::time::advance(UNDER_WAY / 2).await;
        let (working, failed) = given.said(&peer(1));
        assert_eq!((working.len(), failed.len(), failed[0].id.as_str()), (1, 1, "t1"));
        assert_eq!(given.said(&peer(1)), (vec!["t2".into()], vec![]), "it is told once");
        assert_eq!(given.said(&peer(2)), Default::default());
        given.forget(&peer(1));
        assert_eq!(given.said(&peer(1)), Default::default());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded() {
        let given = Given::default();
        for n in 0..=PEERS_MAX {
            given.remember(&peer(n), vec!["t".into()]);
        }
        assert_eq!(given.0.lock().len(), PEERS_MAX);
        assert_eq!(given.said(&peer(PEERS_MAX)), Default::default(), "its task may be given again");
        tokio::time::advance(UNDER_WAY).await;
        given.remember(&peer(PEERS_MAX), vec!["t".into()]);
        assert_eq!(given.0.lock().len(), 1, "what is over made room");
    }
}
