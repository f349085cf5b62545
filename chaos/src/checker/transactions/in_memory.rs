//! An index in memory that the workload's clients can use, whole or with a bug: histories for the checker that are
//! right, or wrong, by construction.
//!
//! Invariant: without a bug every operation takes effect at one moment between its request and its answer, or, where
//! nobody is told, at some moment later.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::world::World;
use crate::history::{After, Answer, Attributes, Branch, Event, FORMAT, Op, OpId, Record, RunInfo, Seen, Txn};
use crate::model::Model;
use crate::workload::RawOutcome;
use crate::workload::bank::Bank;
use crate::workload::keyed::{Habits, Request, Wire};

/// How long the clients work, in simulated time.
const WORKS: Duration = Duration::from_secs(20);
/// Clients.
const CLIENTS: usize = 3;

/// What goes wrong, now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// Nothing.
    None,
    /// The last operation of a transaction is not done.
    LosesAnOperation,
    /// A request is applied again, although its key was used.
    ForgetsKeys,
    /// A refused transaction leaves what it did until then.
    HalfOfARefusedOne,
    /// A strong read is answered from an older state.
    StaleReads,
    /// The other branch is taken.
    OtherBranch,
    /// A transaction is refused that need not be.
    RefusesTooMuch,
    /// An acknowledged transaction is gone.
    LosesAcknowledged,
}

struct Index {
    world: World<'static>,
    /// Older states, by the index at which they ended.
    past: Vec<(u64, World<'static>)>,
    applied: u64,
    answers: BTreeMap<String, (Txn, Result<Answer, &'static str>)>,
    events: Vec<Event>,
    next: OpId,
    began: Instant,
    bug: Bug,
    rng: StdRng,
}

impl Index {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn record(&mut self, record: Record) {
        let at = self.now();
        self.events.push(Event { at, record });
    }

    fn errs(&mut self, bug: Bug) -> bool {
        self.bug == bug && self.rng.random_bool(0.02)
    }

    fn move_to(&mut self, world: World<'static>) {
        let old = std::mem::replace(&mut self.world, world);
        self.past.push((self.applied - 1, old));
    }

    /// Applies a transaction, unless its key was used.
    fn apply(&mut self, key: &str, txn: &Txn) -> Result<Answer, &'static str> {
        if let Some((body, answer)) = self.answers.get(key).cloned() {
            if body != *txn {
                return Err("key_reused");
            }
            if !self.errs(Bug::ForgetsKeys) {
                return answer;
            }
        }
        // A test may leak.
        let leaked: &'static Txn = Box::leak(Box::new(txn.clone()));
        self.applied += 1;
        let branch = match (self.world.branches(leaked, &|_| Some(None))[0], self.errs(Bug::OtherBranch)) {
            (Branch::Then, true) => Branch::Else,
            (Branch::Else, true) => Branch::Then,
            (branch, false) => branch,
        };
        let changes = leaked.changes(branch);
        let done = if self.errs(Bug::LosesAnOperation) { &changes[..changes.len().saturating_sub(1)] } else { changes };
        let answer = match self.world.after(done) {
            Some(world) if !self.errs(Bug::RefusesTooMuch) => {
                let mut names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                let after = |name: &str| After {
                    name: name.to_owned(),
                    version: None,
                    attributes: world.of(name).cloned().unwrap_or_default(),
                };
                let names = names.into_iter().map(after).collect();
                if !self.errs(Bug::LosesAcknowledged) {
                    self.move_to(world);
                }
                Ok(Answer::Applied { branch, txn: format!("{}.0", self.applied), names })
            }
            _ => {
                if self.bug == Bug::HalfOfARefusedOne
                    && let Some(world) = self.world.after(&changes[..changes.len() - 1])
                {
                    self.move_to(world);
                }
                Err("out_of_bounds")
            }
        };
        self.answers.insert(key.to_owned(), (txn.clone(), answer.clone()));
        answer
    }

    fn seen(&self, applied: u64) -> Option<Seen> {
        Some(Seen { node: 1, boot: "b".into(), applied, index: None })
    }

    fn read(&mut self, name: &str) -> (Attributes, u64) {
        if self.errs(Bug::StaleReads) && self.past.len() > 20 {
            let (applied, world) = &self.past[self.past.len() - 20];
            return (world.of(name).cloned().unwrap_or_default(), *applied);
        }
        (self.world.of(name).cloned().unwrap_or_default(), self.applied)
    }
}

#[derive(Clone)]
struct InMemory(Rc<RefCell<Index>>);

impl InMemory {
    async fn on_the_way(&self) {
        let ms = self.0.borrow_mut().rng.random_range(0..20);
        sleep(Duration::from_millis(ms)).await;
    }
}

impl Wire for InMemory {
    fn nodes(&self) -> u64 {
        3
    }

    fn is_over(&self) -> bool {
        self.0.borrow().began.elapsed() > WORKS
    }

    fn invoke(&self, client: &str, op: Op, key: Option<String>, _to: u64) -> OpId {
        let mut index = self.0.borrow_mut();
        index.next += 1;
        let id = index.next;
        index.record(Record::Invoke { id, client: client.to_owned(), op, key, to: None });
        id
    }

    fn record(&self, record: Record) {
        self.0.borrow_mut().record(record);
    }

    async fn post(&mut self, _node: u64, request: &Request, _limit: Duration) -> RawOutcome {
        self.on_the_way().await;
        let Op::Txn(txn) = &request.write.op else {
            // Nobody gets a lease here.
            return match &request.write.op {
                Op::Register { .. } => RawOutcome::Ok(serde_json::json!({"incarnation": 1}), None),
                _ => RawOutcome::Ok(serde_json::json!({"granted": false, "holder": "somebody"}), None),
            };
        };
        let fate = self.0.borrow_mut().rng.random_range(0..100);
        let lost = || RawOutcome::Unknown("lost".into());
        match fate {
            0..4 => return lost(),
            4..8 => {
                // It comes late, perhaps after the client did something else.
                let (late, key, txn) = (self.clone(), request.key.clone(), txn.clone());
                let ms = self.0.borrow_mut().rng.random_range(0..2_000);
                tokio::task::spawn_local(async move {
                    sleep(Duration::from_millis(ms)).await;
                    drop(late.0.borrow_mut().apply(&key, &txn));
                });
                return lost();
            }
            8..12 => return RawOutcome::Refused("no_quorum".into(), String::new()),
            _ => {}
        }
        let answer = self.0.borrow_mut().apply(&request.key, txn);
        let seen = {
            let index = self.0.borrow();
            index.seen(index.applied)
        };
        self.on_the_way().await;
        match answer {
            _ if fate < 18 => lost(),
            Ok(Answer::Applied { branch, txn, names }) => {
                let branch = if branch == Branch::Then { "then" } else { "else" };
                RawOutcome::Ok(serde_json::json!({"branch": branch, "txn": txn, "names": names}), seen)
            }
            Ok(_) => lost(),
            Err(code) => RawOutcome::Refused(code.into(), String::new()),
        }
    }

    async fn get(
        &mut self,
        _node: u64,
        path: &str,
        query: &[(&str, &str)],
        _limit: Duration,
    ) -> crate::workload::Heard {
        self.on_the_way().await;
        let value = query.first().map(|(_, value)| *value).unwrap_or_default();
        let (body, seen) = {
            let mut index = self.0.borrow_mut();
            if path == "/txn" {
                let told = |(_, answer): &(Txn, Result<Answer, _>)| match answer {
                    Ok(Answer::Applied { branch, txn, names }) if txn == value => {
                        let branch = if *branch == Branch::Then { "then" } else { "else" };
                        Some(serde_json::json!({"branch": branch, "txn": txn, "names": names}))
                    }
                    _ => None,
                };
                (index.answers.values().find_map(told), index.seen(index.applied))
            } else {
                let (attributes, applied) = index.read(value);
                (Some(serde_json::json!({"version": null, "attributes": attributes})), index.seen(applied))
            }
        };
        self.on_the_way().await;
        match body {
            Some(body) => (RawOutcome::Ok(body, seen.clone()), seen),
            None => (RawOutcome::Refused("not_found".into(), String::new()), seen),
        }
    }
}

/// The history of a run of the workload's clients on such an index.
pub(super) async fn history(seed: u64, bug: Bug) -> Model {
    let index = Index {
        world: World::default(),
        past: Vec::new(),
        applied: 0,
        answers: BTreeMap::new(),
        events: Vec::new(),
        next: 0,
        began: Instant::now(),
        bug,
        rng: StdRng::seed_from_u64(seed),
    };
    let wire = InMemory(Rc::new(RefCell::new(index)));
    wire.record(Record::Run(RunInfo { format: FORMAT, nodes: 1, rounds: 1, ..RunInfo::default() }));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let rng = StdRng::seed_from_u64(seed * 10 + number as u64);
        let habits = Habits { attempt_ms: 1..9, repeats: 0.2, pause_ms: Some(50), session: number == 0 };
        clients.spawn_local(Bank::new(wire.clone(), number, rng, habits, 60).run());
    }
    while clients.join_next().await.is_some() {}
    // What is late comes, or never does.
    sleep(Duration::from_secs(3)).await;
    let mut index = wire.0.borrow_mut();
    let names: Vec<String> =
        ["accounts/0", "accounts/1", "accounts/2", "records/0", "records/1", "leased/0", "leased/1"]
            .map(str::to_owned)
            .to_vec();
    index.bug = Bug::None;
    for name in names {
        let (attributes, applied) = index.read(&name);
        index.record(Record::FinalAttributes { node: 1, name, attributes, applied: Some(applied) });
    }
    index.events.sort_by_key(|event| event.at);
    Model::new(&index.events)
}
