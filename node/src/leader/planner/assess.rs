//! Assesses a file: compares its demand with its tasks.
//!
//! Invariant: afterwards every task of the file is still needed, every stale holder has a task or
//! waits for a slot or for the end of its backoff, and the file is in `untried` exactly if it wants
//! further copies that somebody could send.

use client::contract::TaskKind;
use raft_store::catalog::Catalog;
use raft_store::types::{FileName, PeerId};

use super::demand::Demand;
use super::peers::queue_key;
use super::tasks::{Order, TaskNo};
use super::{Planner, QueueKey};

impl Planner {
    /// Brings tasks and queues of one file in line with the catalog.
    pub(super) fn assess(&mut self, catalog: &Catalog, file: &FileName, now_ms: u64) {
        let demand = catalog.file_with_live_holders(file).map(|(number, view)| {
            let demand = Demand::of(&view);
            self.under_replicated.set(number, demand.is_under_replicated());
            demand
        });
        if demand.as_ref().is_none_or(Demand::concerns_nobody) && self.settle_idle(file) {
            return;
        }
        self.end_pointless(file, demand.as_ref());
        let Some(demand) = demand else {
            self.settle(file, None);
            return;
        };
        self.give_upkeep(file, &demand, now_ms);
        let missing = self.missing(file, &demand, now_ms);
        if missing < 0 {
            self.withdraw_surplus(file, missing.unsigned_abs());
        }
        let wants_copies = missing > 0 && !demand.live.is_empty();
        let short = wants_copies.then_some(queue_key(demand.live.len(), file).0);
        self.settle(file, short);
    }

    /// Copies wanted beyond the live ones and those in progress; negative if there are more than wanted (M2).
    ///
    /// A stale holder that will be updated counts, even while its update waits for a slot. Otherwise every new version
    /// would be copied to other peers.
    pub(super) fn missing(&self, file: &FileName, demand: &Demand, now_ms: u64) -> isize {
        let is_resting = |peer: &PeerId| self.backoffs.remaining(peer, file, now_ms).is_some();
        let updates = match demand.upkeep {
            TaskKind::Update => demand.stale.iter().filter(|peer| !is_resting(peer)).count(),
            TaskKind::Replicate | TaskKind::Remove => 0,
        };
        let effective = demand.live.len() + updates + self.tasks_of_kind(file, TaskKind::Replicate).count();
        demand.desired as isize - effective as isize
    }

    /// Gives the peer a task and wakes it. The caller has made sure that the demand admits it and the peer has a slot.
    pub(super) fn give(&mut self, order: &Order<'_>, now_ms: u64) {
        let adopted = self.adoptable(order.peer, order.kind, order.version, order.file);
        let no = self.tasks.add(order, adopted, now_ms);
        let Some(task) = self.tasks.get(no) else { return };
        self.peers.begin(order.peer, no, order.kind != TaskKind::Replicate, task.bytes);
        if let Some(state) = self.peers.looking(order.peer)
            && !state.has_slot()
        {
            state.full_since_round = self.round;
        }
        self.files.get_or_new(order.file).tasks.insert(order.peer.clone(), no);
        if !task.working {
            self.woken.insert(order.peer.clone());
        }
    }

    /// Forgets a task that is done, withdrawn or failed, or whose peer is gone. Does not assess the file.
    pub(super) fn end(&mut self, no: TaskNo) {
        let Some(task) = self.tasks.remove(no) else { return };
        self.peers.end(&task.peer, no, task.kind != TaskKind::Replicate, task.bytes);
        self.freed.insert(task.peer.clone());
        if let Some(state) = self.files.get_mut(&task.file) {
            state.tasks.remove(&task.peer);
        }
        self.dirty.insert(task.file);
    }

    /// Gives updates and removals that waited for a slot, where one became free.
    pub(super) fn refill_freed(&mut self, catalog: &Catalog, budget: &mut usize, now_ms: u64) {
        while *budget > 0
            && let Some(peer) = self.freed.first().cloned()
        {
            let next = match self.peers.looking(&peer) {
                Some(state) if state.has_upkeep_slot() => state.queue.pop_first(),
                Some(_) | None => None,
            };
            match next {
                Some((_, file)) => {
                    self.assess(catalog, &file, now_ms);
                    *budget -= 1;
                }
                None => {
                    self.freed.remove(&peer);
                }
            }
        }
    }

    /// Ends the tasks that the demand no longer admits; a peer that has the bytes now has succeeded.
    fn end_pointless(&mut self, file: &FileName, demand: Option<&Demand>) {
        let Some(state) = self.files.get(file) else { return };
        let mut over = Vec::new();
        for (peer, &no) in &state.tasks {
            let Some(task) = self.tasks.get(no) else { continue };
            if !demand.is_some_and(|demand| demand.admits(peer, task.kind, task.version)) {
                over.push((no, peer.clone()));
            }
        }
        for (no, peer) in over {
            self.end(no);
            if demand.is_some_and(|demand| demand.live.binary_search(&peer).is_ok()) {
                self.backoffs.succeed(&peer, file);
            }
        }
        self.dirty.remove(file); // `end` marked it, and it is being assessed
    }

    fn give_upkeep(&mut self, file: &FileName, demand: &Demand, now_ms: u64) {
        if !demand.can_upkeep() {
            return;
        }
        for peer in &demand.stale {
            let has_task = self.files.get(file).is_some_and(|state| state.tasks.contains_key(peer));
            if has_task || self.backoffs.remaining(peer, file, now_ms).is_some() {
                continue;
            }
            let Some(state) = self.peers.looking(peer) else { continue };
            if state.has_upkeep_slot() {
                let (kind, version, size) = (demand.upkeep, demand.version, demand.size);
                self.give(&Order { peer, file, kind, version, size }, now_ms);
            } else {
                state.queue.insert(queue_key(demand.live.len(), file));
            }
        }
    }

    /// Withdraws replications that are no longer needed, first those that nobody works on, the newest first.
    fn withdraw_surplus(&mut self, file: &FileName, surplus: usize) {
        let mut candidates: Vec<(bool, TaskNo)> = self
            .tasks_of_kind(file, TaskKind::Replicate)
            .filter_map(|no| Some((self.tasks.get(no)?.working, no)))
            .collect();
        candidates.sort_by_key(|&(working, no)| (working, std::cmp::Reverse(no)));
        for (_, no) in candidates.into_iter().take(surplus) {
            self.end(no);
        }
        self.dirty.remove(file);
    }

    fn tasks_of_kind(&self, file: &FileName, kind: TaskKind) -> impl Iterator<Item = TaskNo> {
        let numbers = self.files.get(file).into_iter().flat_map(|state| state.tasks.values().copied());
        numbers.filter(move |no| self.tasks.get(*no).is_some_and(|task| task.kind == kind))
    }

    /// Records whether a file wants further copies.
    fn settle(&mut self, file: &FileName, short: Option<u32>) {
        let state = self.files.get_or_new(file);
        let was_short = std::mem::replace(&mut state.short, short);
        let needs_nothing = state.needs_nothing();
        self.requeue(file, was_short, short);
        if needs_nothing {
            self.files.remove(file);
        }
    }

    /// The same for a file that wants none. If the file has tasks, does nothing and returns false. One lookup, because
    /// most files that are announced for the first time are settled here.
    fn settle_idle(&mut self, file: &FileName) -> bool {
        let Some(state) = self.files.get_mut(file) else { return true };
        if !state.tasks.is_empty() {
            return false;
        }
        let was_short = state.short.take();
        self.requeue(file, was_short, None);
        self.files.remove(file);
        true
    }

    fn requeue(&mut self, file: &FileName, was_short: Option<u32>, short: Option<u32>) {
        if let Some(live) = was_short {
            self.unqueue((live, file.clone()));
        }
        if let Some(live) = short {
            self.untried.insert((live, file.clone()));
        }
    }

    /// Takes a file out of the queues of those that want copies.
    pub(super) fn leave_queues(&mut self, file: &FileName) {
        let Some(state) = self.files.get_mut(file) else { return };
        if let Some(live) = state.short.take() {
            self.unqueue((live, file.clone()));
        }
    }

    fn unqueue(&mut self, key: QueueKey) {
        self.untried.remove(&key);
        self.waiting.remove(&key);
    }
}
