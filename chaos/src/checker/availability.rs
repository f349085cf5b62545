//! Proves: a node that reaches no majority goes on answering stale reads.
//!
//! Source: rules R2 and R4: clients that lost the leader read from the remaining nodes.
//!
//! Cannot see: whether a node answers whose process was killed, paused or started shortly before; such a
//! node counts only when it does answer.

use super::{Checker, Findings, while_apart};
use crate::history::{Level, Micros, Op};
use crate::model::{Apart, Model, Operation};

/// How long the effects of a fault on a process may last.
const PROCESS_FAULT_MAX: Micros = 10_000_000;

/// A client that waited this long was not answered; one that gave up earlier proves nothing.
const SILENCE_MIN: Micros = 2_000_000;

/// Stale reads need no majority.
pub const CHECKER: Checker = Checker { name: "availability", property: "stale reads need no majority", check };

fn check(model: &Model) -> Findings {
    while_apart(model, |operation, apart, findings| judge(model, operation, apart, findings))
}

fn judge(model: &Model, operation: &Operation, apart: &Apart, findings: &mut Findings) {
    // One with an index may wait for an index that does not come.
    let (Op::Read { level: Level::Stale, min_index: None, node: Some(node), .. }
    | Op::ReadAttributes { level: Level::Stale, min_index: None, node, .. }) = &operation.op
    else {
        return;
    };
    let silent = operation.given_up.filter(|at| at.saturating_sub(operation.invoked) >= SILENCE_MIN);
    let Some(ended) = operation.completed.or(silent).filter(|at| *at < apart.until) else { return };
    let answered = operation.answer().is_some();
    if apart.without.contains(node) && (answered || lives(model, *node, apart.from, ended)) {
        findings
            .expect(answered, &[operation.id], || format!("n{node} did not answer a stale read without a majority"));
    }
}

/// Whether nothing was done to a node's process shortly before it lost its majority, nor since.
fn lives(model: &Model, node: u64, from: Micros, until: Micros) -> bool {
    let begun = model.struck.partition_point(|(at, _)| *at + PROCESS_FAULT_MAX < from);
    !model.struck[begun..].iter().take_while(|(at, _)| *at <= until).any(|(_, struck)| *struck == node)
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{FaultName, FaultOutcome};

    #[test]
    fn a_stale_read_that_fails_is_caught() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read_of(2, Level::Stale), End::Refused("no_quorum"));
        sample.caught_by(&CHECKER, "did not answer a stale read");
        sample.record(300, fault(FaultName::Kill, 2, FaultOutcome::Installed));
        assert_eq!(sample.check(&CHECKER).checks, 0, "a killed node need not answer");
        sample.op((303, 304), read_of(2, Level::Stale), answered_by(2));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn silence_is_caught() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read_of(2, Level::Stale), answered_by(2));
        sample.op((301, 1_900), read_of(2, Level::Stale), End::Unknown);
        sample.accepted_by(&CHECKER);
        sample.op((301, 2_801), read_of(2, Level::Stale), End::Unknown);
        sample.caught_by(&CHECKER, "did not answer a stale read");
    }

    #[test]
    fn reads_of_the_majority_and_strong_ones_say_nothing() {
        let mut sample = parted(&[2]);
        sample.op((301, 302), read_of(1, Level::Stale), answered_by(1));
        sample.op((301, 302), read_of(2, Level::Linearizable), End::Refused("no_quorum"));
        assert_eq!(sample.check(&CHECKER).checks, 0);
    }
}
