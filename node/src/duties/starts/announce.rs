//! Announces this node's start to the members until each of them has recorded it. A node whose log has no membership
//! yet asks others who the members are.
//!
//! Invariant: the condition `Starting` ends only after a majority of every set of voters in force, this
//! node included, has recorded the start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use raft_store::raft::{LogId, Member};
use raft_store::types::NodeId;
use tokio::time::{sleep, timeout};

use super::{is_majority, set_condition, taking_part};
use crate::condition::Condition;
use crate::duties::standing;
use crate::identities::Told;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{CallError, Notice, Request, Response, Roster, Seen, Verdict};

/// How long a member may take: it probes for the process before this one, and writes to its disk.
const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(2);
/// Pause before a member that did not answer is asked again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause of a node that cannot take part yet.
const PAUSE_MAX: Duration = Duration::from_millis(160);
/// Longest pause of a node that takes part already. Members that were down record its start when they are back.
const PAUSE_TAKING_PART_MAX: Duration = Duration::from_secs(1);
/// How often new members are looked for.
const RESCAN: Duration = Duration::from_millis(500);
/// How often they are looked for before a majority has recorded this start.
const RESCAN_FIRST: Duration = Duration::from_millis(50);
/// How often the wait for a majority is logged.
const TELL_PAUSE: Duration = Duration::from_secs(3);

/// Why this process must not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// Another process runs with a copy of the data directory (C5).
    #[error(
        "another process with a copy of the data directory {data} runs at {address}, and it was there first; stop one of the \
         two. To run a node of its own here, start it with an empty --data and a new --id"
    )]
    InUse {
        /// Where the other one answered.
        address: String,
        /// The data directory of this one.
        data: String,
    },
}

/// Announces this start to all members, new ones included, for as long as the node runs.
pub async fn run(node: Arc<Node>) -> Result<(), StartError> {
    let mut announcing = Announcing::default();
    let mut waiting = FuturesUnordered::new();
    let mut told_at = clock::now();
    loop {
        if matches!(node.condition.get(), Condition::OlderCopy { .. }) {
            return Ok(());
        }
        let roster = announcing.roster(&node).await;
        for (id, member) in announcing.due(&node, &roster.nodes) {
            let (node, pause) = (node.clone(), announcing.pause(id, takes_part(&node)));
            waiting.push(async move {
                sleep(pause).await;
                let outcome = announce(&node, id, &member).await;
                (id, member, outcome)
            });
        }
        let rescan = if node.identities.starts.read(|starts| starts.confirmed) { RESCAN } else { RESCAN_FIRST };
        if let Ok(Some((id, member, outcome))) = timeout(rescan, next(&mut waiting)).await {
            announcing.under_way.remove(&id);
            match outcome {
                Ok(Verdict::Recorded(seen)) => {
                    announcing.recorded.insert(id, member.store_id);
                    announcing.pauses.remove(&id);
                    learn(&node, seen).await;
                    confirm(&node, &announcing, &roster).await;
                }
                Ok(Verdict::OlderCopy(reason)) => {
                    node.identities.tell(Told::OlderCopy(reason));
                    return Ok(());
                }
                Ok(Verdict::InUse(address)) => {
                    return Err(StartError::InUse { address, data: node.config.data.display().to_string() });
                }
                Err(error) => announcing.last_error = Some(error.to_string()),
            }
        }
        if is_starting(&node) && told_at.elapsed() > TELL_PAUSE {
            told_at = clock::now();
            tell_wait(&node, &announcing, &roster);
        }
    }
}

/// The next outcome; waits for ever while nothing is under way.
async fn next<F: Future>(waiting: &mut FuturesUnordered<F>) -> Option<F::Output> {
    match waiting.is_empty() {
        true => std::future::pending().await,
        false => waiting.next().await,
    }
}

fn is_starting(node: &Node) -> bool {
    matches!(node.condition.get(), Condition::Starting { .. })
}

fn takes_part(node: &Node) -> bool {
    node.condition.get() == Condition::Serving
}

/// How far the announcing has come.
#[derive(Default)]
struct Announcing {
    /// Members that have recorded this start, with the directory that they had.
    recorded: BTreeMap<NodeId, u64>,
    under_way: BTreeSet<NodeId>,
    pauses: BTreeMap<NodeId, Duration>,
    last_error: Option<String>,
    /// Who the members are, in the words of one of them, and whether it was a confirmed leader.
    told: Option<(Roster, bool)>,
}

impl Announcing {
    /// The members, as this node's log has them. A node that lost power before the first entry was on its disk may have
    /// voted already, and has to ask who they are.
    async fn roster(&mut self, node: &Node) -> Roster {
        let recorded = standing::recorded(node);
        if !recorded.nodes.is_empty() || !is_starting(node) {
            return recorded;
        }
        if self.told.as_ref().is_none_or(|(_, confirmed)| !confirmed) {
            // If no confirmed leader answers, the newest membership counts.
            let newest = parking_lot::Mutex::new((None, None));
            let confirmed = standing::ask_around(node, node.identities.side(), |standing| {
                let mut newest = newest.lock();
                if standing.roster.is_some() && newest.0 <= standing.as_of {
                    *newest = (standing.as_of, standing.roster.clone());
                }
                standing.confirmed
            });
            let confirmed = confirmed.await;
            if confirmed.as_ref().is_some_and(|standing| !standing.member) {
                node.identities.tell(Told::NotMember);
                return recorded;
            }
            let roster = newest.into_inner().1;
            self.told = roster.map(|roster| (roster, confirmed.is_some())).or(self.told.take());
        }
        self.told.as_ref().map_or(recorded, |(roster, _)| roster.clone())
    }

    /// Members to announce to now; from here on their announcements count as in flight.
    fn due(&mut self, node: &Node, members: &BTreeMap<NodeId, Member>) -> Vec<(NodeId, Member)> {
        let own = node.identities.side();
        let is_member = members.get(&own.node).is_some_and(|member| member.store_id == own.store);
        let removed = matches!(node.condition.get(), Condition::Removed { .. });
        if (!is_member || removed) && !members.is_empty() {
            // By its own log this node was removed, or another directory took its place. It may have been readmitted
            // since.
            node.identities.tell(Told::NotMember);
        }
        if removed {
            return Vec::new();
        }
        let others = members.iter().filter(|(id, member)| {
            **id != own.node && self.recorded.get(id) != Some(&member.store_id) && !self.under_way.contains(id)
        });
        let due: Vec<_> = others.map(|(id, member)| (*id, member.clone())).collect();
        self.under_way.extend(due.iter().map(|(id, _)| *id));
        due
    }

    /// The pause before a member is told; zero at first.
    fn pause(&mut self, id: NodeId, takes_part: bool) -> Duration {
        let longest = if takes_part { PAUSE_TAKING_PART_MAX } else { PAUSE_MAX };
        let next = self.pauses.get(&id).map_or(PAUSE_MIN, |pause| (*pause * 2).min(longest));
        self.pauses.insert(id, next).map_or(Duration::ZERO, |pause| pause.min(longest))
    }
}

async fn announce(node: &Node, id: NodeId, member: &Member) -> Result<Verdict, CallError> {
    let notice = Notice {
        side: node.identities.side(),
        start: node.identities.start(),
        boot: node.boot,
        last_log: last_log(node).await,
        address: node.address.clone(),
    };
    match node.pool.call(id, member, &Request::Start(notice), ANNOUNCE_DEADLINE).await? {
        Response::Start(verdict) => Ok(verdict),
        other => Err(CallError::Failed { node: id, reason: format!("unexpected answer {other:?}") }),
    }
}

/// Where this node's log ends. Asked on a task of its own, see `Node::is_initialized`.
async fn last_log(node: &Node) -> Option<LogId> {
    let raft = node.raft.clone();
    let asked = tokio::spawn(async move {
        raft.with_raft_state(|state| state.log_ids.last().map(|last| LogId::new(last.leader_id, last.index))).await
    });
    asked.await.ok()?.ok()?
}

/// Notes newer starts of other members, which the member that answered knows.
async fn learn(node: &Node, seen: Vec<Seen>) {
    let starts = &node.identities.starts;
    let own = node.identities.side().store;
    let newer: Vec<_> = starts.read(|starts| {
        let is_newer = |seen: &Seen| {
            let known = starts.store(seen.store).and_then(|known| known.start);
            seen.store != own && known.is_none_or(|known| known.number < seen.start.number)
        };
        seen.into_iter().filter(is_newer).collect()
    });
    if newer.is_empty() {
        return;
    }
    let noted = starts.note(|starts| {
        for Seen { store, start, boot, address } in newer {
            starts.record(store, start, boot, &address);
        }
    });
    if let Err(error) = noted.await {
        tracing::debug!(%error, "could not note what another member knows");
    }
}

/// Takes part once a majority has recorded the start.
async fn confirm(node: &Node, announcing: &Announcing, roster: &Roster) {
    let knows = |(id, store): (&NodeId, &u64)| {
        roster.nodes.get(id).is_some_and(|member| member.store_id == *store).then_some(*id)
    };
    let mut recorded: BTreeSet<_> = announcing.recorded.iter().filter_map(knows).collect();
    recorded.insert(node.config.id);
    if node.identities.starts.read(|starts| starts.confirmed) || !is_majority(&roster.voters, &recorded) {
        return;
    }
    if let Err(error) = node.identities.starts.update(|starts| starts.confirmed = true).await {
        tracing::debug!(%error, "could not note that a majority has recorded this start");
        return;
    }
    if is_starting(node) {
        set_condition(node, taking_part(node));
        tracing::info!(number = node.identities.start().number, "a majority has recorded this start; taking part");
    }
}

fn tell_wait(node: &Node, announcing: &Announcing, roster: &Roster) {
    let voters: BTreeSet<_> = roster.voters.iter().flatten().collect();
    let silent: Vec<_> = roster
        .nodes
        .iter()
        .filter(|(id, _)| voters.contains(id) && **id != node.config.id && !announcing.recorded.contains_key(id))
        .map(|(id, member)| format!("{id}={}", node.identities.addresses_of(*id, member).join(" or ")))
        .collect();
    tracing::warn!(
        members = silent.join(", "),
        last_error = announcing.last_error.as_deref().unwrap_or("none"),
        "waiting until a majority of the voters answers; if they have moved, say where they are: start with \
         --members ID=HOST:PORT,… and the same --bootstrap-expect as before"
    );
}
