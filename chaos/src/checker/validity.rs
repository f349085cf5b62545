//! Decides whether a run shows anything at all: enough acknowledged operations, faults that really fired, contention,
//! and every kind of operation. A run that shows nothing is invalid, and never a pass.
//!
//! Source: etcd's robustness tests enforce a minimum rate; openraft's simulator reports modes that never happened.

use crate::history::{Answer, FaultName, FaultOutcome, FaultRecord, Op};
use crate::model::Model;

/// What a scenario demands of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Acknowledged operations per round.
    pub acknowledged_per_round: usize,
    /// Acknowledged publishes per round.
    pub publishes_per_round: usize,
    /// Times that a peer was denied a lease, per run.
    pub denials: usize,
    /// Faults of this name must have fired at least once per round; any faults, if absent.
    pub fault: Option<FaultName>,
}

impl Demands {
    /// For faults that leave the clients working most of the time.
    pub const fn full(fault: FaultName) -> Self {
        Self { acknowledged_per_round: 30, publishes_per_round: 3, denials: 5, fault: Some(fault) }
    }

    /// For faults that make the clients wait for a part of each round.
    pub const fn reduced(fault: FaultName) -> Self {
        Self { acknowledged_per_round: 20, publishes_per_round: 2, denials: 5, fault: Some(fault) }
    }

    /// For drawn faults.
    pub const fn any_fault() -> Self {
        Self { acknowledged_per_round: 20, publishes_per_round: 2, denials: 5, fault: None }
    }
}

/// Why the run is invalid; empty if it is valid.
pub fn shortcomings(model: &Model, demands: &Demands) -> Vec<String> {
    let rounds = model.run.rounds as usize;
    let mut short = Vec::new();
    let mut at_least = |what: &str, found: usize, wanted: usize| {
        if found < wanted {
            short.push(format!("{found} {what}, at least {wanted} are needed"));
        }
    };
    at_least("acknowledged operations", model.acknowledged(), demands.acknowledged_per_round * rounds);
    at_least("acknowledged publishes", model.acknowledged_publishes().count(), demands.publishes_per_round * rounds);
    at_least("denied requests for a lease", count(model, denied), demands.denials);
    let is_demanded = |name: FaultName| demands.fault.map_or(!name.ends_fault(), |demanded| name == demanded);
    let fired = |fault: &&FaultRecord| is_demanded(fault.fault) && fault.outcome == FaultOutcome::Installed;
    let wanted = demands.fault.map_or_else(|| "any".to_owned(), |fault| fault.to_string());
    let found = model.faults.iter().filter(fired).count();
    at_least(&format!("`{wanted}` faults that took effect"), found, rounds);
    short
}

fn count(model: &Model, test: fn(&Op, &Answer) -> bool) -> usize {
    let applies =
        |operation: &&crate::model::Operation| operation.answer().is_some_and(|answer| test(&operation.op, answer));
    model.operations.values().filter(applies).count()
}

fn denied(_: &Op, answer: &Answer) -> bool {
    matches!(answer, Answer::Denied { .. })
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    const DEMANDS: Demands =
        Demands { acknowledged_per_round: 5, publishes_per_round: 1, denials: 1, fault: Some(FaultName::Kill) };

    #[test]
    fn the_good_run_is_valid() {
        assert_eq!(shortcomings(&good().model(), &DEMANDS), Vec::<String>::new());
    }

    #[test]
    fn a_run_without_traffic_or_faults_is_invalid() {
        let few = Demands { acknowledged_per_round: 1_000, ..DEMANDS };
        assert_eq!(shortcomings(&good().model(), &few).len(), 1);
        let any = Demands { fault: None, ..DEMANDS };
        assert_eq!(shortcomings(&good().model(), &any), Vec::<String>::new());
        let mut ended = Sample::default();
        ended.record(0, crate::history::Record::Run(crate::history::RunInfo { rounds: 1, ..Default::default() }));
        ended.record(1, fault(FaultName::Restart, 1, FaultOutcome::Installed));
        assert_eq!(shortcomings(&ended.model(), &any).len(), 4, "what ends a fault is none");
        let other = Demands { fault: Some(FaultName::Stop), ..DEMANDS };
        assert_eq!(shortcomings(&good().model(), &other).len(), 1);
        let mut skipped = Sample::default();
        let run = crate::history::RunInfo { rounds: 1, ..Default::default() };
        skipped.record(0, crate::history::Record::Run(run));
        skipped.record(1, fault(FaultName::Kill, 1, FaultOutcome::Skipped("nobody leads".into())));
        assert_eq!(shortcomings(&skipped.model(), &DEMANDS).len(), 4);
    }
}
