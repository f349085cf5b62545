//! Runs one seed from its first step to its verdict.
//!
//! Invariant: nothing here waits for real time; a step of the simulation, the faults and the
//! watch alternate on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::actor::Actor;
use super::faults::Faults;
use super::guest::Guest;
use super::journal::Journal;
use super::liveness::Liveness;
use super::machine::{Machine, Neighbours};
use super::net::name;
use super::outcome::Outcome;
use super::plan::{FaultKind, Plan};
use super::watch::Watch;
use super::{actor, admin, entropy, heal, probe};
use crate::checker;
use crate::history::{Event, FORMAT, FaultOutcome, FaultRecord, Micros, Record, RunInfo};
use crate::model::Model;
use crate::report;
use crate::report::Verdict;

/// How long the healed cluster may take until it served a client everything, in simulated time.
const HEAL_WITHIN: Duration = Duration::from_secs(60);
/// How long the members may take to come to the same applied index.
const EQUAL_WITHIN: Duration = Duration::from_secs(20);
/// A request whose client gave up is applied within this time, or never.
const LATE_REQUESTS: Duration = Duration::from_secs(6);
/// Clients' requests that are still under way when the second phase begins end within this time.
const SETTLE: Duration = Duration::from_millis(200);

/// Clients that change attributes.
const BANKS: usize = 2;
/// Peers that fall silent.
const GUESTS: u64 = 3;

/// Checkers of what only real processes have.
const OF_REAL_RUNS: [&str; 3] = ["replication", "logs", "resources"];

/// Runs a seed on its own thread; one process should run no more than one.
pub fn run_seed(seed: u64, tell: bool) -> Outcome {
    let began = Instant::now();
    let panics = collect_panics();
    // Made on this thread: what it draws must not change what the simulation draws.
    let logs = tell.then(node_logs);
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(64 << 20).spawn(move || {
        let _logs = logs.as_ref().map(tracing::dispatcher::set_default);
        entropy::seed_this_thread(seed);
        let mut cluster = SimCluster::new(seed, tell);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| cluster.run())) {
            let words = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a task panicked".into());
            cluster.watch.expect(false, || words);
        }
        let outcome = cluster.outcome();
        // The simulation's runtimes would be dropped outside of it.
        std::mem::forget(cluster);
        outcome
    });
    let joined = thread.map(std::thread::JoinHandle::join);
    let mut outcome = match joined {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => broken(seed, "the simulation itself panicked"),
    };
    outcome.violations.extend(panics.lock().drain(..).map(|words| format!("a panic: {words}")));
    outcome.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome.judged()
}

/// The nodes' own logs on standard error, as far as `RUST_LOG` asks for them; each line names its machine.
fn node_logs() -> tracing::Dispatch {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    tracing::Dispatch::new(subscriber.finish())
}

fn collect_panics() -> std::sync::Arc<parking_lot::Mutex<Vec<String>>> {
    let panics = std::sync::Arc::<parking_lot::Mutex<Vec<String>>>::default();
    let into = panics.clone();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("{info}");
        into.lock().push(info.to_string());
    }));
    panics
}

/// A seed that came to nothing but a violation.
pub(super) fn broken(seed: u64, words: &str) -> Outcome {
    Outcome { seed, verdict: Verdict::Violation, violations: vec![words.to_owned()], ..Outcome::default() }
}

struct SimCluster {
    plan: Plan,
    sim: turmoil::Sim<'static>,
    machines: Vec<Machine>,
    faults: Faults,
    watch: Watch,
    liveness: Liveness,
    journal: Journal,
    steps: u64,
    tell: bool,
    told: usize,
    digests: u64,
    /// What the second phase's client came to.
    read_back: Rc<RefCell<Option<Result<(), String>>>>,
    /// Whether nothing that clients asked for is under way any more.
    quiet: Rc<Cell<bool>>,
    /// The members that it reads from, once they are known.
    members: Rc<RefCell<Option<Vec<u64>>>>,
}

impl SimCluster {
    fn new(seed: u64, tell: bool) -> Self {
        let plan = Plan::new(seed);
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(std::time::SystemTime::UNIX_EPOCH)
            .simulation_duration(Duration::from_secs(100_000))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(plan.latency.0)
            .max_message_latency(plan.latency.1)
            .tcp_capacity(1_024)
            .build();
        let neighbours = Neighbours::default();
        let machines = (1..=plan.machines).map(|id| Machine::new(id, &plan, &neighbours)).collect();
        let journal = Journal::default();
        Self {
            faults: Faults::new(&plan, journal.clone()),
            plan,
            sim,
            machines,
            watch: Watch::default(),
            liveness: Liveness::default(),
            journal,
            steps: 0,
            tell,
            told: 0,
            digests: 0,
            read_back: Rc::default(),
            quiet: Rc::default(),
            members: Rc::default(),
        }
    }

    fn run(&mut self) {
        if self.tell {
            eprintln!("{:?}", self.plan);
        }
        for machine in self.machines.clone() {
            self.sim.host(name(machine.id), move || machine.clone().run());
        }
        self.start_clients();
        while self.sim.elapsed() < self.plan.safety {
            self.faults.step(&mut self.sim, &self.machines, &mut self.watch);
            self.step();
            if self.plan.quiet {
                self.liveness.observe(self.sim.elapsed(), &self.faults, &self.machines, &self.journal, &mut self.watch);
            }
        }
        self.journal.end();
        let until = self.sim.elapsed() + SETTLE;
        while self.sim.elapsed() < until {
            self.step();
        }
        self.faults.heal(&mut self.sim, &self.machines);
        self.heal();
    }

    fn start_clients(&mut self) {
        let (plan, journal) = (self.plan.clone(), self.journal.clone());
        let (members, read_back, quiet) = (self.members.clone(), self.read_back.clone(), self.quiet.clone());
        self.sim.host("clients", move || {
            let (plan, journal) = (plan.clone(), journal.clone());
            let (members, read_back, quiet) = (members.clone(), read_back.clone(), quiet.clone());
            async move {
                let mut working = tokio::task::JoinSet::new();
                for number in 0..plan.clients {
                    working.spawn_local(Actor::new(number, &plan, journal.clone()).run());
                }
                for number in 0..BANKS {
                    working.spawn_local(actor::bank(number, plan.clone(), journal.clone()));
                }
                for number in 0..GUESTS {
                    working.spawn_local(Guest::new(number, &plan, journal.clone()).run());
                }
                if plan.quiet {
                    for node in 1..=plan.founders {
                        working.spawn_local(probe::run(node, journal.clone()));
                    }
                }
                if plan.has(FaultKind::TransferLoss) {
                    working.spawn_local(admin::hand_over(journal.clone()));
                }
                if plan.has(FaultKind::Churn) {
                    working.spawn_local(admin::run(plan, journal.clone()));
                }
                while working.join_next().await.is_some() {}
                tokio::time::sleep(LATE_REQUESTS).await;
                quiet.set(true);
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let wanted = members.borrow_mut().take();
                    if let Some(members) = wanted {
                        let outcome = heal::read_back(members, journal.clone()).await;
                        *read_back.borrow_mut() = Some(outcome);
                    }
                }
            }
        });
    }

    fn step(&mut self) {
        self.steps += 1;
        if let Err(error) = self.sim.step() {
            self.watch.expect(false, || format!("the simulation ended: {error}"));
        }
        self.watch.observe(self.steps, &self.machines, &self.journal);
        while let Some((at, kind, words)) = self.faults.log.get(self.told) {
            if self.tell {
                eprintln!("{:>9} {} {words}", at.as_micros(), kind.name());
            }
            self.watch.note(&format!("{at:?} {kind:?} {words};"));
            self.told += 1;
        }
    }

    /// The members and their leader, as the leader knows them.
    fn led_members(&self) -> Option<Vec<u64>> {
        let nodes = self.machines.iter().filter_map(Machine::node);
        // Nothing here may ask for the time: between two steps there is no simulated one.
        let leader = nodes.filter(|node| node.leads()).max_by_key(|node| node.term())?;
        Some(leader.members().keys().copied().collect())
    }

    fn heal(&mut self) {
        let began = self.sim.elapsed();
        let deadline = began + HEAL_WITHIN;
        let mut asked = false;
        loop {
            self.faults.tend(&mut self.sim, &self.machines, &mut self.watch);
            self.step();
            // A change of members that was under way may still come about.
            if !asked
                && self.quiet.get()
                && let Some(members) = self.led_members()
            {
                *self.members.borrow_mut() = Some(members);
                asked = true;
            }
            let outcome = self.read_back.borrow_mut().take();
            match outcome {
                Some(Ok(())) => break,
                Some(Err(why)) => return self.not_healed(why),
                None if self.sim.elapsed() > deadline => {
                    let why = if asked { "the client's read-back hangs" } else { "no leader" };
                    return self.not_healed(why.into());
                }
                None => {}
            }
        }
        let after_us = micros(self.sim.elapsed().saturating_sub(began));
        self.journal.record_at(micros(self.sim.elapsed()), Record::Healed { after_us });
        self.compare_members();
    }

    fn not_healed(&mut self, reason: String) {
        self.journal.record_at(micros(self.sim.elapsed()), Record::NotHealed { reason });
    }

    /// All members come to the same index, and are equal there.
    fn compare_members(&mut self) {
        let deadline = self.sim.elapsed() + EQUAL_WITHIN;
        loop {
            self.step();
            let members = self.led_members().unwrap_or_default();
            let states: Vec<_> = self
                .machines
                .iter()
                .filter(|machine| members.contains(&machine.id))
                .filter_map(|machine| Some((machine.id, machine.inside.lock().live.as_ref()?.state.clone())))
                .collect();
            let applied: Vec<_> = states.iter().map(|(_, state)| state.applied_index().unwrap_or(0)).collect();
            let equal = !members.is_empty()
                && states.len() == members.len()
                && applied.windows(2).all(|pair| pair.first() == pair.last());
            if !equal && self.sim.elapsed() < deadline {
                continue;
            }
            self.watch.expect(equal, || format!("the members {members:?} do not come to one index: {applied:?}"));
            self.digests = states.len() as u64;
            let at = micros(self.sim.elapsed());
            for ((node, state), applied) in states.into_iter().zip(applied) {
                let digest = state.read().catalog().digest().to_string();
                self.journal.record_at(at, Record::Digest { node, applied, digest });
            }
            return;
        }
    }

    fn history(&self) -> Vec<Event> {
        let run = RunInfo {
            format: FORMAT,
            scenario: "simulation".into(),
            seed: self.plan.seed,
            nodes: self.digests,
            rounds: 1,
            clients: self.plan.clients,
            fastest_clock_permille: self.plan.fastest_permille(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..RunInfo::default()
        };
        let mut events = vec![Event { at: 0, record: Record::Run(run) }];
        events.extend(self.journal.take());
        for (at, kind, _) in &self.faults.log {
            let fault = FaultRecord {
                round: 1,
                fault: kind.name(),
                node: None,
                led: false,
                term: None,
                outcome: FaultOutcome::Installed,
            };
            events.push(Event { at: micros(*at), record: Record::Fault(fault) });
        }
        events.sort_by_key(|event| event.at);
        events
    }

    fn outcome(&mut self) -> Outcome {
        let history = self.history();
        for event in &history {
            match serde_json::to_string(event) {
                Ok(line) => {
                    if self.tell {
                        eprintln!("{line}");
                    }
                    self.watch.note(&line);
                }
                Err(error) => self.watch.expect(false, || format!("an event that cannot be written: {error}")),
            }
        }
        let checkers: Vec<_> =
            checker::ALL.iter().copied().filter(|checker| !OF_REAL_RUNS.contains(&checker.name)).collect();
        let report = report::judge(&Model::new(&history), &checkers, None);
        let mut violations = std::mem::take(&mut self.watch.violations);
        let mut shortcomings = Vec::new();
        let mut properties = BTreeMap::new();
        for property in &report.properties {
            properties.insert(property.name.clone(), property.findings.checks);
            for finding in &property.findings.first {
                let words = format!("{}: {} (operations {:?})", property.name, finding.what, finding.operations);
                violations.push(words);
            }
            shortcomings.extend(property.findings.undecided.iter().map(|why| format!("{}: {why}", property.name)));
        }
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for (_, kind, _) in &self.faults.log {
            *faults.entry(kind.name().to_string()).or_default() += 1;
        }
        for kind in [FaultKind::Churn, FaultKind::Clocks].into_iter().filter(|kind| self.plan.has(*kind)) {
            faults.insert(kind.name().to_string(), 1);
        }
        Outcome {
            trace: self.watch.trace(),
            simulated_ms: micros(self.sim.elapsed()) / 1_000,
            acknowledged: report.acknowledged,
            unknown: report.unknown,
            refused: report.refused,
            checks: self.watch.checks + report.properties.iter().map(|property| property.findings.checks).sum::<u64>(),
            properties,
            violations,
            shortcomings,
            faults,
            happened: self.journal.counts(),
            ..broken(self.plan.seed, "")
        }
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
