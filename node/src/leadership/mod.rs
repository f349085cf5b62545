//! What only a leader does: anchor the log clock, tick while leases live, expire silent peers and waiters, plan
//! replication, and wake the requests that wait for any of it.
//!
//! Soft state lives here and nowhere else (P3, M1); it is created when a leadership term begins and dropped when it
//! ends. Invariant: nothing is proposed for a peer or waiter outside the term whose silence was counted (T2).

mod derived;
mod duties;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use client::api::{FailedTask, Task};
pub use derived::{follow_events, follow_freshness};
pub use duties::run;
use parking_lot::Mutex;
use raft_store::catalog::{Catalog, DropWaiter, Event, ExpirePeer, Op};
use raft_store::types::{FileName, PeerId};
use tokio::sync::Notify;

use crate::clock::{Monotonic, millis, unix_seconds};
use crate::liveness::{self, Liveness};
use crate::planner::{Planner, without_plan};

/// Wake-ups of waiting heartbeats that are kept although nobody may wait on them any more.
const IDLE_WAKE_UPS_MAX: usize = 1_024;
/// Commands that one round of duties proposes at most; the rest follows in the next.
const DUTY_COMMANDS_MAX: usize = 256;

/// The soft state of one leadership.
struct Reign {
    term: u64,
    liveness: Liveness,
    planner: Planner,
}

impl Reign {
    /// Plans a bounded part of what is due; what is left follows with the next entry or round of duties.
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
    reign: Mutex<Option<Reign>>,
    waiters: Mutex<Waiters>,
    /// Whether a probe is under way; there is one at a time, however long it takes.
    probing: AtomicBool,
}

/// Planner and liveness figures for `/stats` and `/metrics`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReignStats {
    /// Files below their number of copies.
    pub under_replicated: u64,
    /// Tasks given out and not done.
    pub tasks: u64,
    /// What is left of the grace period (P4).
    pub grace_remaining_ms: u64,
}

impl Leadership {
    /// Soft state that ages by this clock.
    pub fn new(clock: Monotonic) -> Self {
        Self { clock, ..Self::default() }
    }

    fn begin(&self, term: u64, catalog: &Catalog, config: &crate::config::Config) {
        let reign = self.made(term, catalog, config);
        *self.reign.lock() = Some(reign);
    }

    /// Makes the soft state anew from the catalog, unless the leadership ended meanwhile.
    fn rebuild(&self, catalog: &Catalog, config: &crate::config::Config) {
        let Some(term) = self.term() else { return };
        let rebuilt = self.made(term, catalog, config);
        let mut reign = self.reign.lock();
        if reign.as_ref().is_some_and(|reign| reign.term == term) {
            *reign = Some(rebuilt);
        }
    }

    fn made(&self, term: u64, catalog: &Catalog, config: &crate::config::Config) -> Reign {
        let now = self.clock.now_ms();
        let times = liveness::Config {
            peer_ttl_ms: millis(config.peer_ttl),
            grace_ms: millis(config.grace),
            ..liveness::Config::default()
        };
        let liveness = Liveness::from_catalog(times, catalog, now);
        let mut planner = Planner::new(term);
        planner.rebuild(catalog);
        Reign { term, liveness, planner }
    }

    fn end(&self) {
        *self.reign.lock() = None;
        // Whoever waits here has to ask the new leader.
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.tasks.values().chain(waiters.turns.values()).for_each(|notify| notify.notify_waiters());
    }

    /// The term of the leadership under way.
    fn term(&self) -> Option<u64> {
        self.reign.lock().as_ref().map(|reign| reign.term)
    }

    /// Every accepted request that names a peer is a sign of its life (P3).
    pub fn sign_of_life(&self, peer: &PeerId) {
        if let Some(reign) = self.reign.lock().as_mut() {
            reign.liveness.sign_of_life(peer, self.clock.now_ms());
        }
    }

    /// Notes the poll of a waiter (L5).
    pub fn waiter_polled(&self, file: &FileName, peer: &PeerId, ticket: u64) {
        if let Some(reign) = self.reign.lock().as_mut() {
            reign.liveness.waiter_polled(file, peer, ticket, self.clock.now_ms());
        }
    }

    /// Takes in what a heartbeat says about tasks and space (M3).
    pub fn heartbeat(&self, peer: &PeerId, working: &[String], failed: &[FailedTask], free_bytes: Option<u64>) {
        if let Some(reign) = self.reign.lock().as_mut() {
            reign.planner.heartbeat(peer, working, failed, free_bytes, self.clock.now_ms());
        }
    }

    /// The tasks a peer should do now.
    pub fn tasks_for(&self, catalog: &Catalog, peer: &PeerId) -> Vec<Task> {
        self.reign.lock().as_ref().map_or_else(Vec::new, |reign| reign.planner.tasks_for(catalog, peer))
    }

    /// Why a file has the copies it has; without the plan unless this node is a `confirmed` leader (R5).
    pub fn why(&self, catalog: &Catalog, file: &FileName, confirmed: bool) -> Option<serde_json::Value> {
        let reign = self.reign.lock();
        let why = match reign.as_ref().filter(|_| confirmed) {
            Some(Reign { liveness, planner, .. }) => {
                planner.why(catalog, file, self.clock.now_ms(), liveness.grace_remaining_ms() > 0)
            }
            None => without_plan(catalog, file),
        }?;
        serde_json::to_value(why).ok()
    }

    /// Unix seconds at which this leader last heard from a peer (T4).
    pub fn last_seen_unix(&self, peer: &PeerId) -> Option<u64> {
        let now = self.clock.now_ms();
        let silent_ms = self.reign.lock().as_ref()?.liveness.silent_for_ms(peer, now)?;
        Some(unix_seconds().saturating_sub(silent_ms / 1_000))
    }

    /// Figures for `/stats` and `/metrics`; `None` on a follower.
    pub fn stats(&self) -> Option<ReignStats> {
        self.reign.lock().as_ref().map(|reign| {
            let planned = reign.planner.stats();
            ReignStats {
                under_replicated: planned.under_replicated,
                tasks: planned.tasks,
                grace_remaining_ms: reign.liveness.grace_remaining_ms(),
            }
        })
    }

    /// Woken when a peer has new tasks, or when this node stops leading.
    pub fn task_notify(&self, peer: &PeerId) -> Arc<Notify> {
        let mut waiters = self.waiters.lock();
        // Going through the table is paid for by those that were added since; nobody waits on
        // what only the table holds.
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
    fn observe(&self, catalog: &Catalog, events: &[Event]) {
        self.wake_for_turns(events);
        let woken = match self.reign.lock().as_mut() {
            None => return,
            Some(reign) => {
                let now = self.clock.now_ms();
                events.iter().for_each(|event| reign.liveness.observe(event, now));
                reign.planner.observe(catalog, events);
                reign.plan(catalog, now)
            }
        };
        self.wake_for_tasks(&woken);
    }

    /// One further step of planning; false if there was nothing left to plan.
    fn plan_on(&self, catalog: &Catalog) -> bool {
        let woken = match self.reign.lock().as_mut() {
            Some(reign) if reign.has_more() => reign.plan(catalog, self.clock.now_ms()),
            Some(_) | None => return false,
        };
        self.wake_for_tasks(&woken);
        true
    }

    /// One round of timed duties; returns what has to be proposed.
    fn duties(&self, catalog: &Catalog, confirmed: bool) -> Vec<Op> {
        let mut ops = Vec::new();
        let woken = match self.reign.lock().as_mut() {
            None => return ops,
            Some(reign) => {
                let now = self.clock.now_ms();
                let Reign { term, liveness, planner } = reign;
                liveness.tick(now, confirmed);
                for (peer, incarnation) in liveness.expired_peers() {
                    ops.push(Op::ExpirePeer(ExpirePeer { peer, incarnation, term: *term }));
                }
                for (file, peer, ticket) in liveness.silent_waiters() {
                    ops.push(Op::DropWaiter(DropWaiter { peer, file, ticket, term: *term }));
                }
                planner.abandon_overdue(now);
                reign.plan(catalog, now)
            }
        };
        ops.truncate(DUTY_COMMANDS_MAX);
        self.wake_for_tasks(&woken);
        ops
    }
}
