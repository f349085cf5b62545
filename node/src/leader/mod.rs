//! The soft state of one leadership term: which peers and waiters are alive, which copies are planned, and which
//! requests wait for either.
//!
//! Soft state lives here and nowhere else (P3, M1). It is created when a leadership term begins and dropped when it
//! ends. Nothing here knows the node: `duties::leading` calls it with the catalog, and proposes what it returns.
//!
//! Invariant: nothing is proposed for a peer or waiter outside the term in which its silence was counted (T2).

pub mod liveness;
pub mod planner;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use client::contract::{FailedTask, Task, WhyResponse};
use parking_lot::Mutex;
use raft_store::catalog::{Catalog, DropWaiter, Event, ExpirePeer, Op};
use raft_store::types::{FileName, PeerId};
use tokio::sync::Notify;

use self::liveness::Liveness;
use self::planner::{Planner, without_plan};
use crate::sys::clock::{Monotonic, millis, unix_seconds};

/// Wake-ups of waiting heartbeats that are kept although nobody may wait on them any more.
const IDLE_WAKE_UPS_MAX: usize = 1_024;
/// Commands that one round of duties proposes at most; the rest follows in the next.
const DUTY_COMMANDS_MAX: usize = 256;

/// The soft state of one leadership term.
struct LeadershipTerm {
    term: u64,
    liveness: Liveness,
    planner: Planner,
}

impl LeadershipTerm {
    /// Plans a bounded part of what is due; the rest follows with the next entry or round of duties.
    fn plan(&mut self, catalog: &Catalog, now_ms: u64) -> Vec<PeerId> {
        self.planner.plan(catalog, now_ms, self.liveness.grace_remaining_ms() > 0)
    }

    fn has_more(&self) -> bool {
        self.planner.has_more(self.liveness.grace_remaining_ms() > 0)
    }
}

/// Requests that wait: heartbeats for tasks, lease requests for their turn.
#[derive(Default)]
struct Waiters {
    tasks: HashMap<PeerId, Arc<Notify>>,
    /// How many of them were waited on when the table was last gone through.
    tasks_waited_on: usize,
    turns: HashMap<(FileName, PeerId), Arc<Notify>>,
}

/// The leader's soft state and its waiters.
#[derive(Default)]
pub struct Leadership {
    clock: Monotonic,
    current: Mutex<Option<LeadershipTerm>>,
    waiters: Mutex<Waiters>,
    /// Whether a probe of the majority is in flight; there is one at a time, however long it takes.
    pub probing: AtomicBool,
}

/// Planner and liveness figures for `/stats` and `/metrics`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanStats {
    /// Files below their number of copies.
    pub under_replicated: u64,
    /// Tasks given out and not done.
    pub tasks: u64,
    /// What is left of the grace period (P4).
    pub grace_remaining_ms: u64,
}

impl Leadership {
    /// No leadership term yet; silence will be measured by this clock.
    pub fn new(clock: Monotonic) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Begins a term with soft state made from the catalog.
    pub fn begin(&self, term: u64, catalog: &Catalog, config: &crate::config::Config) {
        let current = self.made(term, catalog, config);
        *self.current.lock() = Some(current);
    }

    /// Rebuilds the soft state from the catalog, unless the term ended meanwhile.
    pub fn rebuild(&self, catalog: &Catalog, config: &crate::config::Config) {
        let Some(term) = self.term() else { return };
        let rebuilt = self.made(term, catalog, config);
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.term == term) {
            *current = Some(rebuilt);
        }
    }

    fn made(&self, term: u64, catalog: &Catalog, config: &crate::config::Config) -> LeadershipTerm {
        let now = self.clock.now_ms();
        let times = liveness::Config {
            peer_ttl_ms: millis(config.peer_ttl),
            grace_ms: millis(config.grace),
            ..liveness::Config::default()
        };
        let liveness = Liveness::from_catalog(times, catalog, now);
        let mut planner = Planner::new(term);
        planner.rebuild(catalog);
        LeadershipTerm { term, liveness, planner }
    }

    /// Ends the term, and wakes everybody who waits.
    pub fn end(&self) {
        *self.current.lock() = None;
        // Whoever waits here has to ask the new leader.
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.tasks.values().chain(waiters.turns.values()).for_each(|notify| notify.notify_waiters());
    }

    /// The current leadership term.
    pub fn term(&self) -> Option<u64> {
        self.current.lock().as_ref().map(|current| current.term)
    }

    /// Every accepted request that names a peer is a sign of its life (P3).
    pub fn sign_of_life(&self, peer: &PeerId) {
        if let Some(current) = self.current.lock().as_mut() {
            current.liveness.sign_of_life(peer, self.clock.now_ms());
        }
    }

    /// Notes the poll of a waiter (L5).
    pub fn waiter_polled(&self, file: &FileName, peer: &PeerId, ticket: u64) {
        if let Some(current) = self.current.lock().as_mut() {
            current.liveness.waiter_polled(file, peer, ticket, self.clock.now_ms());
        }
    }

    /// Takes in what a heartbeat says about tasks and space (M3).
    pub fn heartbeat(&self, peer: &PeerId, working: &[String], failed: &[FailedTask], free_bytes: Option<u64>) {
        if let Some(current) = self.current.lock().as_mut() {
            current.planner.heartbeat(peer, working, failed, free_bytes, self.clock.now_ms());
        }
    }

    /// The tasks a peer should do now.
    pub fn tasks_for(&self, catalog: &Catalog, peer: &PeerId) -> Vec<Task> {
        self.current.lock().as_ref().map_or_else(Vec::new, |current| current.planner.tasks_for(catalog, peer))
    }

    /// Why a file has the copies it has; without the plan unless this node is a `confirmed` leader (R5).
    pub fn why(&self, catalog: &Catalog, file: &FileName, confirmed: bool) -> Option<WhyResponse> {
        let current = self.current.lock();
        match current.as_ref().filter(|_| confirmed) {
            Some(LeadershipTerm { liveness, planner, .. }) => {
                planner.why(catalog, file, self.clock.now_ms(), liveness.grace_remaining_ms() > 0)
            }
            None => without_plan(catalog, file),
        }
    }

    /// Unix seconds at which this leader last heard from a peer (T4).
    pub fn last_seen_unix(&self, peer: &PeerId) -> Option<u64> {
        let now = self.clock.now_ms();
        let silent_ms = self.current.lock().as_ref()?.liveness.silent_for_ms(peer, now)?;
        Some(unix_seconds().saturating_sub(silent_ms / 1_000))
    }

    /// Figures for `/stats` and `/metrics`; `None` on a follower.
    pub fn stats(&self) -> Option<PlanStats> {
        self.current.lock().as_ref().map(|current| {
            let planned = current.planner.stats();
            PlanStats {
                under_replicated: planned.under_replicated,
                tasks: planned.tasks,
                grace_remaining_ms: current.liveness.grace_remaining_ms(),
            }
        })
    }

    /// Woken when a peer has new tasks, or when this node stops leading.
    pub fn task_notify(&self, peer: &PeerId) -> Arc<Notify> {
        let mut waiters = self.waiters.lock();
        // Amortized over the entries that were added since. Nobody waits on a wake-up that only the table holds.
        if waiters.tasks.len() > 2 * waiters.tasks_waited_on + IDLE_WAKE_UPS_MAX {
            waiters.tasks.retain(|_, notify| Arc::strong_count(notify) > 1);
            waiters.tasks_waited_on = waiters.tasks.len();
        }
        waiters.tasks.entry(peer.clone()).or_default().clone()
    }

    /// Woken when it is a waiter's turn to claim, or when this node stops leading.
    pub fn turn_notify(&self, file: &FileName, peer: &PeerId) -> Arc<Notify> {
        self.waiters.lock().turns.entry((file.clone(), peer.clone())).or_default().clone()
    }

    /// Forgets the wake-up of a wait that ended, unless somebody else waits on it.
    pub fn done_waiting(&self, file: &FileName, peer: &PeerId) {
        let mut waiters = self.waiters.lock();
        let key = (file.clone(), peer.clone());
        if waiters.turns.get(&key).is_some_and(|notify| Arc::strong_count(notify) <= 1) {
            waiters.turns.remove(&key);
        }
    }

    fn wake_for_tasks(&self, peers: &[PeerId]) {
        let waiters = self.waiters.lock();
        for peer in peers {
            if let Some(notify) = waiters.tasks.get(peer) {
                notify.notify_waiters();
            }
        }
    }

    fn wake_for_turns(&self, events: &[Event]) {
        for event in events {
            if let Event::LeaseOffered { file, peer, .. } = event {
                let waiters = self.waiters.lock();
                if let Some(notify) = waiters.turns.get(&(file.clone(), peer.clone())) {
                    notify.notify_waiters();
                }
            }
        }
    }

    /// Takes in what an applied entry changed.
    pub fn observe(&self, catalog: &Catalog, events: &[Event]) {
        self.wake_for_turns(events);
        let woken = match self.current.lock().as_mut() {
            None => return,
            Some(current) => {
                let now = self.clock.now_ms();
                events.iter().for_each(|event| current.liveness.observe(event, now));
                current.planner.observe(catalog, events);
                current.plan(catalog, now)
            }
        };
        self.wake_for_tasks(&woken);
    }

    /// One further step of planning; false if there was nothing left to plan.
    pub fn plan_on(&self, catalog: &Catalog) -> bool {
        let woken = match self.current.lock().as_mut() {
            Some(current) if current.has_more() => current.plan(catalog, self.clock.now_ms()),
            Some(_) | None => return false,
        };
        self.wake_for_tasks(&woken);
        true
    }

    /// One round of timed duties; returns what has to be proposed.
    pub fn duties(&self, catalog: &Catalog, confirmed: bool) -> Vec<Op> {
        let mut ops = Vec::new();
        let woken = match self.current.lock().as_mut() {
            None => return ops,
            Some(current) => {
                let now = self.clock.now_ms();
                let LeadershipTerm { term, liveness, planner } = current;
                liveness.tick(now, confirmed);
                for (peer, incarnation) in liveness.expired_peers() {
                    ops.push(Op::ExpirePeer(ExpirePeer { peer, incarnation, term: *term }));
                }
                for (file, peer, ticket) in liveness.silent_waiters() {
                    ops.push(Op::DropWaiter(DropWaiter { peer, file, ticket, term: *term }));
                }
                planner.abandon_overdue(now);
                current.plan(catalog, now)
            }
        };
        ops.truncate(DUTY_COMMANDS_MAX);
        self.wake_for_tasks(&woken);
        ops
    }
}
