//! The live peers as places to put copies: slots, room, zones, and who is preferred (M2).
//!
//! Invariants:
//! * A peer is in `zones` exactly while it is live and has a free slot, ordered by its free room and load.
//! * Choosing a peer visits the best peers of each zone, not all peers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use raft_store::catalog::PeerView;
use raft_store::types::{FileName, PeerId};

use super::QueueKey;
use super::tasks::TaskNo;

/// Tasks that a peer has at a time.
pub const TASKS_PER_PEER_MAX: usize = 4;
/// Of these, at most so many updates and removals: a peer that returns with many stale files still takes new copies.
pub const UPKEEP_PER_PEER_MAX: usize = 3;
/// How often a peer with more room than before is offered again the files that found no peer, in milliseconds.
pub const ROOM_RETRY_MS: u64 = 30_000;

/// Order of preference: most room, then fewest tasks, then the id.
type Rank = (Reverse<u64>, usize, PeerId);

/// The peers of one zone that have a free slot.
#[derive(Debug, Default)]
struct Zone {
    /// Those that stated their room.
    known: BTreeSet<Rank>,
    /// Those that did not; they come after all others, and are not ruled out for lack of room.
    unknown: BTreeSet<Rank>,
}

impl Zone {
    fn ranks(&mut self, room_is_known: bool) -> &mut BTreeSet<Rank> {
        if room_is_known { &mut self.known } else { &mut self.unknown }
    }

    /// The best admitted peer, and whether its room is unknown.
    fn best(&self, needed: u64, admits: impl Fn(&PeerId) -> bool) -> Option<(bool, &Rank)> {
        let with_room = self.known.iter().take_while(|(Reverse(room), ..)| *room >= needed);
        let known = with_room.map(|rank| (false, rank)).find(|(_, rank)| admits(&rank.2));
        known.or_else(|| self.unknown.iter().map(|rank| (true, rank)).find(|(_, rank)| admits(&rank.2)))
    }
}

/// One live peer.
#[derive(Debug, Default)]
pub(super) struct PeerState {
    zone: Option<String>,
    capacity_bytes: Option<u64>,
    free_bytes: Option<u64>,
    /// Bytes that the replications under way will take.
    reserved_bytes: u64,
    /// Tasks under way, in the order given.
    pub(super) given: BTreeSet<TaskNo>,
    /// How many of them are updates and removals.
    upkeep: usize,
    /// Files with an update or removal that waits for a slot, most endangered first. May name some that no longer do.
    pub(super) queue: BTreeSet<QueueKey>,
    /// Its rank in `Peers::zones`.
    rank: Option<(bool, Rank)>,
    /// How far it has gone through the files that wait for a peer.
    pub(super) cursor: Option<QueueKey>,
    /// The round (see `Planner::round`) in which its last slot was taken: files that came later were not offered to it.
    pub(super) full_since_round: u64,
    /// A slot became free, and `full_since_round` was not considered yet.
    pub(super) is_back: bool,
    room_at_retry: u64,
    next_room_retry_ms: u64,
}

impl PeerState {
    /// Bytes it can still take, if it stated any: what is free, within its capacity, less what is on its way.
    pub(super) fn room(&self) -> Option<u64> {
        let stated = match (self.free_bytes, self.capacity_bytes) {
            (Some(free), Some(capacity)) => free.min(capacity),
            (free, capacity) => free.or(capacity)?,
        };
        Some(stated.saturating_sub(self.reserved_bytes))
    }

    pub(super) fn has_slot(&self) -> bool {
        self.given.len() < TASKS_PER_PEER_MAX
    }

    pub(super) fn has_upkeep_slot(&self) -> bool {
        self.has_slot() && self.upkeep < UPKEEP_PER_PEER_MAX
    }

    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

/// All live peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    states: BTreeMap<PeerId, PeerState>,
    zones: BTreeMap<Option<String>, Zone>,
    /// Peers with a free slot that have not yet gone through all files that wait for a peer.
    pub(super) hungry: BTreeSet<PeerId>,
}

impl Peers {
    pub(super) fn get(&self, peer: &PeerId) -> Option<&PeerState> {
        self.states.get(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &PeerState)> {
        self.states.iter()
    }

    /// The first live peer in a range of ids.
    pub(super) fn first_in(&self, range: (Bound<&PeerId>, Bound<&PeerId>)) -> Option<PeerId> {
        self.states.range::<PeerId, _>(range).next().map(|(peer, _)| peer.clone())
    }

    /// Takes in what a registration says; true if the peer was not live before.
    pub(super) fn upsert(&mut self, view: &PeerView) -> bool {
        let is_new = !self.states.contains_key(&view.id);
        let mut scans_again = is_new;
        self.change(&view.id, true, |state| {
            state.zone.clone_from(&view.zone);
            if state.capacity_bytes != view.capacity_bytes {
                state.capacity_bytes = view.capacity_bytes;
                state.cursor = None;
                scans_again = true;
            }
        });
        if scans_again {
            self.hungry.insert(view.id.clone());
        }
        is_new
    }

    /// Drops a peer; returns the tasks it had.
    pub(super) fn remove(&mut self, peer: &PeerId) -> Option<BTreeSet<TaskNo>> {
        let mut state = self.states.remove(peer)?;
        self.hungry.remove(peer);
        self.unrank(&mut state);
        Some(state.given)
    }

    /// Takes in the free bytes a heartbeat states. A peer with more room than before, and enough for a file of
    /// `wanted_bytes`, is offered again the files that found no peer.
    pub(super) fn set_free(&mut self, peer: &PeerId, free_bytes: u64, wanted_bytes: u64, now_ms: u64) {
        let mut scans_again = false;
        self.change(peer, false, |state| {
            state.free_bytes = Some(free_bytes);
            let room = state.room().unwrap_or(0);
            scans_again = room >= wanted_bytes && room > state.room_at_retry && now_ms >= state.next_room_retry_ms;
            if scans_again {
                state.next_room_retry_ms = now_ms.saturating_add(ROOM_RETRY_MS);
                state.room_at_retry = room;
                state.cursor = None;
            } else {
                state.room_at_retry = state.room_at_retry.min(room);
            }
        });
        if scans_again {
            self.hungry.insert(peer.clone());
        }
    }

    /// A task begins: `bytes` are reserved for a replication.
    pub(super) fn begin(&mut self, peer: &PeerId, task: TaskNo, is_upkeep: bool, bytes: u64) {
        self.change(peer, false, |state| {
            if state.given.insert(task) {
                state.upkeep += usize::from(is_upkeep);
                state.reserved_bytes = state.reserved_bytes.saturating_add(bytes);
            }
        });
    }

    /// A task is over, however it ended.
    pub(super) fn end(&mut self, peer: &PeerId, task: TaskNo, is_upkeep: bool, bytes: u64) {
        let mut was_full = false;
        self.change(peer, false, |state| {
            was_full = !state.has_slot();
            if state.given.remove(&task) {
                state.upkeep -= usize::from(is_upkeep);
                state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
            }
            state.is_back |= was_full;
        });
        if was_full {
            self.hungry.insert(peer.clone());
        }
    }

    /// For the fields that do not matter to the rank: `queue` and the cursor.
    pub(super) fn looking(&mut self, peer: &PeerId) -> Option<&mut PeerState> {
        self.states.get_mut(peer)
    }

    /// Whether any live peer has a free slot.
    pub(super) fn any_slot(&self) -> bool {
        !self.zones.is_empty()
    }

    /// The best peer with a slot and room that `admits` does not rule out: of the zone with the fewest copies, then the
    /// one with the most room. `copies` counts the file's copies by zone.
    pub(super) fn choose(
        &self,
        size: Option<u64>,
        copies: &BTreeMap<Option<&str>, usize>,
        admits: impl Fn(&PeerId) -> bool,
    ) -> Option<PeerId> {
        let mut best: Option<(usize, (bool, &Rank))> = None;
        for (zone, ranks) in &self.zones {
            let in_zone = copies.get(&zone.as_deref()).copied().unwrap_or(0);
            if best.is_some_and(|(fewest, _)| in_zone > fewest) {
                continue;
            }
            if let Some(rank) = ranks.best(size.unwrap_or(0), &admits)
                && best.is_none_or(|chosen| (in_zone, rank) < chosen)
            {
                best = Some((in_zone, rank));
            }
        }
        best.map(|(_, (_, rank))| rank.2.clone())
    }

    fn change(&mut self, peer: &PeerId, create: bool, change: impl FnOnce(&mut PeerState)) {
        let mut state = match self.states.remove(peer) {
            Some(state) => state,
            None if create => PeerState::default(),
            None => return,
        };
        self.unrank(&mut state);
        change(&mut state);
        if state.has_slot() {
            let room = state.room();
            let rank = (Reverse(room.unwrap_or(0)), state.given.len(), peer.clone());
            self.zones.entry(state.zone.clone()).or_default().ranks(room.is_some()).insert(rank.clone());
            state.rank = Some((room.is_some(), rank));
        }
        self.states.insert(peer.clone(), state);
    }

    fn unrank(&mut self, state: &mut PeerState) {
        if let Some((room_is_known, rank)) = state.rank.take()
            && let Some(zone) = self.zones.get_mut(&state.zone)
        {
            zone.ranks(room_is_known).remove(&rank);
            if zone.known.is_empty() && zone.unknown.is_empty() {
                self.zones.remove(&state.zone);
            }
        }
    }
}

/// A file's position among those that need a peer or a slot: fewest live copies first.
pub(super) fn queue_key(live: usize, file: &FileName) -> QueueKey {
    (u32::try_from(live).unwrap_or(u32::MAX), file.clone())
}
