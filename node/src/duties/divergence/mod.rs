//! Members compare their states at equal positions of the log (N3).
//!
//! ```text
//!  leader: propose a checkpoint ─► every member takes an image right at it ─► digests it off the apply path
//!        ─► the leader asks all for their digests ─► judges ─► tells all the verdict
//!  member: agrees ─► serves        differs from a majority ─► `diverged`: see `repair`
//! ```
//!
//! A checkpoint is an entry without commands and without a stamp. The leader proposes one in each minute in which
//! something changed, when it becomes leader, and when a member asks for one. A member asks after its start, and after
//! a snapshot replaced its state.
//!
//! Invariants
//! * There is one comparison at a time, and its memory is bounded: a few digests, and one image until it is hashed.
//! * A verdict counts only in the term of the leader that gave it, and only at a checkpoint of which this node has the
//!   digest.

mod compare;
mod repair;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_store::catalog::STATE_DIGEST_FORMAT;
use raft_store::types::ContentHash;
use tokio::time::Instant;

pub use self::compare::run;
pub use self::repair::state_part;
use crate::condition::Condition;
use crate::duties::membership;
use crate::duties::starts;
use crate::node::Node;
use crate::transport::{Announcement, DigestAnswer, MemberDigest};

/// How long a leader whose state is wrong tries to hand over before it stops applying entries.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(5);

/// This node's digest at a checkpoint, for the leader that compares.
pub fn digest_at(node: &Node, index: u64) -> DigestAnswer {
    if let Some(digest) = node.divergence.digest_at(index) {
        return DigestAnswer::Known(MemberDigest { format: STATE_DIGEST_FORMAT, digest });
    }
    // Nothing is applied to a distrusted state. A newer checkpoint's digest shows that this one was skipped.
    if node.state.is_distrusted() || *node.divergence.newest.borrow() > index {
        return DigestAnswer::Never;
    }
    DigestAnswer::Later
}

/// Acts on a leader's verdict.
pub fn judged(node: &Arc<Node>, verdict: Announcement) {
    if verdict.term != node.term() || verdict.format != STATE_DIGEST_FORMAT {
        return;
    }
    let own = node.divergence.digest_at(verdict.index);
    let divergence = &node.divergence;
    divergence.comparisons.fetch_add(1, Ordering::Relaxed);
    let index = verdict.index;
    *divergence.alarm.lock() = verdict.agreed.is_none().then_some(index);
    let Some(agreed) = verdict.agreed else {
        divergence.disagreements.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            index,
            own = own.map(|own| own.to_string()),
            "the states of the members differ, and no majority agrees: compare them with `raftshare-node verify`, and replace the \
             members that are wrong"
        );
        return;
    };
    if !verdict.odd.is_empty() {
        divergence.disagreements.fetch_add(1, Ordering::Relaxed);
    }
    match own {
        Some(own) if own != agreed => diverged(node, verdict),
        Some(_) if is_diverged(node) && !node.state.is_distrusted() => {
            starts::set_condition(node, Condition::Serving);
            tracing::info!(index, "the state of this node is that of the majority again: it serves");
            divergence.judged.notify_waiters();
            tokio::spawn(record(node.clone(), None));
        }
        _ => {}
    }
}

/// Whether this node's state was found to differ from the majority's.
pub fn is_diverged(node: &Node) -> bool {
    matches!(node.condition.get(), Condition::Diverged { .. })
}

/// This node's state differs: it answers no client, does not stand for election, hands over, and takes the state from a
/// member that agreed.
fn diverged(node: &Arc<Node>, verdict: Announcement) {
    // A node that was removed, or has an older copy, answers nobody anyway, and repair must not bring it back.
    if !node.takes_part() {
        return;
    }
    if node.divergence.repairing.swap(true, Ordering::Relaxed) {
        // The state that it took over is wrong as well.
        node.state.distrust();
        node.divergence.judged.notify_waiters();
        return;
    }
    let at = verdict.index;
    starts::set_condition(node, Condition::Diverged { at });
    let node = node.clone();
    tokio::spawn(async move {
        record(node.clone(), Some(at)).await;
        tracing::error!(
            at,
            agreed = ?verdict.with,
            "the state of this node differs from the one that a majority has: it answers no client until it has taken \
             that one over"
        );
        if node.leads() {
            let _ = tokio::time::timeout(HAND_OVER_DEADLINE, membership::hand_over(&node, HAND_OVER_DEADLINE)).await;
        }
        node.state.distrust();
        repair::run(&node, &verdict.with).await;
        node.divergence.repairing.store(false, Ordering::Relaxed);
    });
}

/// Records whether this node's state is wrong, for its next start.
async fn record(node: Arc<Node>, diverged: Option<u64>) {
    if let Err(error) = node.identities.starts.update(|starts| starts.diverged = diverged).await {
        tracing::debug!(%error, "could not note whether the state of this node is right");
    }
}

/// Waits until the digest at a checkpoint is known here.
async fn own_digest(node: &Node, index: u64, until: Instant) -> Option<ContentHash> {
    let mut newest = node.divergence.newest.subscribe();
    let known = tokio::time::timeout_at(until, newest.wait_for(|newest| *newest >= index)).await;
    known.ok()?.ok()?;
    node.divergence.digest_at(index)
}
