//! Proves: a node that reaches no majority acknowledges no write and answers no strong read.
//!
//! Source: rules W1, R1 and R4; the partitions of Jepsen's tests. That its stale reads go on is `availability`'s.
//!
//! Cannot see: which node was asked where the library chose it; those operations count only
//! while no node at all reaches a majority.

use super::{Checker, Findings, while_apart};
use crate::history::{Level, Micros, Op};
use crate::model::{Apart, Model, Operation, Outcome};

/// A leader that lost its majority may serve reads at the level `leader` for as long as its lease lasts.
const LEADER_LEASE: Micros = 2_000_000;

/// A client that waited this long for an answer of a node without a majority, in vain, is evidence: an answer of one
/// that has a majority takes a few milliseconds.
const WAITED_MIN: Micros = 100_000;

/// The code with which a node says that it reaches no majority.
const NO_QUORUM: &str = "no_quorum";

/// Nothing strong comes from a minority.
pub const CHECKER: Checker = Checker { name: "quorum", property: "a minority acknowledges nothing", check };

fn check(model: &Model) -> Findings {
    while_apart(model, judge)
}

fn judge(operation: &Operation, apart: &Apart, findings: &mut Findings) {
    let needs_majority = match &operation.op {
        Op::Read { level: Level::Stale, .. }
        | Op::Search { level: None | Some(Level::Stale), .. }
        | Op::ReadAttributes { level: Level::Stale, .. }
        | Op::LookUp { level: Level::Stale, .. } => false,
        Op::Read { level: Level::Leader, .. }
        | Op::Search { level: Some(Level::Leader), .. }
        | Op::ReadAttributes { level: Level::Leader, .. }
        | Op::LookUp { level: Level::Leader, .. } => operation.invoked >= apart.from + LEADER_LEASE,
        _ => true,
    };
    if !needs_majority || !concerns(operation, apart) {
        return;
    }
    if operation.completed.is_some_and(|at| at < apart.until) {
        let answered = operation.answer().is_some();
        if matches!(&operation.outcome, Outcome::Refused(code) if code != NO_QUORUM) {
            // A node that is down, or a request that no log is needed to refuse: that says nothing.
            return;
        }
        let what = if operation.op.is_read() {
            "a strong read was answered without a majority"
        } else {
            "a write was acknowledged without a majority"
        };
        findings.expect(!answered, &[operation.id], || what.to_owned());
    } else if waited(operation, apart) >= WAITED_MIN {
        findings.checks += 1;
    }
}

/// Whether a node without a majority answered, or was asked and nobody else answered.
fn concerns(operation: &Operation, apart: &Apart) -> bool {
    // A node that was asked may have got its answer from one that has a majority, and says so.
    let answered_by = match &operation.outcome {
        Outcome::Ok(_, Some(seen)) => Some(seen.node),
        Outcome::Ok(_, None) | Outcome::Refused(_) | Outcome::Unknown => None,
    };
    !apart.majority || answered_by.or(operation.asked).is_some_and(|node| apart.without.contains(&node))
}

/// How long its client waited while the node was without a majority.
fn waited(operation: &Operation, apart: &Apart) -> Micros {
    let ended = operation.given_up.or(operation.completed).unwrap_or(operation.invoked);
    ended.min(apart.until).saturating_sub(operation.invoked)
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{Answer, Record};

    #[test]
    fn a_strong_read_by_the_minority_is_caught() {
        let mut sample = parted(&[2]);
        sample.record(400, Record::Quorum { without: vec![], majority: true });
        sample.op((301, 302), read_of(2, Level::Linearizable), End::Refused("no_quorum"));
        sample.op((301, 302), read_of(2, Level::Linearizable), answered_by(1));
        sample.op((401, 402), read_of(2, Level::Linearizable), answered_by(2));
        sample.accepted_by(&CHECKER);
        sample.op((303, 304), read_of(2, Level::Linearizable), answered_by(2));
        sample.caught_by(&CHECKER, "strong read");
    }

    #[test]
    fn a_write_by_the_minority_is_caught() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), acquire("a", "f", 9), denied("b"));
        sample.to(1).op((301, 302), acquire("a", "f", 9), denied("b"));
        sample.to(2).op((301, 302), acquire("a", "f", 9), End::Refused("no_quorum"));
        sample.accepted_by(&CHECKER);
        sample.to(2).op((303, 304), acquire("a", "f", 9), denied("b"));
        sample.caught_by(&CHECKER, "a write was acknowledged");
    }

    #[test]
    fn a_write_without_any_majority_is_caught() {
        let mut sample = parted(&[1, 2, 3]);
        sample.op((301, 302), acquire("a", "f", 9), End::Refused("no_quorum"));
        sample.accepted_by(&CHECKER);
        sample.op((301, 302), acquire("a", "f", 9), denied("b"));
        sample.caught_by(&CHECKER, "a write was acknowledged");
    }

    #[test]
    fn waiting_in_vain_shows_the_property_if_it_was_long_enough() {
        let mut sample = parted(&[2]);
        sample.record(800, Record::Quorum { without: vec![], majority: true });
        sample.op((301, 302), read_of(2, Level::Stale), answered_by(2));
        sample.op((301, 900), read_of(1, Level::Linearizable), answered_by(1));
        sample.op((750, 900), read_of(2, Level::Linearizable), answered_by(2));
        sample.to(2).op((301, 310), acquire("a", "f", 9), End::Unknown);
        sample.to(2).op((301, 310), acquire("a", "f", 9), End::Refused("unreachable"));
        assert_eq!(sample.check(&CHECKER).checks, 0, "none of them asked the minority for long");
        sample.op((301, 900), read_of(2, Level::Linearizable), answered_by(2));
        sample.to(2).op((301, 700), acquire("a", "f", 9), End::Unknown);
        assert_eq!(sample.check(&CHECKER).checks, 2);
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_repeat_of_what_was_acknowledged_before_may_be_told_again() {
        let mut sample = parted(&[2]);
        sample.key("k").op((290, 299), publish("a", "f", 3, "h3", false), published(3));
        sample.key("k").to(2).op((301, 302), publish("a", "f", 3, "h3", false), published(3));
        assert_eq!(sample.check(&CHECKER).violations, 0);
    }

    #[test]
    fn a_leader_read_is_allowed_for_the_length_of_its_lease() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read_of(2, Level::Leader), answered_by(2));
        sample.op((9_300, 9_301), read_of(2, Level::Leader), End::Refused("no_quorum"));
        sample.accepted_by(&CHECKER);
        sample.op((9_301, 9_302), read_of(2, Level::Leader), answered_by(2));
        sample.caught_by(&CHECKER, "strong read");
    }

    #[test]
    fn a_grant_by_the_minority_is_caught_without_knowing_who_was_asked() {
        let mut sample = parted(&[2]);
        let End::Seen(_, seen) = answered_by(2) else { unreachable!("it is one") };
        let granted = Answer::Granted { fence: 9, ttl_ms: 9, version: 2, sent: None };
        sample.op((301, 302), acquire("a", "f", 9), End::Seen(granted, seen));
        sample.caught_by(&CHECKER, "a write was acknowledged");
    }
}
