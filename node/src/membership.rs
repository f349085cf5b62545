//! Membership changes, one safe step at a time (C2), all on the leader.
//!
//! Invariant: a change that could leave the cluster without a reachable majority is refused.

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use raft_store::raft::TypeConfig;
use raft_store::types::NodeId;
use tokio::time::Instant;

use crate::api::error::ApiError;
use crate::birth::{self, BirthError};
use crate::node::Node;
use crate::transport::Request;

/// A learner this many entries behind, or fewer, counts as caught up.
const CAUGHT_UP_ENTRIES: u64 = 250;
/// How long promoting waits for a learner to catch up.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(20);
/// A voter that acknowledged nothing for this long does not count as reachable.
const REACHABLE_WITHIN: Duration = Duration::from_secs(1);
/// How long a voter may take to answer before a change that needs it.
const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// How long a transfer may take before it is given up.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);

fn refused(reason: impl Into<String>) -> ApiError {
    ApiError::MembershipRefused(reason.into())
}

impl From<BirthError> for ApiError {
    fn from(error: BirthError) -> Self {
        match error {
            BirthError::AlreadyInitialized(reason) => Self::AlreadyInitialized(reason),
            BirthError::Unreachable(reason) => Self::MembershipRefused(reason),
            BirthError::BadList(reason) => Self::BadRequest(reason),
        }
    }
}

/// Adds a node as a learner, or changes a member's address.
pub async fn add_learner(node: &Node, id: NodeId, address: &str) -> Result<(), ApiError> {
    let cluster = node.identities.cluster().ok_or(ApiError::NotInitialized)?;
    let member = birth::as_member(&*node.net, id, address, cluster).await?;
    match node.recorded_members().get(&id) {
        Some(known) if *known == member => Ok(()),
        Some(known) if known.store_id == member.store_id => {
            change(node, ChangeMembers::SetNodes(BTreeMap::from([(id, member)])), true).await
        }
        Some(_) => Err(refused(format!(
            "node {id} is a member with another data directory; remove it first, or give the new node a new id"
        ))),
        None => {
            node.raft.add_learner(id, member, false).await.map_err(change_failed)?;
            Ok(())
        }
    }
}

/// Makes a caught-up learner a voter.
pub async fn promote(node: &Node, id: NodeId) -> Result<(), ApiError> {
    known_member(node, id)?;
    if voters(node).contains(&id) && !is_joint(node) {
        return Ok(());
    }
    let until = Instant::now() + CATCH_UP_DEADLINE;
    loop {
        let lag = lag(node, id);
        match lag {
            Some(lag) if lag <= CAUGHT_UP_ENTRIES => break,
            _ if Instant::now() >= until => {
                let behind = lag.map_or("it never answered".into(), |lag| format!("it is {lag} entries behind"));
                return Err(refused(format!("node {id} has not caught up: {behind}; promoting it could stop writes")));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    change(node, ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
}

/// Makes a voter a learner.
pub async fn demote(node: &Node, id: NodeId) -> Result<(), ApiError> {
    known_member(node, id)?;
    if !voters(node).contains(&id) {
        return Ok(());
    }
    check_quorum_without(node, id).await?;
    change(node, ChangeMembers::RemoveVoters(BTreeSet::from([id])), true).await
}

/// Takes a member out.
pub async fn remove(node: &Node, id: NodeId) -> Result<(), ApiError> {
    known_member(node, id)?;
    if voters(node).contains(&id) {
        check_quorum_without(node, id).await?;
        return change(node, ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await;
    }
    change(node, ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await
}

/// Hands leadership to a voter.
pub async fn transfer(node: &Node, id: NodeId) -> Result<(), ApiError> {
    known_member(node, id)?;
    if !voters(node).contains(&id) {
        return Err(refused(format!("node {id} is a learner; promote it first")));
    }
    if id == node.config.id {
        return Ok(());
    }
    node.raft.trigger().transfer_leader(id).await.map_err(|fatal| ApiError::StorageFailed(fatal.to_string()))?;
    let until = Instant::now() + TRANSFER_DEADLINE;
    while Instant::now() < until {
        if node.leader().is_some_and(|leader| leader.id == id) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(ApiError::Unknown(format!("node {id} did not take over within {TRANSFER_DEADLINE:?}")))
}

/// Hands leadership to the voter that is furthest along, so that a planned stop costs writers no election.
pub async fn hand_over(node: &Node) {
    let metrics = node.raft.metrics().borrow_watched().clone();
    let Some(replication) = metrics.replication else { return };
    let candidates = voters(node);
    let best = replication
        .iter()
        .filter(|(id, _)| candidates.contains(id) && **id != node.config.id && reachable(node, **id))
        .max_by_key(|(_, matched)| matched.as_ref().map(|log_id| log_id.index));
    if let Some((id, _)) = best
        && let Err(error) = transfer(node, *id).await
    {
        tracing::info!(%error, "could not hand leadership over");
    }
}

async fn change(
    node: &Node,
    members: ChangeMembers<NodeId, raft_store::raft::Member>,
    retain: bool,
) -> Result<(), ApiError> {
    node.raft.change_membership(members, retain).await.map_err(change_failed)?;
    Ok(())
}

/// Only what Raft refused is definite; an entry it lost may still come to be (W5).
fn change_failed(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ApiError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ApiError::NoQuorum,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(refusal)) => refused(refusal.to_string()),
        other => ApiError::Unknown(format!("the change was proposed, and its outcome is not known: {other}")),
    }
}

/// Whether a change of voters stopped halfway; the next one completes it.
fn is_joint(node: &Node) -> bool {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.membership().get_joint_config().len() > 1
}

fn known_member(node: &Node, id: NodeId) -> Result<(), ApiError> {
    if node.members().contains_key(&id) {
        return Ok(());
    }
    Err(refused(format!("node {id} is no member; `raftshare-node members` lists them")))
}

/// The voters of the effective membership.
pub fn voters(node: &Node) -> BTreeSet<NodeId> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.voter_ids().collect()
}

fn lag(node: &Node, id: NodeId) -> Option<u64> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let matched = metrics.replication.as_ref()?.get(&id)?.as_ref()?.index;
    Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matched))
}

fn reachable(node: &Node, id: NodeId) -> bool {
    if id == node.config.id {
        return true;
    }
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let heard = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(&id)).and_then(|heard| *heard);
    heard.is_some_and(|heard| heard.elapsed() <= REACHABLE_WITHIN)
}

/// Asks every voter that would be left: what was heard a moment ago says nothing about now.
async fn check_quorum_without(node: &Node, id: NodeId) -> Result<(), ApiError> {
    let mut left = voters(node);
    left.remove(&id);
    if left.is_empty() {
        return Err(refused("the last voter cannot be taken away"));
    }
    let members = node.members();
    let asked = left.iter().map(async |voter| match members.get(voter) {
        _ if *voter == node.config.id => true,
        Some(member) => node.pool.call(*voter, member, &Request::Status, ASK_DEADLINE).await.is_ok(),
        None => false,
    });
    let healthy = join_all(asked).await.into_iter().filter(|answered| *answered).count();
    let needed = left.len() / 2 + 1;
    if healthy < needed {
        return Err(refused(format!(
            "of the {} voters that would be left only {healthy} answer, and {needed} are needed; bring them back first",
            left.len()
        )));
    }
    Ok(())
}
