//! Hands leadership to another voter, and recovers when that voter is lost on the way.
//!
//! openraft accepts no writes from the moment a transfer is triggered until another leader is elected, and cannot
//! cancel a transfer. So the target is asked first. A leader whose target did not take over steps down: it votes for
//! the target in the next term without telling it. After that, late messages of the old term have no effect, and any
//! suitable voter can be elected.
//!
//! Invariant: a transfer happens before its deadline or not at all (W6).

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::VoteRequest;
use raft_store::types::NodeId;
use tokio::time::Instant;

use super::checks::{self, Members};
use super::{ChangeError, known_member, refused, turn, voters};
use crate::node::Node;
use crate::sys::clock;

/// How long a target may take to be elected. That needs one round trip and two syncs; after this long it has failed.
const TAKE_OVER_DEADLINE: Duration = Duration::from_millis(1_500);
/// Pause between two checks of who leads.
const POLL_PAUSE: Duration = Duration::from_millis(10);
/// A voter that acknowledged nothing for this long is no candidate for a hand-over.
const REACHABLE_WITHIN: Duration = Duration::from_secs(1);

/// Hands leadership to a voter; refused unless it answers now and has caught up.
pub async fn transfer(node: &Node, id: NodeId, until: Instant) -> Result<(), ChangeError> {
    let _turn = turn(node, until).await?;
    let members = checks::settled(node, until).await?;
    known_member(&members, id)?;
    if !members.voters.contains(&id) {
        return Err(refused(format!("node {id} is a learner; promote it first")));
    }
    if id == node.config.id {
        return Ok(());
    }
    let ability = checks::ability(node, &members, &members.voters, until).await;
    let could_lead = match (members.nodes.get(&id), ability.get(&id)) {
        (_, Some(Err(why))) => Err(why.clone()),
        (Some(member), _) => checks::could_lead(node, id, member, until).await,
        (None, _) => Ok(()),
    };
    if let Err(why) = could_lead {
        return Err(refused(format!("node {id} {why}; it could not lead")));
    }
    checks::check_commit(&members.voters, &members.voters, &ability)?;
    trigger(node, id, &members, until).await
}

async fn trigger(node: &Node, id: NodeId, members: &Members, until: Instant) -> Result<(), ChangeError> {
    let term = node.term();
    // Asking took a while, and this process may have been paused meanwhile.
    if !node.leads() || clock::now() >= until {
        return Err(ChangeError::NoQuorum);
    }
    let triggered = node.raft.trigger().transfer_leader(id).await;
    triggered.map_err(|fatal| ChangeError::Storage(fatal.to_string()))?;
    let patience = until.min(clock::now() + TAKE_OVER_DEADLINE);
    while clock::now() < patience {
        if node.leader().is_some_and(|leader| leader.id == id && leader.term > term) {
            return Ok(());
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
    if stand_down(node, term, id).await {
        tracing::warn!(target = id, term, "the target of a transfer did not take over; standing down");
    }
    let others = members.voters.iter().filter(|other| **other != id).copied().collect::<BTreeSet<_>>();
    Err(ChangeError::Unknown(format!(
        "node {id} did not take over in time; leadership goes to it or to another of the voters {}",
        checks::list(&others)
    )))
}

/// Gives up the leadership of `term`, if this node still has it. Raft is handed a request for its vote in the next term
/// as if it came from the target, and is a follower from then on. The target is not told, as if the answer had been
/// lost. If it asks for votes by itself later, it still needs a log that is long enough. A vote for this node itself
/// would not help: openraft would go on as the leader.
async fn stand_down(node: &Node, term: u64, target: NodeId) -> bool {
    let raft = node.raft.clone();
    // On a task of its own: openraft reports an answer that nobody waits for as an error.
    let asked = tokio::spawn(async move {
        let (vote, last) =
            raft.with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().cloned())).await.ok()?;
        if vote.leader_id.term != term || !vote.committed {
            return None;
        }
        let mut next = vote;
        next.leader_id.term = term + 1;
        next.leader_id.voted_for = target;
        next.committed = false;
        let request = VoteRequest { leadership_transfer: true, ..VoteRequest::new(next, last) };
        raft.vote(request).await.ok().map(|answer| answer.vote_granted)
    });
    asked.await.ok().flatten().unwrap_or(false)
}

/// Hands leadership to the voter with the longest log, so that a planned stop costs writers no election timeout.
pub async fn hand_over(node: &Node, within: Duration) {
    let until = clock::now() + within;
    if !node.leads() {
        return;
    }
    let metrics = node.raft.metrics().borrow_watched().clone();
    let Some(replication) = metrics.replication else { return };
    let candidates = voters(node);
    let mut best: Vec<_> = replication
        .iter()
        .filter(|(id, _)| candidates.contains(id) && **id != node.config.id && reachable(node, **id))
        .collect();
    best.sort_by_key(|(_, matched)| std::cmp::Reverse(matched.as_ref().map(|log_id| log_id.index)));
    let Ok(members) = checks::settled(node, until).await else { return };
    for (id, _) in best {
        let Some(member) = members.nodes.get(id) else { continue };
        if checks::could_lead(node, *id, member, until).await.is_err() {
            continue;
        }
        if let Err(error) = trigger(node, *id, &members, until).await {
            tracing::info!(%error, "could not hand leadership over");
        }
        return;
    }
}

fn reachable(node: &Node, id: NodeId) -> bool {
    use openraft::Instant as _;
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let heard = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(&id)).and_then(|heard| *heard);
    heard.is_some_and(|heard| heard.elapsed() <= REACHABLE_WITHIN)
}
