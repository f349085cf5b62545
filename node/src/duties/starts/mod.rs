//! Starts of members: this node announces its own before it takes part, and judges those of others (C3, C5).
//!
//! A directory that was restored from an older copy, or is used beside its original, lacks votes and entries that
//! others still count on. So each start has a number, and a voter takes part only after a majority has recorded its
//! number.
//!
//! Invariants
//! * A node that belongs to a cluster of several voters neither votes nor acknowledges before a majority has recorded
//!   its start.
//! * Of two processes with one directory's identity, a member that saw the first refuses the second while the first
//!   answers.

mod announce;
mod judge;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use raft_store::raft::LogId;
use raft_store::storage::Starts;
use raft_store::types::NodeId;

use crate::condition::Condition;
use crate::node::Node;

pub use announce::{StartError, run};
pub use verdicts::record;

/// Whether `recorded` is a majority of every set of voters that is in force.
fn is_majority(configs: &[BTreeSet<NodeId>], recorded: &BTreeSet<NodeId>) -> bool {
    configs.iter().all(|voters| voters.intersection(recorded).count() > voters.len() / 2)
}

/// The condition of a node that does not take part yet.
pub fn starting(node: &Node) -> Condition {
    Condition::Starting { wrong_at: node.identities.starts.read(|starts| starts.diverged) }
}

/// The condition of a node that takes part. A state that was found to be wrong before a restart is not served after it.
pub fn taking_part(node: &Node) -> Condition {
    match node.identities.starts.read(|starts| starts.diverged) {
        Some(at) => Condition::Diverged { at },
        None => Condition::Serving,
    }
}

/// Changes the condition, and with it whether this node may stand for election.
pub fn set_condition(node: &Node, condition: Condition) -> bool {
    node.identities.be_silent(matches!(condition, Condition::OlderCopy { .. } | Condition::Removed { .. }));
    node.raft.runtime_config().elect(matches!(condition, Condition::Serving));
    node.condition.set(condition)
}

/// Notes from time to time what this node, as leader, saw others acknowledge. So an older copy of their directories can
/// be recognized later, also by another leader.
pub async fn follow_acknowledgements(node: Arc<Node>) {
    /// Time between two notes. A leader that is lost takes at most this much of what it saw with it.
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
    loop {
        tokio::time::sleep(PAUSE).await;
        if note_acknowledgements(&node).await.is_err() {
            // The storage failed; the node is about to end (W4).
            std::future::pending::<()>().await;
        }
    }
}

/// Notes what was acknowledged to this leader since the last time.
async fn note_acknowledgements(node: &Node) -> std::io::Result<()> {
    let acknowledged = acknowledged(node);
    let is_news = |starts: &Starts| acknowledged.iter().any(|(store, upto, _)| starts.is_news(*store, *upto));
    if !node.identities.starts.read(is_news) {
        return Ok(());
    }
    let noted = node.identities.starts.note(|starts| {
        for (store, upto, boot) in acknowledged {
            starts.acknowledge(store, upto, boot);
        }
    });
    noted.await
}

/// The last committed entries that other members' processes acknowledged to this leader: directory, entry and process,
/// older processes first.
fn acknowledged(node: &Node) -> Vec<(u64, LogId, u64)> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    if metrics.replication.is_none() {
        return Vec::new();
    }
    let members = metrics.membership_config.membership().nodes();
    let stores = members.filter(|(id, _)| **id != node.config.id).map(|(_, member)| member.store_id);
    let acked = stores.flat_map(|store| {
        let of_store = node.identities.acked(store, metrics.current_term).into_iter();
        of_store.map(move |acked| (store, acked))
    });
    let committed = metrics.cluster_committed;
    acked.filter_map(|(store, acked)| Some((store, committed?.min(acked.upto), acked.boot))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sets_of_voters_have_to_know() {
        let set = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert!(is_majority(&[set(&[1, 2, 3])], &set(&[1, 3])));
        assert!(!is_majority(&[set(&[1, 2, 3])], &set(&[1, 9])), "others than voters do not count");
        assert!(!is_majority(&[set(&[1, 2, 3]), set(&[3, 4, 5])], &set(&[1, 2, 3])));
        assert!(is_majority(&[set(&[1, 2, 3]), set(&[3, 4, 5])], &set(&[1, 3, 4])));
    }
}
