//! Adds up the traces: each transaction adds a number of its own to [`TRACE`] of its names, so what an acknowledged one
//! shows more than itself and the one before it must be the sum of some that nobody was told of.
//!
//! So an addition that is lost or done twice shows at the next answer, and those of unknown outcome are found out:
//! whether each was applied, and between which two of the others.
//!
//! Invariant: what is found out follows from the sums alone. Where two sets have the same sum, or the search for one
//! takes too long, nothing is found out about them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::Findings;
use super::gather::{Fate, Sight, Transaction};
use super::slots::Slots;
use crate::history::{Action, AttributeValue, Attributes, Branch, OpId, Txn};
use crate::workload::bank::TRACE;

/// Sums that are tried to explain one answer.
const SUMS_MAX: usize = 3_000_000;

/// What is known of a transaction that nobody was told of.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// In which slots it was applied, if it was.
    pub(super) slots: RangeInclusive<usize>,
    /// Whether it certainly was.
    pub(super) certain: bool,
}

/// What the sums tell.
pub(super) struct Tally<'a> {
    /// The transactions of unknown outcome that may have been applied, by their number.
    pub(super) open: BTreeMap<usize, Known>,
    /// Names whose sums contradict what is known.
    pub(super) broken: BTreeSet<&'a str>,
}

/// An answer that shows a name's trace.
struct Shown {
    /// The number of the acknowledged transaction; one more than the last for the read after healing.
    number: usize,
    /// What it adds itself.
    own: i64,
    trace: i64,
    by: Option<OpId>,
}

/// What a transaction adds to a name's trace in either branch; nothing if that depends, or if it may end the name.
fn trace_in(txn: &Txn, name: &str) -> Option<i64> {
    let of = |branch: Branch| {
        let mut sum = 0_i64;
        for change in txn.changes(branch).iter().filter(|change| change.name == name) {
            match &change.action {
                Action::Add { attr, by, .. } if attr == TRACE => sum = sum.checked_add(*by)?,
                Action::Delete => return None,
                Action::Set { attr, .. } | Action::Unset { attr } if attr == TRACE => return None,
                Action::Set { .. } | Action::Add { .. } | Action::Unset { .. } => {}
            }
        }
        Some(sum)
    };
    let (then, otherwise) = (of(Branch::Then)?, of(Branch::Else)?);
    (then == otherwise && then > 0).then_some(then)
}

fn trace_of(attributes: &Attributes) -> i64 {
    attributes.get(TRACE).and_then(AttributeValue::integer).unwrap_or(0)
}

/// Adds up.
pub(super) fn tally<'a>(
    transactions: &[Transaction<'a>],
    sights: &[Sight<'a>],
    slots: &Slots,
    findings: &mut Findings,
) -> Tally<'a> {
    let all = |one: &Transaction<'_>| slots.known_before(one.began)..=slots.last();
    let open = transactions.iter().enumerate().filter(|(_, one)| matches!(one.fate, Fate::Open));
    let open = open.map(|(index, one)| (index, Known { slots: all(one), certain: false })).collect();
    let mut tally = Tally { open, broken: BTreeSet::new() };
    let may_be_applied = |one: &&Transaction<'_>| matches!(one.fate, Fate::Applied { .. } | Fate::Open);
    let names: BTreeSet<&'a str> = transactions
        .iter()
        .filter(may_be_applied)
        .flat_map(|one| one.txn.then.iter().chain(&one.txn.otherwise))
        .map(|change| change.name.as_str())
        .collect();
    let mut never: BTreeMap<usize, &'a str> = BTreeMap::new();
    for name in names {
        let touching = || transactions.iter().filter(may_be_applied).filter(|one| one.txn.names().contains(name));
        if touching().all(|one| trace_in(one.txn, name).is_some()) {
            one_name(name, transactions, sights, slots, &mut tally, &mut never, findings);
        }
    }
    for (index, missing) in never {
        let Some(known) = tally.open.remove(&index) else { continue };
        let shown = transactions[index].shown;
        findings.expect(!known.certain, &[shown], || {
            format!("a transaction of unknown outcome was applied, but not to {missing}")
        });
    }
    tally
}

fn one_name<'a>(
    name: &'a str,
    transactions: &[Transaction<'a>],
    sights: &[Sight<'a>],
    slots: &Slots,
    tally: &mut Tally<'a>,
    never: &mut BTreeMap<usize, &'a str>,
    findings: &mut Findings,
) {
    let mut left: Vec<(usize, i64)> = tally
        .open
        .keys()
        .filter_map(|index| {
            let txn = transactions[*index].txn;
            txn.names().contains(name).then(|| trace_in(txn, name).map(|by| (*index, by))).flatten()
        })
        .collect();
    left.sort_unstable_by_key(|(_, by)| std::cmp::Reverse(*by));
    let (mut before, mut trace) = (0, 0_i64);
    for shown in shown(name, transactions, sights, slots) {
        let rest = shown.trace.wrapping_sub(trace).wrapping_sub(shown.own);
        let begun = |(index, _): &&(usize, i64)| *tally.open[index].slots.start() < shown.number;
        let possible: Vec<(usize, i64)> = left.iter().filter(begun).copied().collect();
        let sums = Sums::search(&possible, rest);
        let operations: Vec<OpId> = shown.by.into_iter().collect();
        match (sums.found.as_slice(), sums.tried <= SUMS_MAX) {
            ([set], true) => {
                findings.checks += 1;
                for index in set {
                    left.retain(|(other, _)| other != index);
                    if let Some(known) = tally.open.get_mut(index) {
                        let from = before.max(*known.slots.start());
                        let until = (shown.number - 1).min(*known.slots.end());
                        *known = Known { slots: from..=until, certain: true };
                        findings.expect(from <= until, &[transactions[*index].shown], || {
                            format!("a transaction of unknown outcome was applied to {name} and its other names at different times")
                        });
                    }
                }
            }
            ([], true) => {
                findings.expect(false, &operations, || {
                    let what = if rest < 0 {
                        "an addition was lost"
                    } else {
                        "an addition was done twice, or by a refused one"
                    };
                    format!("{name}: {what}: its trace is {}, which leaves {rest} unexplained", shown.trace)
                });
                tally.broken.insert(name);
                return;
            }
            // Two sets have the same sum, or there are too many: the search by order decides.
            _ => return,
        }
        (before, trace) = (shown.number, shown.trace);
    }
    if before > slots.last() {
        never.extend(left.into_iter().map(|(index, _)| (index, name)));
    }
}

/// Everything that shows the name's trace at a known place, in the order of the log.
fn shown(name: &str, transactions: &[Transaction<'_>], sights: &[Sight<'_>], slots: &Slots) -> Vec<Shown> {
    let mut all: Vec<Shown> = transactions
        .iter()
        .filter_map(|one| {
            let Fate::Applied { at, names, .. } = one.fate else { return None };
            let after = names.iter().find(|after| after.name == name)?;
            let own = trace_in(one.txn, name)?;
            Some(Shown { number: slots.number(at), own, trace: trace_of(&after.attributes), by: Some(one.shown) })
        })
        .collect();
    all.sort_by_key(|shown| shown.number);
    let last =
        sights.iter().filter(|sight| sight.shown.is_none() && sight.name == name).max_by_key(|sight| sight.applied);
    all.extend(last.map(|sight| Shown {
        number: slots.last() + 1,
        own: 0,
        trace: trace_of(sight.attributes),
        by: None,
    }));
    all
}

/// A search for the sets of numbers that have a certain sum; it ends with the second.
struct Sums<'a> {
    numbers: &'a [(usize, i64)],
    /// The sum of the numbers from each on.
    rest: Vec<i64>,
    found: Vec<Vec<usize>>,
    tried: usize,
}

impl<'a> Sums<'a> {
    /// All numbers are positive, the greatest first.
    fn search(numbers: &'a [(usize, i64)], sum: i64) -> Self {
        let mut rest = vec![0; numbers.len() + 1];
        for (index, (_, number)) in numbers.iter().enumerate().rev() {
            rest[index] = number.saturating_add(rest[index + 1]);
        }
        let mut search = Self { numbers, rest, found: Vec::new(), tried: 0 };
        if sum >= 0 {
            search.from(0, sum, &mut Vec::new());
        }
        search
    }

    fn from(&mut self, index: usize, sum: i64, set: &mut Vec<usize>) {
        self.tried += 1;
        if sum == 0 {
            self.found.push(set.clone());
            return;
        }
        let smallest = self.numbers.last().map_or(i64::MAX, |(_, number)| *number);
        for next in index..self.numbers.len() {
            if self.found.len() > 1 || self.tried > SUMS_MAX || sum < smallest || self.rest[next] < sum {
                return;
            }
            let (which, number) = self.numbers[next];
            // Every number of the set is at most this one from here on.
            if number <= sum {
                set.push(which);
                self.from(next + 1, sum - number, set);
                set.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(numbers: &[i64], sum: i64) -> Vec<Vec<usize>> {
        let numbers: Vec<(usize, i64)> = numbers.iter().copied().enumerate().collect();
        Sums::search(&numbers, sum).found
    }

    #[test]
    fn sets_are_found_by_their_sum_and_two_are_enough() {
        let none: Vec<Vec<usize>> = Vec::new();
        assert_eq!(sums(&[9, 5, 3], 0), [Vec::<usize>::new()]);
        assert_eq!(sums(&[9, 5, 3], 12), [vec![0, 2]]);
        assert_eq!(sums(&[9, 5, 3], 17), [vec![0, 1, 2]]);
        assert_eq!(sums(&[9, 5, 3], 7), none);
        assert_eq!(sums(&[9, 5, 3], -1), none);
        assert_eq!(sums(&[9, 5, 4, 4, 1], 9).len(), 2);
    }
}
