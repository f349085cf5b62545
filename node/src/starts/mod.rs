//! Starts of members: this node shows its own to the others before it takes part, and judges those of others (C3, C5).
//!
//! A directory that was restored from an older copy, or copied beside its original, has forgotten votes
//! and entries that others still count on. So each start has a number, and a voter takes part only
//! after a majority has recorded its number.
//!
//! Invariants
//! * A node that belongs to a cluster of several voters neither votes nor acknowledges before a
//!   majority has recorded its start.
//! * Of two processes with one directory's identity, a member that saw the first refuses the
//!   second while the first answers.

mod announce;
mod judge;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use raft_store::raft::LogId;
use raft_store::storage::StartId;
use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::node::Node;
use crate::transport::Side;

pub use announce::{StartError, run};
pub use judge::is_superseded;
pub use verdicts::record;

/// What a starting node tells a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Who starts.
    pub side: Side,
    /// Which start it is.
    pub start: StartId,
    /// The process: a random number of its own.
    pub boot: u64,
    /// Where its log ends.
    pub last_log: Option<LogId>,
    /// Where it can be reached now (C4).
    pub address: String,
}

/// What the member answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It has recorded the start, durably; and which starts of other directories it knows.
    Recorded(Vec<Seen>),
    /// The directory is older than what its node had acknowledged.
    OlderCopy(String),
    /// Another process with this directory's identity runs at this address.
    InUse(String),
}

/// A start of another directory, passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The directory.
    pub store: u64,
    /// Its newest start.
    pub start: StartId,
    /// The process.
    pub boot: u64,
    /// Where it can be reached.
    pub address: String,
}

/// Whether `recorded` is a majority of every set of voters that is in force.
fn is_majority(configs: &[BTreeSet<NodeId>], recorded: &BTreeSet<NodeId>) -> bool {
    configs.iter().all(|voters| voters.intersection(recorded).count() > voters.len() / 2)
}

/// Changes the condition, and with it whether this node may stand for election.
pub fn set_condition(node: &Node, condition: Condition) -> bool {
    node.identities.be_silent(matches!(condition, Condition::OlderCopy { .. } | Condition::Removed { .. }));
    node.raft.runtime_config().elect(matches!(condition, Condition::Serving));
    node.condition.set(condition)
}

/// What this node, as leader, saw others acknowledge is noted once in a while, so that an older copy of such a
/// directory is told from the directory later.
pub async fn follow_acknowledgements(node: Arc<Node>) {
    /// Time between two notes: an older copy that lacks less than this is told by its number alone.
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
    loop {
        tokio::time::sleep(PAUSE).await;
        let acknowledged = acknowledged(&node);
        let news = node
            .identities
            .starts
            .read(|starts| acknowledged.iter().any(|(store, upto, _)| starts.is_news(*store, *upto)));
        if news {
            let noted = node.identities.starts.note(|starts| {
                for (store, upto, boot) in acknowledged {
                    starts.acknowledge(store, upto, boot);
                }
            });
            if noted.await.is_err() {
                // The storage failed; the node is about to end (W4).
                std::future::pending::<()>().await;
            }
        }
    }
}

/// For each other member, the highest committed entry that it has acknowledged to this leader, and the process that
/// did so: the one that was reached last.
fn acknowledged(node: &Node) -> Vec<(u64, LogId, u64)> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let Some(replication) = &metrics.replication else { return Vec::new() };
    let members = metrics.membership_config.membership();
    let of = |(id, matched): (&NodeId, &Option<LogId>)| {
        let upto = (*matched).min(metrics.cluster_committed)?;
        (*id != node.config.id).then_some(())?;
        let store = members.get_node(id)?.store_id;
        Some((store, upto, node.identities.boot_of(store)?))
    };
    replication.iter().filter_map(of).collect()
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
