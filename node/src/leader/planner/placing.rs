//! Finding peers for the files that want copies, fewest copies first (M2, M4).
//!
//! Two sources are merged by urgency: files for which no peer was sought yet (`untried`), and files that found none
//! (`waiting`). Each peer with a new slot scans `waiting` once, continuing where it stopped.

use std::collections::BTreeMap;
use std::ops::Bound;

use client::contract::TaskKind;
use raft_store::catalog::Catalog;
use raft_store::types::{FileName, PeerId};

use super::demand::Demand;
use super::tasks::Order;
use super::{Planner, QueueKey};

impl Planner {
    /// Finds peers for as many files as slots and budget allow.
    pub(super) fn place_short(&mut self, catalog: &Catalog, budget: &mut usize, now_ms: u64) {
        while *budget > 0 && self.peers.any_slot() {
            let looked_at = self.next_look();
            let untried = self.untried.first();
            let next = match (&looked_at, untried) {
                (Some((_, waiting)), Some(untried)) if waiting < untried => waiting.clone(),
                (_, Some(untried)) => untried.clone(),
                (Some((_, waiting)), None) => waiting.clone(),
                (None, None) => break,
            };
            if let Some((peer, place)) = looked_at
                && place == next
                && let Some(state) = self.peers.looking(&peer)
            {
                state.cursor = Some(place);
            }
            self.place_file(catalog, &next, now_ms);
            *budget -= 1;
        }
    }

    /// The next file that has not been offered to some peer with a new slot.
    fn next_look(&mut self) -> Option<(PeerId, QueueKey)> {
        while let Some(peer) = self.peers.hungry.first().cloned() {
            if let Some(state) = self.peers.looking(&peer)
                && state.has_slot()
            {
                if std::mem::take(&mut state.is_back) && state.full_since_round != self.round {
                    state.cursor = None;
                }
                let from = state.cursor.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                if let Some(key) = self.waiting.range((from, Bound::Unbounded)).next() {
                    return Some((peer, key.clone()));
                }
            }
            self.peers.hungry.remove(&peer);
        }
        None
    }

    /// Gives one file the copies it wants, as far as peers can take them.
    fn place_file(&mut self, catalog: &Catalog, key: &QueueKey, now_ms: u64) {
        let (live, file) = key;
        let Some(demand) = catalog.file(file).map(|view| Demand::of(&view)) else {
            self.dirty.insert(file.clone());
            self.leave_queues(file);
            return;
        };
        let mut missing = self.missing(file, &demand, now_ms);
        while missing > 0
            && !demand.live.is_empty()
            && let Some(peer) = self.choose(file, &demand, now_ms)
        {
            let (kind, version, size) = (TaskKind::Replicate, demand.version, demand.size);
            self.give(&Order { peer: &peer, file, kind, version, size }, now_ms);
            missing -= 1;
        }
        if missing <= 0 || demand.live.is_empty() {
            self.leave_queues(file);
        } else if self.untried.remove(key) {
            if self.waiting.is_empty() {
                self.waiting_bytes_min = u64::MAX;
            }
            self.waiting_bytes_min = self.waiting_bytes_min.min(demand.size.unwrap_or(0));
            self.waiting.insert((*live, file.clone()));
            self.round += 1;
        }
    }

    /// The best peer for one more copy: first one that works on it already, for an earlier leader.
    fn choose(&self, file: &FileName, demand: &Demand, now_ms: u64) -> Option<PeerId> {
        let tasks = self.files.get(file).map(|state| &state.tasks);
        let admits = |peer: &PeerId| {
            !demand.holds(peer)
                && !demand.refuses(peer)
                && !tasks.is_some_and(|tasks| tasks.contains_key(peer))
                && self.backoffs.remaining(peer, file, now_ms).is_none()
        };
        if let Some(peer) = self.working_elsewhere(TaskKind::Replicate, demand.version, file, admits) {
            return Some(peer);
        }
        let mut copies: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        let coming = tasks.into_iter().flat_map(BTreeMap::keys).filter(|peer| !demand.holds(peer));
        for peer in demand.live.iter().chain(&demand.stale).chain(coming) {
            if let Some(state) = self.peers.get(peer) {
                *copies.entry(state.zone()).or_default() += 1;
            }
        }
        self.peers.choose(demand.size, &copies, admits)
    }
}
