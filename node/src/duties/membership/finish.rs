//! Completes a change of voters that lost its leader in a joint configuration (W6).
//!
//! Invariant: one task changes members at a time. A change that is in progress here is left to its own task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Precondition;
use openraft::async_runtime::WatchReceiver;
use raft_store::raft::LogId;

use crate::node::Node;

/// How often a leader checks.
const SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Runs until the process ends.
pub async fn run(node: Arc<Node>) {
    let mut interval = tokio::time::interval(SCAN_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        if node.leads()
            && node.majority_confirmed()
            && let Some(joint) = joint(&node)
            && let Ok(_turn) = node.changes.try_acquire()
        {
            complete(&node, joint).await;
        }
    }
}

/// Where the joint configuration is in the log, if the effective membership is one.
fn joint(node: &Node) -> Option<LogId> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    (membership.get_joint_config().len() > 1).then_some(*membership.log_id()).flatten()
}

/// The voters that the change removes stay as learners. Whether they were to leave entirely is not in the log.
async fn complete(node: &Node, joint: LogId) {
    let as_seen = Precondition::LastMembershipLogId { last_membership_log_id: Some(joint) };
    let raft = node.raft.clone();
    // On a task of its own: dropped halfway, it would leave an answer that nobody waits for.
    let completed = tokio::spawn(async move {
        let nothing_more = ChangeMembers::AddVoterIds(BTreeSet::new());
        raft.change_membership_if(nothing_more, true, vec![as_seen]).await
    });
    match completed.await {
        Ok(Ok(_)) => tracing::info!("completed a change of voters that was begun by an earlier leader"),
        Ok(Err(error)) => tracing::debug!(%error, "could not complete a change of voters yet"),
        Err(error) => tracing::debug!(%error, "could not complete a change of voters"),
    }
}
