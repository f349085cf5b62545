//! Membership changes, one safe step at a time (C2), all on the leader.
//!
//! ```text
//! checks.rs    who answers now, and whether the cluster can commit the change with them (C6)
//! transfer.rs  handing leadership over
//! finish.rs    completing a change of voters whose leader was lost halfway
//! ```
//!
//! Invariants
//! * A change is proposed only if the voters that answer now are a majority before and after it, and only against the
//!   membership that was checked.
//! * A change that was not given to Raft by the caller's deadline is refused. One that was given and is not done by
//!   then is `unknown` (W6).

mod checks;
mod finish;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Precondition;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use raft_store::raft::{Member, TypeConfig};
use raft_store::types::NodeId;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

use self::checks::{CAUGHT_UP_ENTRIES, Members, lag};
pub use self::finish::run as finish_changes;
pub use self::transfer::{hand_over, transfer};
use crate::duties::bootstrap::{self, BootstrapError};
use crate::node::Node;
use crate::sys::clock;

/// Pause between two checks of a learner that is catching up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);

/// Why a change of members, or a transfer, was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// It would be unsafe or impossible; nothing was done (C2).
    #[error("{0}")]
    Refused(String),
    /// The node to be added could not adopt this cluster; nothing was done.
    #[error(transparent)]
    Join(#[from] BootstrapError),
    /// This node belongs to no cluster yet.
    #[error("this node belongs to no cluster yet")]
    NotInitialized,
    /// This node does not lead any more, or the time ran out before anything was done.
    #[error("no leader is confirmed by a majority of the voters")]
    NoQuorum,
    /// It was given to Raft, and may or may not be done (W6).
    #[error("{0}")]
    Unknown(String),
    /// Raft stopped with the node's disk (W4).
    #[error("this node's storage failed: {0}")]
    Storage(String),
}

fn refused(reason: impl Into<String>) -> ChangeError {
    ChangeError::Refused(reason.into())
}

/// Waits for this caller's turn to change members, `until` at the latest.
async fn turn(node: &Node, until: Instant) -> Result<SemaphorePermit<'_>, ChangeError> {
    match timeout_at(until, node.changes.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(refused("another change of members is under way; try again once it is done")),
    }
}

/// Adds a node as a learner, or changes a member's address.
pub async fn add_learner(node: &Node, id: NodeId, address: &str, until: Instant) -> Result<(), ChangeError> {
    let _turn = turn(node, until).await?;
    let cluster = node.identities.cluster().ok_or(ChangeError::NotInitialized)?;
    let members = checks::settled(node, until).await?;
    let ability = checks::ability(node, &members, &members.voters, until).await;
    // Before the new node is told anything: a cluster that cannot add it must not have it adopt the cluster.
    checks::check_commit(&members.voters, &members.voters, &ability)?;
    let member = timeout_at(until, bootstrap::as_member(&*node.net, id, address, cluster))
        .await
        .map_err(|_| refused(format!("node {id} at {address} did not answer in time; is it running?")))??;
    match members.nodes.get(&id) {
        Some(known) if *known == member => Ok(()),
        Some(known) if known.store_id == member.store_id => {
            change(node, &members, ChangeMembers::SetNodes(BTreeMap::from([(id, member)])), true, until).await
        }
        Some(_) => Err(refused(format!(
            "node {id} is a member with another data directory; remove it first, or give the new node a new id"
        ))),
        None => change(node, &members, ChangeMembers::AddNodes(BTreeMap::from([(id, member)])), true, until).await,
    }
}

/// Makes a learner a voter; waits up to `catch_up` for it to catch up.
pub async fn promote(node: &Node, id: NodeId, catch_up: Duration, until: Instant) -> Result<(), ChangeError> {
    known_member(&checks::settled(node, until).await?, id)?;
    let patience = until.min(clock::now() + catch_up);
    // Without holding the turn: catching up may take long, and other changes need not wait for it.
    while clock::now() < patience && lag(node, id).is_none_or(|lag| lag > CAUGHT_UP_ENTRIES) {
        if !node.leads() {
            return Err(ChangeError::NoQuorum);
        }
        tokio::time::sleep(CATCH_UP_PAUSE).await;
    }
    let _turn = turn(node, until).await?;
    let members = checks::settled(node, until).await?;
    known_member(&members, id)?;
    if members.voters.contains(&id) {
        return Ok(());
    }
    let mut new = members.voters.clone();
    new.insert(id);
    let ability = checks::ability(node, &members, &new, until).await;
    if let Some(Err(why)) = ability.get(&id) {
        return Err(refused(format!("node {id} {why}; as a voter it could stop writes")));
    }
    checks::check_commit(&members.voters, &new, &ability)?;
    change(node, &members, ChangeMembers::AddVoterIds(BTreeSet::from([id])), true, until).await
}

/// Makes a voter a learner.
pub async fn demote(node: &Node, id: NodeId, until: Instant) -> Result<(), ChangeError> {
    take_out(node, id, true, until).await
}

/// Removes a member.
pub async fn remove(node: &Node, id: NodeId, until: Instant) -> Result<(), ChangeError> {
    take_out(node, id, false, until).await
}

async fn take_out(node: &Node, id: NodeId, stays_learner: bool, until: Instant) -> Result<(), ChangeError> {
    let _turn = turn(node, until).await?;
    let members = checks::settled(node, until).await?;
    known_member(&members, id)?;
    let is_voter = members.voters.contains(&id);
    if stays_learner && !is_voter {
        return Ok(());
    }
    let mut new = members.voters.clone();
    new.remove(&id);
    let ability = checks::ability(node, &members, &members.voters, until).await;
    checks::check_commit(&members.voters, &new, &ability)?;
    let wanted = BTreeSet::from([id]);
    let changes = if is_voter { ChangeMembers::RemoveVoters(wanted) } else { ChangeMembers::RemoveNodes(wanted) };
    change(node, &members, changes, stays_learner, until).await
}

/// Gives a change to Raft and waits for it, `until` at the latest. A task of its own goes on when the caller's time is
/// over: a change of voters is two entries, and whoever waits for the first proposes the second.
async fn change(
    node: &Node,
    checked: &Members,
    changes: ChangeMembers<NodeId, Member>,
    retain: bool,
    until: Instant,
) -> Result<(), ChangeError> {
    // Asking took a while, and this process may have been paused meanwhile.
    if !node.leads() || clock::now() >= until {
        return Err(ChangeError::NoQuorum);
    }
    let as_checked = Precondition::LastMembershipLogId { last_membership_log_id: checked.log_id };
    let raft = node.raft.clone();
    let mut done = tokio::spawn(async move { raft.change_membership_if(changes, retain, vec![as_checked]).await });
    match timeout_at(until, &mut done).await {
        Ok(Ok(outcome)) => outcome.map(|_| ()).map_err(change_failed),
        Ok(Err(ended)) => Err(ChangeError::Unknown(format!("the change was proposed, and its task ended: {ended}"))),
        Err(_) => Err(ChangeError::Unknown(
            "the change was proposed, and no majority confirmed it in time; this leader or the next one completes it, or it is \
             void: look at `raftshare-node members` before repeating it"
                .into(),
        )),
    }
}

/// Only a refusal by Raft is definite. An entry that it lost sight of may still be committed (W5).
fn change_failed(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NoQuorum,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(refusal)) => refused(in_words(&refusal)),
        RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => {
            refused("the members changed while this change was checked; look at them and try again")
        }
        // The entry was in this log, and another leader's log does not have it.
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
            ChangeError::Unknown("another leader took over before the change was committed".into())
        }
        RaftError::Fatal(fatal) => {
            tracing::warn!(%fatal, "a change of members was interrupted");
            ChangeError::Unknown("the change was proposed, and the node stopped before it was done".into())
        }
    }
}

/// Raft's refusals in plain words; its own name log ids and types.
fn in_words(refusal: &ChangeRefusal) -> String {
    match refusal {
        ChangeMembershipError::InProgress(_) => {
            "an earlier change of members is not committed yet; try again in a moment, and if that does not help look at \
             `raftshare-node status`: a majority of the voters must answer"
                .into()
        }
        ChangeMembershipError::EmptyMembership(_) => {
            "the last voter cannot be taken away; a cluster needs at least one".into()
        }
        ChangeMembershipError::LearnerNotFound(missing) => {
            format!("node {} is no member; add it as a learner first", missing.node_id)
        }
        ChangeMembershipError::UncommittedLeaderLog(_) => {
            "this leader was elected a moment ago and has committed nothing yet; try again".into()
        }
        ChangeMembershipError::UnsupportedMembershipTransition(_) | ChangeMembershipError::NodeMetadataChanged(_) => {
            "the members cannot change in this way in one step; look at them with `raftshare-node members`".into()
        }
    }
}

type ChangeRefusal = ChangeMembershipError<openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>, NodeId>;

fn known_member(members: &Members, id: NodeId) -> Result<(), ChangeError> {
    if members.nodes.contains_key(&id) {
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
