//! Proves: a node that reaches no majority acknowledges no write and answers no strong read, and its stale reads go on.
//!
//! Source: rules W1, R1 and R4; the partitions of Jepsen's tests.
//!
//! Cannot see: which node answered where the library was used; those operations count only while no node at all reaches a
//! majority.

use std::collections::BTreeSet;

use super::{Checker, Findings};
use crate::history::{Level, Micros, Op};
use crate::model::{Model, Operation, Outcome};

/// A leader that lost its majority may serve reads at the level `leader` for as long as its lease lasts.
const LEADER_LEASE: Micros = 2_000_000;

/// How long a process may suffer from what was done to it.
const PROCESS_FAULT_MAX: Micros = 10_000_000;

/// Nothing strong comes from a minority.
pub const CHECKER: Checker = Checker { name: "quorum", property: "a minority acknowledges nothing", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let ends = model.quorums.iter().skip(1).map(|(at, ..)| *at).chain([Micros::MAX]);
    let spans = model.quorums.iter().zip(ends).filter(|((_, without, _), _)| !without.is_empty());
    for ((from, without, majority), until) in spans {
        let without: BTreeSet<u64> = without.iter().copied().collect();
        for operation in model.operations.values().filter(|operation| (*from + 1..until).contains(&operation.began)) {
            if operation.completed.is_some_and(|at| at < until) {
                judge(model, operation, *from, &without, !majority, &mut findings);
            } else if waited(operation, &without, !majority) {
                findings.checks += 1;
            }
        }
    }
    if model.quorums.iter().all(|(_, without, _)| without.is_empty()) {
        // Nothing was taken apart: there is nothing to decide.
        findings.checks += 1;
    }
    findings
}

fn judge(
    model: &Model,
    operation: &Operation,
    from: Micros,
    without: &BTreeSet<u64>,
    all: bool,
    findings: &mut Findings,
) {
    let answered_by = match &operation.outcome {
        Outcome::Ok(_, Some(seen)) => Some(seen.node),
        Outcome::Ok(_, None) | Outcome::Refused(_) | Outcome::Unknown => None,
    };
    let asked = match &operation.op {
        Op::Read { node, .. } => *node,
        _ => None,
    };
    let concerns = all || answered_by.or(asked).is_some_and(|node| without.contains(&node));
    if !concerns {
        return;
    }
    let done = operation.answer().is_some();
    match &operation.op {
        // It may wait for an index that does not come.
        Op::Read { level: Level::Stale, min_index: Some(_), .. } => {}
        Op::Read { level: Level::Stale, node, .. } => {
            // A node that lives has to answer; what one of which that is not known did answer counts as well.
            let has_to = |node| done || lives(model, node, from, operation.end());
            if node.is_some_and(|node| without.contains(&node) && has_to(node)) {
                findings.expect(done, &[operation.id], || "a stale read failed without a majority".to_owned());
            }
        }
        Op::Read { level: Level::Leader, .. } if operation.invoked < from + LEADER_LEASE => {}
        Op::Read { .. } => findings.expect(!done || elsewhere(operation, without), &[operation.id], || {
            "a strong read was answered without a majority".to_owned()
        }),
        _ => findings.expect(!done, &[operation.id], || "a write was acknowledged without a majority".to_owned()),
    }
}

/// Whether an operation that only a majority can carry out was asked of the minority and had no answer while it was one.
fn waited(operation: &Operation, without: &BTreeSet<u64>, all: bool) -> bool {
    match &operation.op {
        Op::Read { level: Level::Stale | Level::Leader, .. } => false,
        Op::Read { node, .. } => all || node.is_some_and(|node| without.contains(&node)),
        _ => all,
    }
}

/// Whether nothing was done to a node's process shortly before it lost its majority, nor since.
fn lives(model: &Model, node: u64, from: Micros, until: Micros) -> bool {
    let begun = model.struck.partition_point(|(at, _)| *at + PROCESS_FAULT_MAX < from);
    !model.struck[begun..].iter().take_while(|(at, _)| *at <= until).any(|(_, struck)| *struck == node)
}

/// A node that was asked may have got its answer from one that has a majority, and says so.
fn elsewhere(operation: &Operation, without: &BTreeSet<u64>) -> bool {
    matches!(&operation.outcome, Outcome::Ok(_, Some(seen)) if !without.contains(&seen.node))
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{Answer, FaultOutcome, Record, Seen};

    fn read(level: Level) -> Op {
        Op::Read { file: "f".into(), level, node: Some(2), min_index: None }
    }

    fn answered(node: u64) -> End {
        End::Seen(
            Answer::File { version: 2, hash: "h2".into() },
            Seen { node, boot: "b".into(), applied: 9, index: None },
        )
    }

    fn parted(without: &[u64]) -> Sample {
        let mut sample = good();
        sample.record(300, Record::Quorum { without: without.to_vec(), majority: without.len() < 2 });
        sample
    }

    #[test]
    fn a_strong_read_by_the_minority_is_caught() {
        let mut sample = parted(&[2]);
        sample
            .op((301, 302), read(Level::Stale), answered(2))
            .record(400, Record::Quorum { without: vec![], majority: true });
        sample.op((401, 402), read(Level::Linearizable), answered(2));
        sample.accepted_by(&CHECKER);
        sample.op((303, 304), read(Level::Linearizable), answered(2));
        sample.caught_by(&CHECKER, "strong read");
    }

    #[test]
    fn a_write_without_any_majority_is_caught() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), acquire("a", "f", 9), denied("b"));
        sample.op((310, 311), read(Level::Stale), answered(2));
        sample.accepted_by(&CHECKER);
        let mut sample = parted(&[1, 2, 3]);
        sample.op((301, 302), acquire("a", "f", 9), denied("b"));
        sample.caught_by(&CHECKER, "a write was acknowledged");
    }

    #[test]
    fn a_strong_read_that_waits_until_the_majority_is_back_shows_the_property() {
        let mut sample = parted(&[2]);
        sample.record(400, Record::Quorum { without: vec![], majority: true });
        sample.op((301, 500), read(Level::Stale), answered(2));
        assert_eq!(sample.check(&CHECKER).checks, 0, "a stale read says nothing about it");
        sample.op((301, 500), read(Level::Linearizable), answered(2));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_stale_read_that_fails_is_caught() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read(Level::Stale), End::Refused("no_quorum"));
        sample.caught_by(&CHECKER, "a stale read failed");
        sample.record(300, fault("kill", 2, FaultOutcome::Installed));
        assert_eq!(sample.check(&CHECKER).checks, 0, "a killed node need not answer");
        sample.op((303, 304), read(Level::Stale), answered(2));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_leader_read_is_allowed_for_the_length_of_its_lease() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read(Level::Leader), answered(2));
        sample.op((303, 304), read(Level::Stale), answered(2));
        sample.accepted_by(&CHECKER);
        sample.op((9_301, 9_302), read(Level::Leader), answered(2));
        sample.caught_by(&CHECKER, "strong read");
    }
}
