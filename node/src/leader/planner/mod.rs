//! The replication planner: which peer should fetch, update or remove which file (M1–M4).
//!
//! ```text
//!  catalog events ──► dirty files ──► assess ──► tasks ended, updates and removals given, files short of copies
//!                                                                                              │ fewest copies first
//!  heartbeats ──► room, working, failed ──────────────────────────────────────────► place ◄────┘
//! ```
//!
//! The planner lives on the leader and is soft state: a new leader calls [`Planner::rebuild`] and learns
//! the rest from the first heartbeats. It has no clock, no lock and no I/O; the caller brings the
//! catalog, the time and what peers say.
//!
//! Invariants:
//! * The planner never makes live current holders, replications and updates in progress exceed what is wanted. A
//!   surplus of tasks is withdrawn, and copies are never deleted (M2).
//! * A peer has at most one task for a file, and [`TASKS_PER_PEER_MAX`] in all.
//! * The cost of a call is proportional to what changed, and bounded by [`PLAN_FILES_MAX`]; the rest is kept for the
//!   next call.

mod assess;
mod backoff;
mod demand;
mod files;
mod heartbeat;
mod numbers;
mod peers;
mod placing;
mod tasks;
mod why;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use raft_store::catalog::{Catalog, Event};
use raft_store::types::{FileName, PeerId};

pub use backoff::{BACKOFFS_MAX, PAUSE_MS_MAX, PAUSE_MS_MIN};
pub use heartbeat::HEARTBEAT_IDS_MAX;
pub use peers::{ROOM_RETRY_MS, TASKS_PER_PEER_MAX, UPKEEP_PER_PEER_MAX};
pub use tasks::{TASK_BYTES_PER_MS, TASK_TIMEOUT_MS};
pub use why::{REFUSED_PEERS_MAX, without_plan};

use backoff::Backoffs;
use files::Files;
use numbers::Numbers;
use peers::Peers;
use tasks::Tasks;

/// Files that one call of [`Planner::plan`] examines: about a millisecond of work, in which nothing can be applied.
pub const PLAN_FILES_MAX: usize = 256;

/// A file's position in a queue: fewest live copies first, then by name.
type QueueKey = (u32, FileName);

/// How far a rebuild has come.
#[derive(Debug)]
enum Sweep {
    /// Through the files, continuing at this number.
    Files(u32),
    /// Through the stale holdings of the live peers, because a deleted file is found only by its stale copies.
    /// Continuing with this peer, at that number or after it.
    Peers(Option<PeerId>, Option<u32>),
}

/// Totals for `/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlannerStats {
    /// Files with fewer live current copies than wanted.
    pub under_replicated: u64,
    /// Tasks given out and not yet done.
    pub tasks: u64,
}

/// The replication planner.
#[derive(Debug)]
pub struct Planner {
    peers: Peers,
    tasks: Tasks,
    backoffs: Backoffs,
    files: Files,
    /// Files with fewer live copies than wanted.
    under_replicated: Numbers,
    sweep: Option<Sweep>,
    /// Peers whose holdings began or ceased to count and are not all marked yet, and where to go on with each.
    flipped: BTreeMap<PeerId, u32>,
    /// Files to be assessed.
    dirty: BTreeSet<FileName>,
    /// Files short of copies for which no peer was sought yet.
    untried: BTreeSet<QueueKey>,
    /// Files short of copies for which no peer was free or fit.
    waiting: BTreeSet<QueueKey>,
    /// A lower bound of the sizes of the files in `waiting`, in bytes.
    waiting_bytes_min: u64,
    /// Grows when `waiting` gets a file. Peers that are full at that moment have to scan it from the start later.
    round: u64,
    /// Peers of which a task ended, so that queued updates and removals may get its slot.
    freed: BTreeSet<PeerId>,
    /// Peers with tasks they have not been told of.
    woken: BTreeSet<PeerId>,
    /// Tasks of earlier leaders that peers say they work on (M1).
    foreign: heartbeat::Foreign,
}

impl Planner {
    /// A planner for one leadership term; `term` makes its task ids unique.
    pub fn new(term: u64) -> Self {
        Self {
            peers: Peers::default(),
            tasks: Tasks::new(term),
            backoffs: Backoffs::default(),
            files: Files::default(),
            under_replicated: Numbers::default(),
            sweep: None,
            flipped: BTreeMap::new(),
            dirty: BTreeSet::new(),
            untried: BTreeSet::new(),
            waiting: BTreeSet::new(),
            waiting_bytes_min: u64::MAX,
            round: 0,
            freed: BTreeSet::new(),
            woken: BTreeSet::new(),
            foreign: heartbeat::Foreign::default(),
        }
    }

    /// Takes in the live peers and starts a sweep through all files, which the next calls of `plan` carry out.
    ///
    /// Call it once, when the leadership starts; from then on every event has to come through [`Planner::observe`].
    pub fn rebuild(&mut self, catalog: &Catalog) {
        for peer in catalog.peers().filter(|peer| peer.live) {
            self.peers.upsert(&peer);
        }
        self.sweep = Some(Sweep::Files(0));
    }

    /// Marks what an applied entry changed. `catalog` is the state after that entry, or after later ones.
    pub fn observe(&mut self, catalog: &Catalog, events: &[Event]) {
        // A new version and its first copy are two events of one file, one after the other.
        let mut marked = None;
        for event in events {
            match event {
                Event::PeerRegistered { peer, .. } | Event::PeerExpired { peer } | Event::PeerForgotten { peer } => {
                    self.observe_peer(catalog, peer);
                }
                Event::FilePublished { file, .. }
                | Event::FileDeleted { file, .. }
                | Event::HolderAdded { file, .. }
                | Event::HolderDropped { file, .. } => {
                    if marked.replace(file) != Some(file) {
                        self.mark(file);
                    }
                }
                Event::ReplicasSet { .. } => self.sweep = Some(Sweep::Files(0)),
                // Holdings that a listing changed have events of their own; leases and attributes do not matter here.
                Event::AttributesChanged { .. }
                | Event::MembersChanged { .. }
                | Event::PeerListed { .. }
                | Event::LeaseGranted { .. }
                | Event::LeaseRenewed { .. }
                | Event::LeaseEnded { .. }
                | Event::LineJoined { .. }
                | Event::LeaseOffered { .. }
                | Event::LineLeft { .. } => {}
            }
        }
    }

    /// Decides about everything that is marked. Returns the peers that have new tasks, so that their waiting heartbeats
    /// can be answered.
    ///
    /// In the grace period (`grace`) no replication is planned (P4); updates and removals are. Work beyond
    /// [`PLAN_FILES_MAX`] files stays for the next call, see [`Planner::has_more`].
    pub fn plan(&mut self, catalog: &Catalog, now_ms: u64, grace: bool) -> Vec<PeerId> {
        self.abandon_overdue(now_ms);
        for file in self.backoffs.wake(now_ms, PLAN_FILES_MAX) {
            self.dirty.insert(file);
        }
        let mut budget = PLAN_FILES_MAX;
        self.sweep_on(catalog);
        while budget > 0
            && let Some(file) = self.dirty.pop_first()
        {
            self.assess(catalog, &file, now_ms);
            budget -= 1;
        }
        self.refill_freed(catalog, &mut budget, now_ms);
        if !grace {
            self.place_short(catalog, &mut budget, now_ms);
        }
        std::mem::take(&mut self.woken).into_iter().collect()
    }

    /// Whether `plan` left work undone that it could go on with at once.
    pub fn has_more(&self, grace: bool) -> bool {
        let can_place = !grace && self.peers.any_slot() && !(self.untried.is_empty() && self.peers.hungry.is_empty());
        self.sweep.is_some()
            || !self.flipped.is_empty()
            || !self.dirty.is_empty()
            || !self.freed.is_empty()
            || can_place
    }

    /// Totals for `/stats`.
    pub fn stats(&self) -> PlannerStats {
        PlannerStats { under_replicated: self.under_replicated.len() as u64, tasks: self.tasks.len() as u64 }
    }

    fn mark(&mut self, file: &FileName) {
        self.dirty.insert(file.clone());
    }

    /// A peer registered, expired or was forgotten: its holdings begin or cease to count (P5).
    fn observe_peer(&mut self, catalog: &Catalog, peer: &PeerId) {
        let was_live = self.peers.get(peer).is_some();
        let view = catalog.peer(peer).filter(|view| view.live);
        match &view {
            Some(view) => {
                self.peers.upsert(view);
                // A new process knows nothing of its predecessor's tasks: they are repeated (M3).
                self.forget_working(peer);
            }
            None => {
                for no in self.peers.remove(peer).unwrap_or_default() {
                    self.end(no);
                }
                self.forget_foreign(peer);
                self.freed.remove(peer);
                self.woken.remove(peer);
            }
        }
        if was_live != view.is_some() {
            self.flipped.insert(peer.clone(), 0);
        }
    }

    /// Marks the next files of peers that came or went, and of a rebuild: as many as one call of `plan` handles.
    fn sweep_on(&mut self, catalog: &Catalog) {
        let mut to_scan = PLAN_FILES_MAX.saturating_sub(self.dirty.len());
        while to_scan > 0
            && let Some((peer, from)) = self.flipped.pop_first()
        {
            let (held, next) = catalog.holdings_from(&peer, from, to_scan);
            to_scan -= held.len();
            held.iter().for_each(|(file, _)| self.mark(file));
            if let Some(next) = next {
                self.flipped.insert(peer, next);
            }
        }
        while to_scan > 0 {
            match self.sweep.take() {
                None => break,
                Some(Sweep::Files(from)) => {
                    let (names, next) = catalog.file_names_from(from, to_scan);
                    names.iter().for_each(|name| self.mark(name));
                    self.sweep = Some(next.map_or(Sweep::Peers(None, None), Sweep::Files));
                    to_scan -= names.len();
                }
                Some(Sweep::Peers(peer, from)) => {
                    let next_peer = || {
                        let after = peer.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                        Some((self.peers.first_in((after, Bound::Unbounded))?, 0))
                    };
                    let Some((peer, from)) = peer.clone().zip(from).or_else(next_peer) else { break };
                    let (held, next) = catalog.holdings_from(&peer, from, to_scan);
                    // A peer without holdings costs a step as well.
                    to_scan = to_scan.saturating_sub(held.len().max(1));
                    held.iter().filter(|(_, is_current)| !is_current).for_each(|(file, _)| self.mark(file));
                    self.sweep = Some(Sweep::Peers(Some(peer), next));
                }
            }
        }
    }
}
