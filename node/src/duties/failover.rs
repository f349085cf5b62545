//! Fast failover when the leader's process is gone.
//!
//! When a process dies, its connections drop and its port closes, and its followers notice at once. Waiting for the
//! election timeout would gain nothing: no process is left that could still answer as the leader. So a follower that
//! loses its connection from the leader probes the leader's port and asks the other voters to do the same. If a
//! majority finds the port closed, the one with the longest log stands for election without waiting for the leader's
//! lease (as in a transfer of leadership, Raft dissertation section 3.10). A machine that lost power, a paused process
//! and a cut link give no such sign, and are left to Raft's timeouts.
//!
//! Invariant: a node stands for election here only after a majority of the voters, itself included, found the leader's
//! port closed while they followed that leader in that term. Votes, logs and terms remain Raft's business.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::RaftState;
use openraft::raft::TransferLeaderRequest;
use raft_store::raft::TypeConfig;
use raft_store::types::NodeId;
use tokio::time::timeout;

use crate::duties::divergence;
use crate::duties::membership::voters;
use crate::node::{KnownLeader, Node};
use crate::transport::{LogEnd, Request, Response};

/// How long a probe of the leader's port may take; a closed port answers at once.
const PROBE_DEADLINE: Duration = Duration::from_millis(50);
/// The most probes of one port. Linux closes a killed process's files from the newest to the oldest, so its connections
/// end before its port is closed, and the first probe may come too early.
const PROBES_MAX: u32 = 5;
/// Pause after the first probe that found the port open; each further one is twice as long (30 ms in all).
const PROBE_PAUSE: Duration = Duration::from_millis(2);
/// How long the other voters may take to find out and answer.
const ASK_DEADLINE: Duration = Duration::from_millis(100);
/// How long a voter waits for each one that is ahead of it to take over.
const STAGGER: Duration = Duration::from_millis(80);

/// A connection that `from` had opened to this node has ended. If `from` is the leader, finds out whether it is gone.
pub fn connection_ended(node: &Arc<Node>, from: NodeId) {
    let followed = node.leader().is_some_and(|leader| leader.id == from && from != node.config.id);
    if !followed || !node.failover.note(from) {
        return;
    }
    let node = node.clone();
    tokio::spawn(async move {
        while let Some(ended) = node.failover.next() {
            if let Some(leader) = node.leader().filter(|leader| leader.id == ended) {
                succeed(&node, &leader).await;
            }
        }
    });
}

/// This voter's answer to the question whether the leader of `term` is gone: where its own log ends, if it followed
/// that leader and finds the port closed.
pub async fn found_gone(node: &Node, leader: NodeId, term: u64) -> Option<LogEnd> {
    if !node.takes_part() {
        return None;
    }
    let known = node.leader().filter(|known| known.id == leader && known.term == term)?;
    if !is_gone(node, &known).await {
        return None;
    }
    // A node whose state is wrong does not stand (N3), and the others need not wait for it.
    if divergence::is_diverged(node) {
        return Some(LogEnd::default());
    }
    // Asked of Raft itself, which handles the leader's last appends first. Its metrics may be older.
    let last = of_raft(node, |state| state.log_ids.last().map(|last| (last.leader_id.term, last.index)));
    Some(last.await?.unwrap_or_default())
}

/// Asks Raft's core, on a task of its own. The caller may give up, for example because the voter that asked was killed
/// as well, and openraft reports an answer that nobody waits for as an error.
async fn of_raft<T: Send + 'static>(
    node: &Node,
    ask: impl FnOnce(&RaftState<TypeConfig>) -> T + Send + 'static,
) -> Option<T> {
    let raft = node.raft.clone();
    tokio::spawn(async move { raft.with_raft_state(ask).await }).await.ok()?.ok()
}

async fn succeed(node: &Node, leader: &KnownLeader) {
    let voters = voters(node);
    if !voters.contains(&node.config.id) || divergence::is_diverged(node) {
        return;
    }
    let Some(own) = found_gone(node, leader.id, leader.term).await else { return };
    let members = node.members();
    let others = voters.iter().filter(|id| **id != node.config.id && **id != leader.id);
    let asked = others.filter_map(|id| Some((*id, members.get(id)?))).map(async |(id, member)| {
        let request = Request::LeaderGone { leader: leader.id, term: leader.term };
        match node.pool.call(id, member, &request, ASK_DEADLINE).await {
            Ok(Response::LeaderGone(last)) => last.map(|last| (last, id)),
            _ => None,
        }
    });
    let agreeing: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    let majority = voters.len() / 2 + 1;
    if 1 + agreeing.len() < majority {
        return;
    }
    for _ in 0..ahead_of((own, node.config.id), &agreeing) {
        tokio::time::sleep(STAGGER).await;
        if node.term() != leader.term {
            return;
        }
    }
    stand(node, leader).await;
}

/// How many of the agreeing voters should stand before this one: those with a longer log, then those with a lower id.
fn ahead_of(own: (LogEnd, NodeId), agreeing: &[(LogEnd, NodeId)]) -> usize {
    let rank = |(last, id): (LogEnd, NodeId)| (last, Reverse(id));
    agreeing.iter().filter(|other| rank(**other) > rank(own)).count()
}

async fn stand(node: &Node, leader: &KnownLeader) {
    let Some(vote) = of_raft(node, |state| *state.vote_ref()).await else { return };
    // Only while this node still follows that leader. If not, Raft has moved on by itself.
    if vote.leader_id.term != leader.term || !vote.committed {
        return;
    }
    tracing::info!(leader = leader.id, term = leader.term, "the leader's process is gone; standing for election");
    if let Err(fatal) = node.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, node.config.id, None)).await {
        tracing::debug!(%fatal, "could not stand for election");
    }
}

/// Whether nothing listens at the leader's address any more.
async fn is_gone(node: &Node, leader: &KnownLeader) -> bool {
    closes(|| node.net.connect(leader.member.address.clone())).await
}

/// Whether a port is closed, or about to be.
async fn closes<C, F: Future<Output = io::Result<C>>>(probe: impl Fn() -> F) -> bool {
    let mut pause = PROBE_PAUSE;
    for number in 1..=PROBES_MAX {
        match timeout(PROBE_DEADLINE, probe()).await {
            Ok(Ok(_)) if number < PROBES_MAX => tokio::time::sleep(pause).await,
            Ok(Err(error)) => return error.kind() == io::ErrorKind::ConnectionRefused,
            Ok(Ok(_)) | Err(_) => return false,
        }
        pause *= 2;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What `closes` says about a port that gives these answers, the last one for ever; and how often it was probed.
    async fn probed(answers: &[Result<(), io::ErrorKind>]) -> (bool, usize) {
        let asked = AtomicUsize::new(0);
        let probe = || {
            let number = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            std::future::ready(answers[number].map_err(io::Error::from))
        };
        (closes(probe).await, asked.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_is_about_to_close_is_probed_again() {
        let refused = Err(io::ErrorKind::ConnectionRefused);
        assert_eq!(probed(&[refused]).await, (true, 1));
        assert_eq!(probed(&[Ok(()), Ok(()), refused]).await, (true, 3));
        assert_eq!(probed(&[Ok(())]).await, (false, PROBES_MAX as usize));
        assert_eq!(probed(&[Ok(()), Err(io::ErrorKind::HostUnreachable)]).await, (false, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_says_nothing() {
        assert!(!closes(std::future::pending::<io::Result<()>>).await);
    }

    #[test]
    fn the_longest_log_stands_first_then_the_lowest_id() {
        let (older, newer) = ((1, 90), (2, 10));
        assert_eq!(ahead_of((newer, 2), &[(newer, 3)]), 0);
        assert_eq!(ahead_of((newer, 3), &[(newer, 2)]), 1);
        assert_eq!(ahead_of((older, 1), &[(newer, 2), (newer, 3)]), 2);
        assert_eq!(ahead_of(((2, 11), 5), &[(newer, 2), (newer, 3)]), 0);
    }
}
