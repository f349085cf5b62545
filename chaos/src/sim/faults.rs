//! Breaks the simulated cluster, as its plan allows, and repairs what it broke.
//!
//! Invariant: everything it does follows from the seed and from what the cluster did;
//! [`Faults::heal`] removes all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_store::storage::SimFault;
use rand::Rng;
use rand::rngs::StdRng;

use super::cuts::Cuts;
use super::journal::Journal;
use super::machine::Machine;
use super::net::name;
use super::plan::{FaultKind, Plan, pick};
use super::watch::{Glance, Watch};

/// How long a fault lasts, in milliseconds.
const LASTS_MS: std::ops::Range<u64> = 50..1_500;
/// How long it lasts in a quiet world: long enough that writes must be back meanwhile.
const LASTS_QUIETLY_MS: std::ops::Range<u64> = 4_000..5_000;
/// How long a quiet world is left alone after a fault.
const QUIET_PAUSE: Duration = Duration::from_millis(2_500);
/// How long after a transfer was asked for its target is lost.
const LOST_AFTER_MS: std::ops::Range<u64> = 1..120;
/// A machine crashes at a delicate moment with this probability.
const AT_MOMENT: f64 = 0.08;

/// How to undo a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    Restart(u64),
    Repair(u64, u64),
    RepairOneWay(u64, u64),
    Release(u64, u64),
    FastDisk(u64),
}

/// The faults of a run.
pub(super) struct Faults {
    plan: Plan,
    rng: StdRng,
    next: Duration,
    undo: Vec<(Duration, Undo)>,
    /// Pairs that do not reach each other.
    pub(super) cuts: Cuts,
    /// The node to be lost because leadership goes there, and when.
    doomed: Option<(Duration, u64)>,
    journal: Journal,
    down: BTreeMap<u64, bool>,
    /// Machines whose disk was made to fail.
    failing: BTreeMap<u64, bool>,
    seen: BTreeMap<u64, Glance>,
    /// What was done: (when, which kind, words).
    pub(super) log: Vec<(Duration, FaultKind, String)>,
}

impl Faults {
    /// The faults of a plan; the first comes once the cluster had time to begin.
    pub(super) fn new(plan: &Plan, journal: Journal) -> Self {
        Self {
            plan: plan.clone(),
            rng: plan.rng(3_000),
            next: Duration::from_millis(900),
            undo: Vec::new(),
            cuts: Cuts::default(),
            doomed: None,
            journal,
            down: BTreeMap::new(),
            failing: BTreeMap::new(),
            seen: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Between two steps: undoes what is over, breaks what is due, and restarts what ended.
    pub(super) fn step(&mut self, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        let now = sim.elapsed();
        self.undo_until(now, sim, machines);
        self.notice_ends(now, sim, machines, watch);
        self.crash_at_moments(now, sim, machines, watch);
        self.lose_the_doomed(now, sim, machines, watch);
        if now >= self.next && !(self.plan.quiet && self.busy()) {
            let mean = self.plan.fault_pause.as_millis() as u64;
            self.next = now + Duration::from_millis(self.rng.random_range(mean / 4..(mean * 2).max(1)));
            self.inject(now, sim, machines, watch);
        }
    }

    /// Whether a fault is still active; in a quiet world the next one waits for its end.
    fn busy(&self) -> bool {
        !self.undo.is_empty() || self.doomed.is_some()
    }

    /// When the set of active faults last changed, if there are any.
    pub(super) fn since(&self) -> Option<Duration> {
        let last = self.log.last().map(|(at, ..)| *at);
        last.filter(|_| !self.undo.is_empty() && self.doomed.is_none())
    }

    /// Machines that are up.
    pub(super) fn running(&self, machines: &[Machine]) -> Vec<u64> {
        self.up(machines)
    }

    /// Removes every fault and starts every machine.
    pub(super) fn heal(&mut self, sim: &mut turmoil::Sim<'_>, machines: &[Machine]) {
        self.doomed = None;
        self.undo_until(Duration::MAX, sim, machines);
    }

    /// After healing: a machine that ends now may do so only because its disk had been made to fail.
    pub(super) fn tend(&mut self, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        self.notice_ends(sim.elapsed(), sim, machines, watch);
        self.undo_until(sim.elapsed(), sim, machines);
    }

    fn lasts(&mut self) -> Duration {
        let range = if self.plan.quiet { LASTS_QUIETLY_MS } else { LASTS_MS };
        Duration::from_millis(self.rng.random_range(range))
    }

    fn up(&self, machines: &[Machine]) -> Vec<u64> {
        machines.iter().map(|machine| machine.id).filter(|id| !self.down.contains_key(id)).collect()
    }

    fn tell(&mut self, now: Duration, kind: FaultKind, words: String) {
        self.log.push((now, kind, words));
    }

    fn inject(&mut self, now: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        let triggered =
            |kind: &FaultKind| !matches!(kind, FaultKind::Churn | FaultKind::Clocks | FaultKind::CrashAtMoment);
        let kinds: Vec<FaultKind> = self.plan.kinds.iter().copied().filter(triggered).collect();
        if kinds.is_empty() {
            return;
        }
        let kind = *pick(&mut self.rng, &kinds);
        let up = self.up(machines);
        if up.is_empty() {
            return;
        }
        let one = *pick(&mut self.rng, &up);
        let until = now + self.lasts();
        match kind {
            FaultKind::CrashOne => self.crash(now, kind, one, sim, machines, watch),
            FaultKind::CrashMany => {
                let all = self.rng.random_bool(0.5);
                for id in up {
                    if all || self.rng.random_bool(0.5) {
                        self.crash(now, kind, id, sim, machines, watch);
                    }
                }
            }
            FaultKind::Partition => self.partition(now, until, sim, machines),
            FaultKind::Graph => self.graph(now, until, sim, machines),
            FaultKind::Bridge => self.bridge(now, until, sim, machines, watch),
            FaultKind::TransferLoss => self.doom(now, one, watch),
            FaultKind::OneWay | FaultKind::Hold => {
                let other = *pick(&mut self.rng, &up);
                if one == other {
                    return;
                }
                if kind == FaultKind::Hold {
                    sim.hold(name(one), name(other));
                    self.undo.push((until, Undo::Release(one, other)));
                } else {
                    sim.partition_oneway(name(one), name(other));
                    self.undo.push((until, Undo::RepairOneWay(one, other)));
                }
                self.tell(now, kind, format!("{one} -> {other}"));
            }
            FaultKind::SlowDisk => {
                if let Some(machine) = machines.iter().find(|machine| machine.id == one) {
                    let slow = Duration::from_millis(self.rng.random_range(20..120));
                    machine.disk.set_pace(slow / 2, slow, self.rng.random());
                    self.undo.push((until, Undo::FastDisk(one)));
                    self.tell(now, kind, format!("node {one}, up to {slow:?} a step"));
                }
            }
            FaultKind::DiskError => {
                if let Some(machine) = machines.iter().find(|machine| machine.id == one) {
                    let fault = if self.rng.random_bool(0.5) { SimFault::Sync } else { SimFault::Apply };
                    machine.disk.fail_next(fault);
                    self.failing.insert(one, true);
                    self.tell(now, kind, format!("node {one}, {fault:?}"));
                }
            }
            FaultKind::CrashAtMoment | FaultKind::Churn | FaultKind::Clocks => {}
        }
    }

    fn partition(&mut self, now: Duration, until: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine]) {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for machine in machines {
            if self.rng.random_bool(0.4) { left.push(machine.id) } else { right.push(machine.id) }
        }
        for &a in &left {
            for &b in &right {
                self.cut(a, b, until, sim);
            }
        }
        if !left.is_empty() && !right.is_empty() {
            self.tell(now, FaultKind::Partition, format!("{left:?} | {right:?}"));
        }
    }

    /// Nothing passes between two machines; a second cut of the same pair only makes it last longer.
    fn cut(&mut self, a: u64, b: u64, until: Duration, sim: &turmoil::Sim<'_>) {
        sim.partition(name(a), name(b));
        self.cuts.add(a, b);
        self.undo.push((until, Undo::Repair(a.min(b), a.max(b))));
    }

    /// Any graph may remain: a chain, a star, a ring, islands.
    fn graph(&mut self, now: Duration, until: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine]) {
        let share = *pick(&mut self.rng, &[0.2, 0.4, 0.6]);
        let mut cut = Vec::new();
        for (at, a) in machines.iter().enumerate() {
            for b in machines.iter().skip(at + 1) {
                if self.rng.random_bool(share) {
                    self.cut(a.id, b.id, until, sim);
                    cut.push(format!("{}-{}", a.id, b.id));
                }
            }
        }
        if !cut.is_empty() {
            self.tell(now, FaultKind::Graph, cut.join(" "));
        }
    }

    /// The leader keeps one follower, which keeps as many others as form a majority with it.
    fn bridge(
        &mut self,
        now: Duration,
        until: Duration,
        sim: &mut turmoil::Sim<'_>,
        machines: &[Machine],
        watch: &Watch,
    ) {
        let Some(leader) = watch.leader() else { return };
        let mut others: Vec<u64> = machines.iter().map(|machine| machine.id).filter(|id| *id != leader).collect();
        let bridge = *pick(&mut self.rng, &others);
        others.retain(|other| *other != bridge);
        for &other in &others {
            self.cut(leader, other, until, sim);
        }
        // Those that are left must need the bridge for a majority, or they would elect one of themselves without it.
        let needed = machines.len() / 2;
        let lost: Vec<u64> = others.get(needed..).unwrap_or_default().to_vec();
        for &one in &lost {
            for other in machines.iter().map(|machine| machine.id).filter(|other| *other != one && *other != leader) {
                self.cut(one, other, until, sim);
            }
        }
        self.tell(now, FaultKind::Bridge, format!("{leader} (leader) reaches {bridge} only, and {lost:?} nobody"));
    }

    /// Has leadership handed over to a machine that will be lost before it can take it, or just after.
    fn doom(&mut self, now: Duration, target: u64, watch: &Watch) {
        let Some(leader) = watch.leader().filter(|leader| *leader != target) else { return };
        let after = Duration::from_millis(self.rng.random_range(LOST_AFTER_MS));
        self.journal.ask_transfer(leader, target);
        self.doomed = Some((now + after, target));
    }

    fn lose_the_doomed(&mut self, now: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        let Some((_, target)) = self.doomed.filter(|(at, _)| *at <= now) else { return };
        self.doomed = None;
        if self.rng.random_bool(0.5) {
            return self.crash(now, FaultKind::TransferLoss, target, sim, machines, watch);
        }
        let until = now + self.lasts();
        for other in machines.iter().map(|machine| machine.id).filter(|id| *id != target) {
            self.cut(target, other, until, sim);
        }
        self.tell(now, FaultKind::TransferLoss, format!("node {target} cut off"));
    }

    fn crash(
        &mut self,
        now: Duration,
        kind: FaultKind,
        id: u64,
        sim: &mut turmoil::Sim<'_>,
        machines: &[Machine],
        watch: &mut Watch,
    ) {
        let Some(machine) = machines.iter().find(|machine| machine.id == id) else { return };
        if self.down.insert(id, true).is_some() {
            return;
        }
        let unsynced = machine.disk.unsynced();
        sim.crash(name(id));
        let rng = &mut self.rng;
        machine.disk.crash_by_chance(&mut |bound| rng.random_range(0..bound.max(1)));
        machine.clear();
        watch.crashed(id);
        self.seen.remove(&id);
        self.failing.remove(&id);
        let until = now + self.lasts();
        self.undo.push((until, Undo::Restart(id)));
        self.tell(now, kind, format!("node {id}, {unsynced} unsynced writes"));
    }

    /// A node that ended by itself restarts after a while.
    fn notice_ends(&mut self, now: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        for machine in machines {
            let Some(why) = machine.inside.lock().ended.take() else { continue };
            let failing = self.failing.remove(&machine.id).is_some();
            watch.expect(failing, || format!("node {} ended by itself: {why}", machine.id));
            self.crash(now, FaultKind::DiskError, machine.id, sim, machines, watch);
        }
    }

    fn crash_at_moments(&mut self, now: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine], watch: &mut Watch) {
        if !self.plan.has(FaultKind::CrashAtMoment) {
            return;
        }
        for id in self.up(machines) {
            let Some(seen_now) = watch.observed.get(&id).copied() else { continue };
            let before = self.seen.insert(id, seen_now).unwrap_or(seen_now);
            let moment = seen_now.term != before.term
                || seen_now.snapshot != before.snapshot
                || seen_now.purged != before.purged
                || seen_now.membership != before.membership
                || seen_now.installs != before.installs
                || seen_now.leads != before.leads;
            if moment && self.rng.random_bool(AT_MOMENT) {
                self.crash(now, FaultKind::CrashAtMoment, id, sim, machines, watch);
            }
        }
    }

    fn undo_until(&mut self, now: Duration, sim: &mut turmoil::Sim<'_>, machines: &[Machine]) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        if self.plan.quiet && !due.is_empty() {
            self.next = now.saturating_add(QUIET_PAUSE);
        }
        for (_, undo) in due {
            match undo {
                Undo::Restart(id) => {
                    sim.bounce(name(id));
                    self.down.remove(&id);
                }
                // Another partition may still separate them.
                Undo::Repair(..) if self.undo.iter().any(|(_, other)| *other == undo) => {}
                Undo::Repair(a, b) => {
                    sim.repair(name(a), name(b));
                    self.cuts.remove(a, b);
                }
                Undo::RepairOneWay(from, to) => sim.repair_oneway(name(from), name(to)),
                Undo::Release(a, b) => sim.release(name(a), name(b)),
                Undo::FastDisk(id) => {
                    if let Some(machine) = machines.iter().find(|machine| machine.id == id) {
                        machine.disk.set_pace(self.plan.disk.0, self.plan.disk.1, self.rng.random());
                    }
                }
            }
        }
    }
}
