//! A client that changes attributes by transactions: deposits within bounds, transfers between two accounts, notes that
//! are replaced only where they are as the client last saw them, records that come and go, and changes of names that
//! it, or somebody else, has leased. It reads attributes at every level, and asks what became of its transactions.
//!
//! Invariant: every transaction adds a number of its own to the attribute [`TRACE`] of each of its names that it does
//! not delete, in both branches. So the sum in a later answer tells which transactions were applied by then, and how
//! often. A repeat carries the very body of the first request, unless it is meant to be refused as `key_reused`.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_store::types::limits;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::keyed::{Habits, Keyed, Request, Wire};
use super::raw::RawOutcome;
use super::txn::{applied_answer, attributes_answer};
use super::write::{Lease, Write};
use super::zombie::RawWire;
use super::{Context, Settled, WorkloadError, level_text, settled};
use crate::history::{
    Action, After, Answer, AttributeValue, Attributes, Change, Comparison, Condition, Level, Op, Record, Txn,
};

/// The attribute that transactions leave their trace in.
pub(crate) const TRACE: &str = "trace";
/// What one adds to it: so large that few sums are equal by chance, and so small that millions of them fit.
pub(crate) const TRACES: std::ops::Range<i64> = 1 << 39..1 << 40;

/// Names of these clients begin with it.
const PREFIX: &str = "bank";
/// Accounts that all of them use.
const ACCOUNTS: u32 = 3;
/// Records that come and go.
const RECORDS: u32 = 2;
/// Names that they lease.
const LEASED: u32 = 2;
/// No balance is below 0, or above this.
const BALANCE_MAX: i64 = 120;
/// Durations of leases, in milliseconds.
const TTLS_MS: [u64; 2] = [300, 900];
/// Limit of one read; longer than a node waits for a log index (2 s).
const READ_WITHIN: Duration = Duration::from_millis(2_500);
/// Requests, and ids of transactions, that are kept to be repeated or asked for.
const OLD_MAX: usize = 32;
/// Newer keys after which neither is done any more: opaque keys are remembered for 1,024 newer ones (X2).
const NEWER_KEYS_MAX: u64 = limits::OPAQUE_KEYS_PER_PEER as u64 / 2;
/// Deadlines of single attempts at real nodes, in milliseconds; many are shorter than a failover.
const ATTEMPT_MS: std::ops::Range<u64> = 30..900;
/// Longest pause before a write is tried again at real nodes, in milliseconds.
const RETRY_PAUSE_MS: u64 = 100;

/// The client.
pub(crate) struct Bank<W> {
    pub(crate) client: Keyed<W>,
    /// Longest pause between two operations, in milliseconds.
    pause_ms: u64,
    /// What it last saw of each name.
    known: BTreeMap<String, Attributes>,
    /// Newest log index of its own transactions.
    written: u64,
    /// Its newest transactions: the number of the key, and the id.
    applied: Vec<(u64, String)>,
    old: Vec<Request>,
    tags: u64,
}

/// A client of real nodes.
pub(super) fn start(
    context: Context,
    number: usize,
    seed: u64,
) -> Result<impl Future<Output = ()> + Send + use<>, WorkloadError> {
    let rng = StdRng::seed_from_u64(!seed.wrapping_mul(1_000_039).wrapping_add(number as u64));
    let habits = Habits { attempt_ms: ATTEMPT_MS, repeats: 0.1, pause_ms: Some(RETRY_PAUSE_MS), session: false };
    let pause_ms = context.workload.pause_ms * 2;
    let wire = RawWire::new(context)?;
    Ok(Bank::new(wire, number, rng, habits, pause_ms).run())
}

impl<W: Wire> Bank<W> {
    /// Client number `number`.
    pub(crate) fn new(wire: W, number: usize, rng: StdRng, habits: Habits, pause_ms: u64) -> Self {
        let client = Keyed { wire, name: format!("{PREFIX}-{number}"), rng, keys: 0, habits };
        let (known, applied, old) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { client, pause_ms, known, written: 0, applied, old, tags: 0 }
    }

    /// Works until the run ends.
    pub(crate) async fn run(mut self) {
        while !self.client.wire.is_over() && !self.register().await {
            self.client.pause(RETRY_PAUSE_MS).await;
        }
        while !self.client.wire.is_over() {
            match self.client.rng.random_range(0..100) {
                0..54 => {
                    let txn = self.draw();
                    self.send(txn, None).await;
                }
                54..63 => self.under_a_lease().await,
                63..90 => self.read().await,
                90..95 => self.look_up().await,
                _ => self.repeat_an_old_one().await,
            }
            self.client.pause(self.pause_ms).await;
        }
    }

    async fn register(&mut self) -> bool {
        let request = self.client.request(Write::register(&self.client.name, false));
        self.client.insist(&request).await.is_some()
    }

    /// A transaction that needs no lease.
    fn draw(&mut self) -> Txn {
        let rng = &mut self.client.rng;
        let account = format!("accounts/{}", rng.random_range(0..ACCOUNTS));
        let amount = rng.random_range(1..=BALANCE_MAX / 2);
        match rng.random_range(0..100) {
            0..25 => {
                let by = if rng.random_bool(0.5) { amount } else { -amount };
                self.traced(&[&account], vec![], vec![balance(&account, by)], vec![])
            }
            kind @ 25..62 => {
                let to = format!("accounts/{}", rng.random_range(0..ACCOUNTS));
                if to == account {
                    return self.traced(&[&account], vec![], vec![balance(&account, amount)], vec![]);
                }
                // Without the condition the credit comes first, and the debit may fail: then nothing is done.
                let has = Condition::Attribute {
                    name: account.clone(),
                    attr: "balance".into(),
                    is: Comparison::AtLeast,
                    value: AttributeValue::Integer(amount),
                };
                let conditions = if kind < 42 { vec![has] } else { vec![] };
                let then = vec![balance(&to, amount), balance(&account, -amount)];
                self.traced(&[&account, &to], conditions, then, vec![])
            }
            62..76 => self.replace_the_note(&account),
            76..92 => self.come_or_go(&account),
            _ => {
                // Twice this is more than an integer holds.
                let add = Action::Add { attr: "large".into(), by: i64::MAX / 2 + 1, min: None, max: None };
                let unset = Action::Unset { attr: "large".into() };
                let action = if rng.random_bool(0.7) { add } else { unset };
                self.traced(&[&account], vec![], vec![change(&account, action)], vec![])
            }
        }
    }

    /// Replaces the note if it is what this client last saw.
    fn replace_the_note(&mut self, account: &str) -> Txn {
        let tag = self.tag();
        let note = self.known.get(account).and_then(|known| known.get("note").cloned());
        let (name, attr) = (account.to_owned(), "note".to_owned());
        let condition = match note {
            Some(value) => Condition::Attribute { name, attr, is: Comparison::Equal, value },
            // A missing attribute satisfies it, and so does any note but this one, which nobody wrote yet.
            None => Condition::Attribute { name, attr, is: Comparison::NotEqual, value: tag.clone() },
        };
        let set = |attr: &str| vec![change(account, Action::Set { attr: attr.into(), value: tag.clone() })];
        self.traced(&[account], vec![condition], set("note"), set("missed"))
    }

    /// Creates a record, or ends it if it is there; the account shows that it happened.
    fn come_or_go(&mut self, account: &str) -> Txn {
        let value = self.tag();
        let record = format!("records/{}", self.client.rng.random_range(0..RECORDS));
        let condition = Condition::Exists { name: record.clone(), exists: false };
        let then = vec![change(&record, Action::Set { attr: "made".into(), value })];
        let otherwise = vec![change(&record, Action::Delete)];
        self.traced(&[&record, account], vec![condition], then, otherwise)
    }

    /// A transaction that leaves its trace in all its names, after the first operation of each branch.
    fn traced(&mut self, names: &[&str], conditions: Vec<Condition>, then: Vec<Change>, otherwise: Vec<Change>) -> Txn {
        let by = self.client.rng.random_range(TRACES);
        let fence = then.first().and_then(|change| change.fence);
        let with_traces = |mut changes: Vec<Change>| {
            let ends = |name: &str| changes.iter().any(|one| one.name == name && one.action == Action::Delete);
            let trace = |name: &&str| {
                let add = Action::Add { attr: TRACE.into(), by, min: None, max: None };
                Change { fence, ..change(name, add) }
            };
            let traces: Vec<Change> = names.iter().filter(|name| !ends(name)).map(trace).collect();
            let at = changes.len().min(1);
            changes.splice(at..at, traces);
            changes
        };
        let (then, otherwise) = (with_traces(then), with_traces(otherwise));
        Txn { peer: self.client.name.clone(), conditions, then, otherwise }
    }

    fn tag(&mut self) -> AttributeValue {
        self.tags += 1;
        AttributeValue::Text(format!("{}-{}", self.client.name, self.tags))
    }

    /// Sends a transaction until an answer decides, now and then another one under the same key. Returns its names as
    /// they are after it, if it was acknowledged.
    async fn send(&mut self, txn: Txn, lease: Option<&Lease>) -> Option<Vec<After>> {
        let request = self.client.request(Write::txn(txn, lease));
        let answered = self.client.insist(&request).await;
        let names = answered.and_then(|(answer, _)| self.learn(&answer, request.number));
        if self.client.rng.random_bool(0.06) {
            let other = Request { write: Write::txn(self.draw(), None), ..request.clone() };
            if let Settled::Answered(answer, ..) = self.client.attempt(&other).await {
                self.learn(&answer, request.number);
            }
        }
        // Below the floor of a session a key is not remembered (X2).
        if !self.client.habits.session {
            self.old.push(request);
            let excess = self.old.len().saturating_sub(OLD_MAX);
            self.old.drain(..excess);
        }
        names
    }

    fn learn(&mut self, answer: &Answer, number: u64) -> Option<Vec<After>> {
        let Answer::Applied { txn, names, .. } = answer else { return None };
        let index = txn.split('.').next().and_then(|index| index.parse().ok()).unwrap_or(0);
        self.written = self.written.max(index);
        self.applied.push((number, txn.clone()));
        let excess = self.applied.len().saturating_sub(OLD_MAX);
        self.applied.drain(..excess);
        self.known.extend(names.iter().map(|after| (after.name.clone(), after.attributes.clone())));
        Some(names.clone())
    }

    /// Takes a lease and changes the name under it, also when it is over; where somebody else has it, without it.
    async fn under_a_lease(&mut self) {
        let name = format!("leased/{}", self.client.rng.random_range(0..LEASED));
        let ttl_ms = TTLS_MS[self.client.rng.random_range(0..TTLS_MS.len())];
        let acquire = self.client.request(Write::acquire(&self.client.name, &name, ttl_ms, false));
        let granted = self.client.insist(&acquire).await;
        let lease = granted.and_then(|(answer, value)| Lease::granted(&acquire.write, &answer, &value));
        let Some(lease) = lease else {
            let without = self.deposit(&name, None, vec![]);
            self.send(without, None).await;
            return;
        };
        let mut version = lease.version;
        for _ in 0..self.client.rng.random_range(1..3) {
            let mut conditions = vec![Condition::Lease { name: name.clone(), fence: lease.fence }];
            if version > 0 && self.client.rng.random_bool(0.5) {
                conditions.push(Condition::Version { name: name.clone(), version });
            }
            let txn = self.deposit(&name, Some(lease.fence), conditions);
            self.send(txn, Some(&lease)).await;
            if self.client.rng.random_bool(0.2) {
                let publish = lease.publish(&mut self.client.rng, true);
                let publish = self.client.request(publish);
                if let Some((Answer::Published { version: published }, _)) = self.client.insist(&publish).await {
                    version = published;
                }
            }
        }
        match self.client.rng.random_range(0..10) {
            0..5 => {
                let release = self.client.request(lease.release());
                self.client.insist(&release).await;
            }
            5..7 => return,
            _ => {
                tokio::time::sleep(lease.ttl() + Duration::from_millis(100)).await;
            }
        }
        // Under a token that is most likely dead.
        let late = self.deposit(&name, Some(lease.fence), vec![]);
        self.send(late, Some(&lease)).await;
    }

    fn deposit(&mut self, name: &str, fence: Option<u64>, conditions: Vec<Condition>) -> Txn {
        let value = self.tag();
        let then = vec![
            Change { fence, ..change(name, Action::Add { attr: "n".into(), by: 1, min: None, max: None }) },
            Change { fence, ..change(name, Action::Set { attr: "note".into(), value }) },
        ];
        self.traced(&[name], conditions, then, vec![])
    }

    /// Reads the attributes of any name at any level from any node.
    async fn read(&mut self) {
        let rng = &mut self.client.rng;
        let name = match rng.random_range(0..4) {
            0..2 => format!("accounts/{}", rng.random_range(0..ACCOUNTS)),
            2 => format!("records/{}", rng.random_range(0..RECORDS)),
            _ => format!("leased/{}", rng.random_range(0..LEASED)),
        };
        let level = any_level(rng);
        let min_index = (self.written > 0 && rng.random_bool(0.3)).then_some(self.written);
        let node = self.client.node();
        let op = Op::ReadAttributes { name: name.clone(), level, node, min_index };
        let index = min_index.map(|index| index.to_string());
        let mut query = vec![("name", name.as_str()), ("consistency", level_text(level))];
        query.extend(index.as_deref().map(|index| ("min_index", index)));
        let nothing = Answer::Attributes { version: None, attributes: Attributes::new() };
        let answer = self.ask(op, "/file", &query, nothing, attributes_answer).await;
        if let Some(Answer::Attributes { attributes, .. }) = answer {
            self.known.insert(name, attributes);
        }
    }

    /// Asks what became of one of its transactions.
    async fn look_up(&mut self) {
        let newest = self.client.keys;
        self.applied.retain(|(number, _)| newest - number < NEWER_KEYS_MAX);
        if self.applied.is_empty() {
            return;
        }
        let rng = &mut self.client.rng;
        let (_, txn) = self.applied[rng.random_range(0..self.applied.len())].clone();
        let level = any_level(rng);
        let node = self.client.node();
        let op = Op::LookUp { txn: txn.clone(), level, node };
        let query = [("id", txn.as_str()), ("consistency", level_text(level))];
        self.ask(op, "/txn", &query, Answer::Forgotten, applied_answer).await;
    }

    /// Asks a node and writes down what it answered; 404 stands for `nothing`.
    async fn ask(
        &mut self,
        op: Op,
        path: &str,
        query: &[(&str, &str)],
        nothing: Answer,
        read: impl FnOnce(&serde_json::Value) -> Option<Answer>,
    ) -> Option<Answer> {
        let (Op::ReadAttributes { node, .. } | Op::LookUp { node, .. }) = op else { return None };
        let id = self.client.wire.invoke(&self.client.name, op, None, node);
        let (outcome, seen) = self.client.wire.get(node, path, query, READ_WITHIN).await;
        let (record, answer) = match outcome {
            RawOutcome::Refused(code, _) if code == "not_found" => {
                (Record::Ok { id, answer: nothing.clone(), seen }, Some(nothing))
            }
            outcome => match settled(id, outcome, read) {
                (record, Settled::Answered(answer, ..)) => (record, Some(answer)),
                (record, Settled::Refused(_) | Settled::Unknown) => (record, None),
            },
        };
        self.client.wire.record(record);
        answer
    }

    /// Long after its answer: a repeat must get the same one again (X1).
    async fn repeat_an_old_one(&mut self) {
        let newest = self.client.keys;
        self.old.retain(|request| newest - request.number < NEWER_KEYS_MAX);
        if !self.old.is_empty() {
            let request = self.old[self.client.rng.random_range(0..self.old.len())].clone();
            self.client.attempt(&request).await;
        }
    }
}

fn any_level(rng: &mut StdRng) -> Level {
    match rng.random_range(0..3) {
        0 => Level::Linearizable,
        1 => Level::Leader,
        _ => Level::Stale,
    }
}

fn change(name: &str, action: Action) -> Change {
    Change { name: name.to_owned(), action, fence: None }
}

/// Adds to a balance, within its bounds.
fn balance(account: &str, by: i64) -> Change {
    change(account, Action::Add { attr: "balance".into(), by, min: Some(0), max: Some(BALANCE_MAX) })
}
