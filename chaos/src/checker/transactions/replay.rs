//! Replays the transactions in the order of the log, and looks for places for those that nobody was told of, such that
//! every answer, every read and every refusal is explained.
//!
//! The search is `wgl.rs`, with the log's order in the place of time: an acknowledged transaction takes effect at its
//! place, and what has no place takes effect in one of the slots in which it can.
//!
//! Invariant: a history is rejected only if no places explain it.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::super::wgl::{self, Budget, Call, SearchResult, Spec};
use super::Findings;
use super::gather::{Fate, Sight, Transaction};
use super::slots::Slots;
use super::tally::Tally;
use super::world::{World, attributes};
use crate::history::{After, Attributes, Branch, OpId, Txn};

/// Time that all names may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Worlds that are held at once.
const CONFIGURATIONS_MAX: usize = 100_000;
/// Open operations that are shown beside one that cannot be explained.
const SHOWN_OPEN: usize = 4;

/// What takes effect.
enum Step<'a> {
    /// An acknowledged transaction.
    Told { txn: &'a Txn, branch: Branch, names: &'a [After] },
    /// One that nobody was told of.
    Untold { txn: &'a Txn },
    /// One that was refused because an addition was out of bounds.
    OutOfBounds { txn: &'a Txn },
    /// A read.
    Seen { name: &'a str, attributes: &'a Attributes },
}

/// The attributes of names that transactions join.
struct Replay<'a>(PhantomData<&'a ()>);

impl<'a> Spec for Replay<'a> {
    type State = World<'a>;
    type Op = Step<'a>;

    fn initial(&self) -> World<'a> {
        World::default()
    }

    fn step(&self, world: &World<'a>, step: &Step<'a>) -> Option<World<'a>> {
        match *step {
            Step::Told { txn, branch, names } => told(world, txn, branch, names),
            Step::Untold { txn } => {
                world.branches(txn, &|_| None).into_iter().find_map(|branch| world.after(txn.changes(branch)))
            }
            Step::OutOfBounds { txn } => {
                let refuses = |branch: Branch| world.after(txn.changes(branch)).is_none();
                world.branches(txn, &|_| None).into_iter().any(refuses).then(|| world.clone())
            }
            Step::Seen { name, attributes } => world.shows(name, attributes).then(|| world.clone()),
        }
    }

    fn other(&self, world: &World<'a>, step: &Step<'a>) -> Option<World<'a>> {
        let Step::Untold { txn } = *step else { return None };
        let worlds = world.branches(txn, &|_| None).into_iter().filter_map(|branch| world.after(txn.changes(branch)));
        worlds.skip(1).last()
    }

    fn is_pure(&self, step: &Step<'a>) -> bool {
        matches!(step, Step::OutOfBounds { .. } | Step::Seen { .. })
    }
}

/// The world after an acknowledged transaction, if it explains the answer.
fn told<'a>(world: &World<'a>, txn: &'a Txn, branch: Branch, names: &[After]) -> Option<World<'a>> {
    let version = |name: &str| names.iter().find(|after| after.name == name).map(|after| after.version);
    if !world.branches(txn, &version).contains(&branch) {
        return None;
    }
    let after = world.after(txn.changes(branch))?;
    names.iter().all(|told| after.shows(&told.name, &told.attributes)).then_some(after)
}

/// Calls of names that transactions join.
#[derive(Default)]
struct Group<'a> {
    calls: Vec<Call<Step<'a>>>,
    owners: Vec<Option<OpId>>,
}

/// Replays everything.
pub(super) fn replay<'a>(
    transactions: &[Transaction<'a>],
    sights: &[Sight<'a>],
    slots: &Slots,
    tally: &Tally<'a>,
    findings: &mut Findings,
) {
    let mut joined = Joined::default();
    for one in transactions {
        joined.join(&one.txn.names());
    }
    let mut groups: BTreeMap<&str, Group<'a>> = BTreeMap::new();
    let mut push = |name: &'a str, step: Step<'a>, times: (u64, u64), certain: bool, owner: Option<OpId>| {
        let group = groups.entry(joined.root(name)).or_default();
        group.calls.push(Call { op: step, invoked: times.0, returned: Some(times.1), certain });
        group.owners.push(owner);
    };
    for (index, one) in transactions.iter().enumerate() {
        let (txn, owner) = (one.txn, Some(one.shown));
        let Some(name) = txn.names().into_iter().next() else { continue };
        match one.fate {
            Fate::Applied { at, branch, names } => {
                let time = slots.number(at) as u64 * 2;
                push(name, Step::Told { txn, branch, names }, (time, time), true, owner);
            }
            Fate::Open => {
                if let Some(known) = tally.open.get(&index) {
                    push(
                        name,
                        Step::Untold { txn },
                        times(*known.slots.start(), *known.slots.end()),
                        known.certain,
                        owner,
                    );
                }
            }
            Fate::OutOfBounds => {
                let met = slots.between(one.began, one.end);
                push(name, Step::OutOfBounds { txn }, times(*met.start(), *met.end()), true, owner);
            }
            Fate::Never => {}
        }
    }
    for sight in sights {
        let seen = slots.seen_by(sight);
        let shown: Vec<OpId> = sight.shown.into_iter().collect();
        findings.expect(!seen.is_empty(), &shown, || {
            format!("a read of {} was answered from index {}, before what it has to include", sight.name, sight.applied)
        });
        if !seen.is_empty() {
            let step = Step::Seen { name: sight.name, attributes: sight.attributes };
            push(sight.name, step, times(*seen.start(), *seen.end()), true, sight.shown);
        }
    }
    let broken: BTreeSet<&str> = tally.broken.iter().map(|name| joined.root(name)).collect();
    let deadline = Instant::now() + WITHIN;
    for (root, group) in groups {
        // That was told, and everything after it would be told as well.
        if !broken.contains(root) {
            judge(root, &group, deadline.saturating_duration_since(Instant::now()), findings);
        }
    }
}

/// A span of slots as times: slot `n` is at `2n + 1`, the transaction with number `n` at `2n`.
fn times(from: usize, until: usize) -> (u64, u64) {
    (from as u64 * 2 + 1, until as u64 * 2 + 1)
}

fn judge(root: &str, group: &Group<'_>, time: Duration, findings: &mut Findings) {
    let certain = group.calls.iter().filter(|call| call.certain).count();
    let budget = Budget { time, configurations: CONFIGURATIONS_MAX };
    match wgl::search(&Replay(PhantomData), &group.calls, budget) {
        SearchResult::Accepted => findings.checks += certain as u64,
        SearchResult::Undecided { explained } => {
            findings.checks += explained as u64;
            findings.undecided.push(format!(
                "{root} and the names joined to it: the replay was given up after {explained} of {certain} operations"
            ));
        }
        SearchResult::Rejected { call, open, states } => {
            let others = open.into_iter().filter_map(|other| group.owners.get(other).copied().flatten());
            let mut shown: Vec<OpId> = group.owners.get(call).copied().flatten().into_iter().collect();
            shown.extend(others.take(SHOWN_OPEN));
            findings.expect(false, &shown, || {
                let what = group.calls.get(call).map(|call| words(&call.op)).unwrap_or_default();
                let before = match states.as_slice() {
                    [only] => format!("only this was possible: {only}"),
                    [first, ..] => format!("{} states were possible, such as {first}", states.len()),
                    [] => "nothing was possible".into(),
                };
                format!("no order of the transactions explains that {what}; before it {before}")
            });
        }
    }
}

fn words(step: &Step<'_>) -> String {
    match step {
        Step::Told { branch, names, .. } => {
            let branch = if *branch == Branch::Then { "then" } else { "else" };
            let names: Vec<String> = names.iter().map(|after| attributes(&after.name, &after.attributes)).collect();
            format!("a transaction took the branch `{branch}` and left {}", names.join(", "))
        }
        Step::Untold { .. } => "a transaction of unknown outcome was applied".into(),
        Step::OutOfBounds { txn } => {
            format!("a transaction on {} was out of bounds", Vec::from_iter(txn.names()).join(" and "))
        }
        Step::Seen { name, attributes: seen } => format!("a read saw {}", attributes(name, seen)),
    }
}

/// Names that transactions join to others.
#[derive(Default)]
struct Joined<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Joined<'a> {
    fn root(&self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(next) = self.0.get(name) {
            name = next;
        }
        name
    }

    fn join(&mut self, names: &BTreeSet<&'a str>) {
        let mut names = names.iter();
        let Some(first) = names.next() else { return };
        for name in names {
            let (one, other) = (self.root(first), self.root(name));
            if one != other {
                self.0.insert(one, other);
            }
        }
    }
}
