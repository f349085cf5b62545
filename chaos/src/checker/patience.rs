//! Proves: a client of the library that waits long enough sees no failure, only answers and
//! refusals by the index's rules.
//!
//! Source: rules X3 and W5; rolling restarts are routine.
//!
//! Cannot see: how long the client waited; its deadline bounds that.

use super::{Checker, Findings};
use crate::model::{Model, Outcome};
use crate::workload::PATIENT_PREFIX;

/// Refusals that say something about leases and versions, and not about the cluster.
const BY_RULE: &[&str] = &["lease_expired", "lease_required", "version_conflict", "not_holder"];

/// Patient clients see no failure. Holds only where a majority is never away for long.
pub const CHECKER: Checker = Checker { name: "patience", property: "patient clients see no failure", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    for operation in model.operations.values().filter(|operation| operation.client.starts_with(PATIENT_PREFIX)) {
        let failed = match &operation.outcome {
            Outcome::Ok(..) => None,
            Outcome::Refused(code) if BY_RULE.contains(&code.as_str()) => None,
            Outcome::Refused(code) => Some(code.as_str()),
            Outcome::Unknown => Some("unknown"),
        };
        findings.expect(failed.is_none(), &[operation.id], || {
            format!("{} got no answer but {}", operation.client, failed.unwrap_or_default())
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_failure_of_a_patient_client_is_caught_and_a_refusal_by_rule_is_none() {
        let mut sample = good();
        sample.by("hasty-1").op((300, 301), acquire("a", "f", 9), End::Unknown);
        sample.by("client-1").op((302, 303), publish("a", "f", 1, "h7", false), End::Refused("lease_expired"));
        sample.accepted_by(&CHECKER);
        let mut refused = good();
        refused.by("client-1").op((300, 301), acquire("a", "f", 9), End::Refused("no_quorum"));
        refused.caught_by(&CHECKER, "no_quorum");
        sample.by("client-1").op((304, 305), acquire("a", "f", 9), End::Unknown);
        sample.caught_by(&CHECKER, "unknown");
    }
}
