//! What has to hold before members change (C2, C6): the target answers now and has caught up, and so does a majority of
//! the voters both before and after the change.
//!
//! Invariant: earlier answers do not count; every member that a change needs is asked when the change is requested.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use raft_store::raft::{LogId, Member};
use raft_store::types::NodeId;
use tokio::time::Instant;

use super::{ChangeError, refused};
use crate::condition::Condition;
use crate::deadline::left;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{Request, Response};

/// A member this many entries behind, or fewer, counts as caught up.
pub(super) const CAUGHT_UP_ENTRIES: u64 = 250;
/// How long a member may take to answer before a change that needs it.
pub(super) const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// How long a change waits for an earlier one to be completed, and a new leader to hear how far the others are.
const SETTLE_DEADLINE: Duration = Duration::from_millis(1_000);
/// Pause between two checks of something that settles by itself.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// The membership that a change starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members {
    /// Where it is in the log.
    pub log_id: Option<LogId>,
    /// All members.
    pub nodes: BTreeMap<NodeId, Member>,
    /// The voters.
    pub voters: BTreeSet<NodeId>,
}

/// Why a member cannot help to commit a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unable {
    /// It did not answer.
    Silent,
    /// It answered that it does not take part.
    Unfit(&'static str),
    /// It is this many entries behind; unknown if it never acknowledged one.
    Behind(Option<u64>),
}

impl std::fmt::Display for Unable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => write!(f, "does not answer"),
            Self::Unfit(condition) => write!(f, "answers that it is {condition}"),
            Self::Behind(Some(entries)) => write!(f, "is {entries} log entries behind"),
            Self::Behind(None) => write!(f, "has not acknowledged any log entry yet"),
        }
    }
}

/// Whether each asked member can help now.
pub(super) type Ability = BTreeMap<NodeId, Result<(), Unable>>;

/// The members, once no change of voters is only half done.
pub(super) async fn settled(node: &Node, until: Instant) -> Result<Members, ChangeError> {
    let patience = until.min(clock::now() + SETTLE_DEADLINE);
    loop {
        let halfway = {
            let metrics = node.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = &metrics.membership_config;
            let configs = membership.get_joint_config();
            if let [voters] = &configs[..] {
                return Ok(Members {
                    log_id: *membership.log_id(),
                    nodes: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
                    voters: voters.clone(),
                });
            }
            configs.iter().map(list).collect::<Vec<_>>().join(" to ")
        };
        if halfway.is_empty() {
            return Err(ChangeError::NotInitialized);
        }
        if clock::now() >= patience {
            return Err(refused(format!(
                "an earlier change of the voters, from {halfway}, is not completed yet; the leader completes it as soon as a \
                 majority of both answers: `raftshare-node status` shows who does not"
            )));
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Asks the named members how they are, all at once. Right after an election the leader does not know yet how far they
/// are, so this waits a moment for it.
pub(super) async fn ability(node: &Node, members: &Members, ids: &BTreeSet<NodeId>, until: Instant) -> Ability {
    let patience = until.min(clock::now() + SETTLE_DEADLINE);
    let within = ASK_DEADLINE.min(left(until));
    let asked = ids.iter().map(async |id| {
        let able = match members.nodes.get(id) {
            _ if *id == node.config.id => Ok(()),
            None => Err(Unable::Silent),
            Some(member) => match node.pool.call(*id, member, &Request::Status, within).await {
                Ok(Response::Status(status)) => fit(&status.condition),
                _ => Err(Unable::Silent),
            },
        };
        match able {
            Ok(()) => (*id, progress(node, *id, patience).await),
            unable => (*id, unable),
        }
    });
    join_all(asked).await.into_iter().collect()
}

/// Whether a member in this condition acknowledges log entries.
fn fit(condition: &Condition) -> Result<(), Unable> {
    match condition {
        // One whose state differs goes on storing and acknowledging its log (N3).
        Condition::Serving | Condition::Diverged { .. } => Ok(()),
        Condition::Starting { .. } | Condition::OlderCopy { .. } | Condition::Removed { .. } => {
            Err(Unable::Unfit(condition.name()))
        }
    }
}

/// Whether a member could lead: it answers now, and nothing keeps it from standing for election.
pub(super) async fn could_lead(node: &Node, id: NodeId, member: &Member, until: Instant) -> Result<(), Unable> {
    let within = ASK_DEADLINE.min(left(until));
    match node.pool.call(id, member, &Request::Status, within).await {
        Ok(Response::Status(status)) if status.condition.is_healthy() => Ok(()),
        Ok(Response::Status(status)) => Err(Unable::Unfit(status.condition.name())),
        _ => Err(Unable::Silent),
    }
}

async fn progress(node: &Node, id: NodeId, patience: Instant) -> Result<(), Unable> {
    loop {
        match lag(node, id) {
            Some(entries) if entries <= CAUGHT_UP_ENTRIES => return Ok(()),
            Some(entries) => return Err(Unable::Behind(Some(entries))),
            None if clock::now() >= patience => return Err(Unable::Behind(None)),
            None => tokio::time::sleep(SETTLE_PAUSE).await,
        }
    }
}

/// How many entries a member is behind this leader; `None` while it has acknowledged none.
pub(super) fn lag(node: &Node, id: NodeId) -> Option<u64> {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    if id == node.config.id {
        return Some(0);
    }
    let matched = metrics.replication.as_ref()?.get(&id)?.as_ref()?.index;
    Some(last.saturating_sub(matched))
}

/// Whether a change from one set of voters to another can be committed by those that are able to (C6).
pub(super) fn check_commit(
    old: &BTreeSet<NodeId>,
    new: &BTreeSet<NodeId>,
    ability: &Ability,
) -> Result<(), ChangeError> {
    if new.is_empty() {
        return Err(refused("the last voter cannot be taken away; a cluster needs at least one"));
    }
    let (now, after) = if old == new { ("", "") } else { ("now are ", "would then be ") };
    for (voters, when) in [(old, now), (new, after)] {
        let unable: Vec<_> = voters
            .iter()
            .filter_map(|id| match ability.get(id) {
                Some(Ok(())) => None,
                Some(Err(why)) => Some(format!("node {id} {why}")),
                None => Some(format!("node {id} was not asked")),
            })
            .collect();
        let needed = voters.len() / 2 + 1;
        let able = voters.len() - unable.len();
        if able < needed {
            return Err(refused(format!(
                "the cluster could not commit it: of the voters, which {when}{}, {needed} are needed and {able} can: {}; bring \
                 them back first",
                list(voters),
                unable.join(", "),
            )));
        }
    }
    Ok(())
}

/// Node ids, for messages.
pub(super) fn list(ids: &BTreeSet<NodeId>) -> String {
    match ids.len() {
        0 => "none".to_owned(),
        _ => ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        ids.into_iter().collect()
    }

    fn majority(voters: &BTreeSet<NodeId>, able: &BTreeSet<NodeId>) -> bool {
        voters.intersection(able).count() > voters.len() / 2
    }

    /// C6 for every cluster of up to five voters, every set of dead members and every change by one voter. A change
    /// that is allowed can be committed, and leaves a cluster that can commit the next entry.
    #[test]
    fn no_single_change_takes_the_quorum() {
        let (mut allowed, mut refusals) = (0, 0);
        for size in 1..=5u64 {
            let old = ids(1..=size);
            for dead_bits in 0..1u64 << (size + 1) {
                let able = ids((1..=size + 1).filter(|id| dead_bits & (1 << (id - 1)) == 0));
                let ability: Ability = (1..=size + 1)
                    .map(|id| (id, if able.contains(&id) { Ok(()) } else { Err(Unable::Silent) }))
                    .collect();
                let mut targets = vec![old.clone(), ids(1..=size + 1)];
                targets.extend(old.iter().map(|id| old.iter().copied().filter(|other| other != id).collect()));
                for new in targets {
                    let can = majority(&old, &able) && majority(&new, &able);
                    let outcome = check_commit(&old, &new, &ability);
                    assert_eq!(outcome.is_ok(), can, "{old:?} to {new:?} with {able:?} alive: {outcome:?}");
                    if can { allowed += 1 } else { refusals += 1 }
                }
            }
        }
        assert!(allowed > 50 && refusals > 50, "both happen: {allowed}, {refusals}");
    }

    #[test]
    fn a_refusal_names_who_is_missing_and_why() {
        let ability: Ability = [
            (1, Ok(())),
            (2, Err(Unable::Silent)),
            (3, Err(Unable::Behind(Some(900)))),
            (4, Err(Unable::Unfit("starting"))),
        ]
        .into();
        let error = check_commit(&ids([1, 2, 3]), &ids([1, 2, 3, 4]), &ability).expect_err("one of three");
        let text = error.to_string();
        for part in ["node 2 does not answer", "node 3 is 900 log entries behind", "2 are needed and 1 can"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            check_commit(&ids([1]), &ids([]), &ability).is_err_and(|error| error.to_string().contains("last voter"))
        );
    }

    #[test]
    fn who_does_not_take_part_does_not_count() {
        assert!(fit(&Condition::Serving).is_ok() && fit(&Condition::Diverged { at: 1 }).is_ok());
        assert!(
            fit(&Condition::Starting { wrong_at: None }).is_err() && fit(&Condition::Removed { as_of: 1 }).is_err()
        );
    }
}
