//! Proves: the cluster lives. No node ended or panicked on its own, except those that had to and said
//! why; after every fault that left a majority, writes were acknowledged again; and once all faults
//! were removed the whole cluster served.
//!
//! Source: rules R4 and W4; the liveness phase of TigerBeetle's and openraft's simulators (a cluster that stops after
//! the faults loses nothing, but is useless).
//!
//! Cannot see: how long single requests hung, except through the workload's own deadlines.

use super::{Checker, Findings};
use crate::history::Micros;
use crate::model::Model;

/// Longest time without an acknowledged write after a fault that left a majority, in microseconds.
pub const RECOVERY_MAX: Micros = 10_000_000;

/// The cluster survives.
pub const CHECKER: Checker = Checker { name: "survival", property: "the cluster recovers from every fault", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    for (node, status) in &model.exits {
        findings.expect(false, &[], || format!("node {node} ended by itself: {status}"));
    }
    for _ in &model.expected_exits {
        findings.expect(true, &[], String::new);
    }
    for what in &model.misbehaved {
        findings.expect(false, &[], || what.clone());
    }
    for after in &model.recoveries {
        findings.expect(*after <= RECOVERY_MAX, &[], || {
            format!("no write was acknowledged for {:.1} s after a fault", *after as f64 / 1e6)
        });
    }
    match (&model.healed, &model.not_healed) {
        (_, Some(reason)) => findings.expect(false, &[], || format!("the cluster did not heal: {reason}")),
        (Some(_), None) => findings.expect(true, &[], String::new),
        (None, None) => findings.undecided.push("the run ended before the cluster was healed".into()),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Record;

    #[test]
    fn a_node_that_ends_by_itself_is_caught() {
        let mut sample = good();
        sample.record(230, Record::Exit { node: 2, status: "signal: 6 (SIGABRT)".into() });
        sample.caught_by(&CHECKER, "node 2 ended by itself");
    }

    #[test]
    fn what_misbehaves_under_its_fault_is_caught_and_an_announced_exit_is_fine() {
        let mut sample = good();
        sample.record(230, Record::ExpectedExit { node: 2, status: "exit status: 1".into() });
        assert_eq!(sample.check(&CHECKER).violations, 0);
        sample.record(231, Record::Misbehaved { what: "node 2 went on with a failed disk".into() });
        sample.caught_by(&CHECKER, "went on with a failed disk");
    }

    #[test]
    fn a_cluster_that_does_not_recover_or_heal_is_caught() {
        let mut sample = good();
        sample.record(230, Record::Recovered { round: 1, after_us: RECOVERY_MAX + 1 });
        sample.caught_by(&CHECKER, "no write was acknowledged for 10.0 s");
        let mut sample = good();
        sample.record(230, Record::NotHealed { reason: "no leader".into() });
        sample.caught_by(&CHECKER, "did not heal");
    }

    #[test]
    fn an_aborted_run_decides_nothing() {
        assert_eq!(Sample::default().check(&CHECKER).undecided.len(), 1);
    }
}
