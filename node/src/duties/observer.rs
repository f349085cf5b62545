//! Logs what happens to the cluster as this node sees it: leaders, the quorum, and members and peers that come, go,
//! fall silent and return.
//!
//! Invariant: nothing waits for the observer, because it follows what is published anyway: Raft's metrics and the
//! catalog's events. Each change is one line. The lines are a pure function of two views, checked against a table.
//!
//! Other events are logged where they happen: snapshots and slow syncs by the storage, the node's own start and end by
//! `start`.

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::catalog::Event;
use raft_store::types::{NodeId, PeerId};
use tokio::time::Instant;

use crate::node::Node;
use crate::sys::clock;

/// How often the view is compared with the previous one. Changes of Raft's own state are seen at once.
const SCAN_INTERVAL: Duration = Duration::from_millis(200);
/// Peers that are named one by one between two scans; of further ones only the number is logged.
const PEERS_NAMED_MAX: usize = 8;
/// Expired peers whose return is logged; that of further ones is not.
const EXPIRED_KEPT_MAX: usize = 10_000;

/// A member as the membership records it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemberView {
    address: String,
    voter: bool,
}

/// What this node knows at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct View {
    /// The confirmed leader and its term.
    leader: Option<(NodeId, u64)>,
    /// Whether this node leads, confirmed or not.
    leads: bool,
    members: BTreeMap<NodeId, MemberView>,
    /// Members that this leader has not heard from; empty on others.
    silent: BTreeSet<NodeId>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    LeaderFound { leader: NodeId, term: u64 },
    LeaderChanged { before: NodeId, leader: NodeId, term: u64 },
    LeaderLost { leader: NodeId, term: u64 },
    QuorumLost,
    QuorumBack,
    MemberAdded { id: NodeId, address: String, voter: bool },
    MemberRemoved { id: NodeId },
    Promoted { id: NodeId },
    Demoted { id: NodeId },
    AddressChanged { id: NodeId, before: String, address: String },
    MemberSilent { id: NodeId, address: String },
    MemberBack { id: NodeId },
}

impl View {
    /// What has changed since `before`.
    fn changes_since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.leadership(before, &mut changes);
        // The first membership that a node sees is not a change.
        if !before.members.is_empty() {
            self.membership(before, &mut changes);
        }
        for (id, member) in &self.members {
            match (before.silent.contains(id), self.silent.contains(id)) {
                (false, true) => changes.push(Change::MemberSilent { id: *id, address: member.address.clone() }),
                // A node that stops leading no longer knows.
                (true, false) if self.leads => changes.push(Change::MemberBack { id: *id }),
                _ => {}
            }
        }
        changes
    }

    fn leadership(&self, before: &Self, changes: &mut Vec<Change>) {
        // An isolated leader loses its quorum, not its leader.
        if self.leads && before.leads {
            match (before.leader, self.leader) {
                (Some(_), None) => changes.push(Change::QuorumLost),
                (None, Some(_)) => changes.push(Change::QuorumBack),
                _ => {}
            }
            return;
        }
        match (before.leader, self.leader) {
            (None, Some((leader, term))) => changes.push(Change::LeaderFound { leader, term }),
            (Some((leader, term)), None) => changes.push(Change::LeaderLost { leader, term }),
            (Some((before, old)), Some((leader, term))) if (before, old) != (leader, term) => {
                changes.push(Change::LeaderChanged { before, leader, term });
            }
            _ => {}
        }
    }

    fn membership(&self, before: &Self, changes: &mut Vec<Change>) {
        for (id, member) in &self.members {
            let MemberView { address, voter } = member.clone();
            let Some(known) = before.members.get(id) else {
                changes.push(Change::MemberAdded { id: *id, address, voter });
                continue;
            };
            match (known.voter, voter) {
                (false, true) => changes.push(Change::Promoted { id: *id }),
                (true, false) => changes.push(Change::Demoted { id: *id }),
                _ => {}
            }
            if known.address != address {
                changes.push(Change::AddressChanged { id: *id, before: known.address.clone(), address });
            }
        }
        let gone = before.members.keys().filter(|id| !self.members.contains_key(id));
        changes.extend(gone.map(|id| Change::MemberRemoved { id: *id }));
    }
}

impl Change {
    fn log(&self) {
        match self {
            Self::LeaderFound { leader, term } => tracing::info!(leader, term, "found the leader"),
            Self::LeaderChanged { before, leader, term } => tracing::info!(leader, term, before, "the leader changed"),
            Self::LeaderLost { leader, term } => {
                tracing::warn!(
                    leader,
                    term,
                    "lost the leader; reads are stale and writes are refused until there is one"
                );
            }
            Self::QuorumLost => tracing::warn!("lost the quorum: no majority answers this leader; writes are refused"),
            Self::QuorumBack => tracing::info!("the quorum is back"),
            Self::MemberAdded { id, address, voter } => {
                tracing::info!(member = id, address, voter, "a member was added")
            }
            Self::MemberRemoved { id } => tracing::info!(member = id, "a member was removed"),
            Self::Promoted { id } => tracing::info!(member = id, "a member became a voter"),
            Self::Demoted { id } => tracing::info!(member = id, "a member became a learner"),
            Self::AddressChanged { id, before, address } => {
                tracing::info!(member = id, before, address, "the address of a member changed");
            }
            Self::MemberSilent { id, address } => tracing::warn!(member = id, address, "a member does not answer"),
            Self::MemberBack { id } => tracing::info!(member = id, "a member answers again"),
        }
    }
}

/// Peers that fell silent or returned since the last scan.
#[derive(Debug, Default)]
struct PeerChanges {
    expired: Vec<PeerId>,
    returned: Vec<PeerId>,
    /// Those that are not named.
    expired_more: usize,
    returned_more: usize,
    /// Expired peers that have not returned.
    away: HashSet<PeerId>,
}

impl PeerChanges {
    fn take_in(&mut self, event: &Event) {
        match event {
            Event::PeerExpired { peer } => {
                if self.away.len() < EXPIRED_KEPT_MAX {
                    self.away.insert(peer.clone());
                }
                note(&mut self.expired, &mut self.expired_more, peer);
            }
            Event::PeerRegistered { peer, live: true, .. } if self.away.remove(peer) => {
                note(&mut self.returned, &mut self.returned_more, peer);
            }
            Event::PeerForgotten { peer } => {
                self.away.remove(peer);
            }
            _ => {}
        }
    }
}

fn note(named: &mut Vec<PeerId>, more: &mut usize, peer: &PeerId) {
    if named.len() < PEERS_NAMED_MAX { named.push(peer.clone()) } else { *more += 1 }
}

/// Collects what the catalog's events say, for the next scan.
#[derive(Debug, Default)]
pub struct Observer {
    peers: Mutex<PeerChanges>,
}

impl Observer {
    /// Takes in the events of an applied entry.
    pub fn observe(&self, events: &[Event]) {
        let concerns = |event: &Event| {
            matches!(event, Event::PeerExpired { .. } | Event::PeerRegistered { .. } | Event::PeerForgotten { .. })
        };
        // Hardly any entry has such events, and without them nothing is locked.
        if events.iter().any(concerns) {
            let mut peers = self.peers.lock();
            events.iter().for_each(|event| peers.take_in(event));
        }
    }

    fn log_peers(&self) {
        let (expired, expired_more, returned, returned_more) = {
            let mut peers = self.peers.lock();
            (
                std::mem::take(&mut peers.expired),
                std::mem::take(&mut peers.expired_more),
                std::mem::take(&mut peers.returned),
                std::mem::take(&mut peers.returned_more),
            )
        };
        for peer in expired {
            tracing::info!(%peer, "a peer fell silent; its copies do not count any more");
        }
        if expired_more > 0 {
            tracing::info!(peers = expired_more, "further peers fell silent");
        }
        for peer in returned {
            tracing::info!(%peer, "a peer is back");
        }
        if returned_more > 0 {
            tracing::info!(peers = returned_more, "further peers are back");
        }
    }
}

/// Watches the cluster until the process ends.
pub async fn run(node: Arc<Node>, observer: Arc<Observer>) {
    let mut role = node.raft.server_metrics();
    let mut interval = tokio::time::interval(SCAN_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before = View::default();
    let mut leading_since = None;
    loop {
        tokio::select! {
            changed = role.changed() => if changed.is_err() {
                // Raft has stopped; the task that notices ends the process.
                return std::future::pending().await;
            },
            _ = interval.tick() => {}
        }
        let now = view(&node, &mut leading_since);
        now.changes_since(&before).iter().for_each(Change::log);
        observer.log_peers();
        before = now;
    }
}

fn view(node: &Node, leading_since: &mut Option<Instant>) -> View {
    let leader = node.confirmed_leader().map(|leader| (leader.id, leader.term));
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state == openraft::ServerState::Leader;
    let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
    let members: BTreeMap<_, _> = metrics
        .membership_config
        .nodes()
        .map(|(id, member)| (*id, MemberView { address: member.address.clone(), voter: voters.contains(id) }))
        .collect();
    match leads {
        true => *leading_since = leading_since.or_else(|| Some(clock::now())),
        false => *leading_since = None,
    }
    let patience = node.config.leader_word_max();
    let leads_for_long = leading_since.is_some_and(|since| since.elapsed() > patience);
    let heard = |id: &NodeId| metrics.heartbeat.as_ref().and_then(|heard| heard.get(id)).and_then(|heard| *heard);
    let is_silent = |id: &NodeId| match heard(id) {
        _ if *id == metrics.id => false,
        Some(heard) => heard.elapsed() > patience,
        None => true,
    };
    let silent = match leads_for_long {
        true => members.keys().filter(|id| is_silent(id)).copied().collect(),
        false => BTreeSet::new(),
    };
    View { leader, leads, members, silent }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(voter: bool) -> MemberView {
        MemberView { address: "h:1".into(), voter }
    }

    fn three() -> View {
        let members = (1..=3).map(|id| (id, member(true))).collect();
        View { leader: Some((1, 4)), leads: false, members, silent: BTreeSet::new() }
    }

    #[test]
    fn each_change_of_leader_and_quorum_is_one_line() {
        let none = View { leader: None, ..three() };
        let leading = View { leads: true, ..three() };
        let isolated = View { leader: None, ..leading.clone() };
        let other = View { leader: Some((2, 5)), ..three() };
        for (before, now, expected) in [
            (three(), three(), vec![]),
            (View::default(), three(), vec![Change::LeaderFound { leader: 1, term: 4 }]),
            (three(), none.clone(), vec![Change::LeaderLost { leader: 1, term: 4 }]),
            (three(), other.clone(), vec![Change::LeaderChanged { before: 1, leader: 2, term: 5 }]),
            (leading.clone(), isolated.clone(), vec![Change::QuorumLost]),
            (isolated.clone(), leading.clone(), vec![Change::QuorumBack]),
            (isolated, other, vec![Change::LeaderFound { leader: 2, term: 5 }]),
            (none, leading, vec![Change::LeaderFound { leader: 1, term: 4 }]),
        ] {
            assert_eq!(now.changes_since(&before), expected, "{before:?} -> {now:?}");
        }
    }

    #[test]
    fn each_change_of_members_is_one_line() {
        let mut now = three();
        now.members.remove(&1);
        now.members.insert(2, member(false));
        now.members.insert(3, MemberView { address: "h:9".into(), voter: true });
        now.members.insert(4, member(false));
        let expected = [
            Change::Demoted { id: 2 },
            Change::AddressChanged { id: 3, before: "h:1".into(), address: "h:9".into() },
            Change::MemberAdded { id: 4, address: "h:1".into(), voter: false },
            Change::MemberRemoved { id: 1 },
        ];
        assert_eq!(now.changes_since(&three()), expected);
        let mut promoted = now.clone();
        promoted.members.insert(4, member(true));
        assert_eq!(promoted.changes_since(&now), [Change::Promoted { id: 4 }]);
    }

    #[test]
    fn a_leader_tells_who_is_silent_and_who_is_back() {
        let well = View { leads: true, ..three() };
        let ill = View { silent: [3].into(), ..well.clone() };
        assert_eq!(ill.changes_since(&well), [Change::MemberSilent { id: 3, address: "h:1".into() }]);
        assert_eq!(well.changes_since(&ill), [Change::MemberBack { id: 3 }]);
        assert_eq!(three().changes_since(&ill), [], "a follower does not know");
    }

    #[test]
    fn many_peers_are_a_few_lines_and_only_the_expired_return() {
        let mut peers = PeerChanges::default();
        let peer = |number: usize| PeerId::parse(format!("p{number}")).expect("a valid id");
        let back = |number| Event::PeerRegistered { peer: peer(number), incarnation: 2, live: true };
        peers.take_in(&back(0));
        assert!(peers.returned.is_empty(), "it was not away");
        (0..20).for_each(|number| peers.take_in(&Event::PeerExpired { peer: peer(number) }));
        assert_eq!((peers.expired.len(), peers.expired_more), (PEERS_NAMED_MAX, 20 - PEERS_NAMED_MAX));
        peers.take_in(&back(3));
        peers.take_in(&back(3));
        assert_eq!(peers.returned, [peer(3)]);
    }
}
