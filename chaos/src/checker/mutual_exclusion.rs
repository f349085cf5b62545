//! Proves: no two peers could both be right to believe that they held the lease of one file at the same moment, and
//! nobody published a version while another peer's lease was guaranteed.
//!
//! Source: rules L1, L3 and T4; the lock test of Jepsen's etcd 3.4.3 analysis, restated for leases with a TTL.
//!
//! Cannot see: two leases inside the cluster that no client could notice, for example one whose holder
//! never got its answer. Intervals are those of `model.rs`: they begin late and end early, so an
//! overlap is never an artefact of delay.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::Op;
use crate::model::{Lease, Model, Outcome};

/// At most one guaranteed holder per file and moment.
pub const CHECKER: Checker = Checker { name: "mutual-exclusion", property: "one holder per file at any moment", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let mut by_file: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in model.leases.values() {
        by_file.entry(&lease.file).or_default().push(lease);
    }
    for leases in by_file.values_mut() {
        leases.sort_by_key(|lease| lease.from);
        overlaps(leases, &mut findings);
    }
    foreign_publishes(model, &by_file, &mut findings);
    findings
}

fn overlaps(leases: &[&Lease], findings: &mut Findings) {
    let mut latest: Option<&Lease> = None;
    for &lease in leases {
        if lease.guaranteed_until() <= lease.from {
            continue;
        }
        if let Some(earlier) = latest {
            let holds = lease.from >= earlier.guaranteed_until();
            findings.expect(holds, &[earlier.granted_by, lease.granted_by], || {
                format!(
                    "{} (fence {}) and {} (fence {}) both held {} at {} µs",
                    earlier.peer, earlier.fence, lease.peer, lease.fence, lease.file, lease.from
                )
            });
        } else {
            findings.checks += 1;
        }
        if latest.is_none_or(|earlier| lease.guaranteed_until() > earlier.guaranteed_until()) {
            latest = Some(lease);
        }
    }
}

/// A publish whose whole span lies within another lease's guarantee was applied while that other lease lived.
fn foreign_publishes(model: &Model, by_file: &BTreeMap<&str, Vec<&Lease>>, findings: &mut Findings) {
    for operation in model.operations.values() {
        let (Op::Publish { file, fence: Some(fence), .. }, Outcome::Ok(..)) = (&operation.op, &operation.outcome)
        else {
            continue;
        };
        let intruded = by_file.get(file.as_str()).into_iter().flatten().find(|lease| {
            lease.fence != *fence && lease.from < operation.began && operation.end() < lease.guaranteed_until()
        });
        let shown = [Some(operation.id), intruded.map(|lease| lease.granted_by)];
        findings.expect(intruded.is_none(), &shown.into_iter().flatten().collect::<Vec<_>>(), || {
            format!("{file} was published under fence {fence} while another peer's lease on it was guaranteed")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Answer;

    #[test]
    fn overlapping_holders_are_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2).grant((350, 351), "b", "f", 100, 11, 2);
        sample.caught_by(&CHECKER, "both held f");
    }

    #[test]
    fn a_faster_clock_of_a_node_halves_the_guarantee_and_no_more() {
        let rate = |until| {
            let mut sample = good();
            sample.grant((300, 301), "a", "f", 100, 10, 2).grant((until, until), "b", "f", 100, 11, 2);
            check(&sample.model_with_clocks(2_000)).violations
        };
        assert_eq!(rate(351), 0);
        assert_eq!(rate(349), 1);
    }

    #[test]
    fn a_lease_counts_from_the_request_and_ends_when_its_release_is_sent() {
        let mut sample = good();
        // Granted at 390 with a TTL counted from 300: over at 400.
        sample.grant((300, 390), "a", "f", 100, 10, 2).grant((395, 400), "b", "f", 100, 11, 2);
        sample.release((410, 490), "b", "f", 11).grant((420, 430), "a", "f", 100, 12, 2);
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_renewal_extends_the_guarantee() {
        let mut sample = good();
        let renew = Op::Renew { peer: "a".into(), file: "f".into(), fence: 10, ttl_ms: 100 };
        sample.grant((300, 301), "a", "f", 100, 10, 2);
        sample.op((390, 391), renew, End::Ok(Answer::Granted { fence: 10, ttl_ms: 100, version: 2, sent: None }));
        sample.grant((450, 451), "b", "f", 100, 11, 2);
        sample.caught_by(&CHECKER, "both held f");
    }

    #[test]
    fn a_zombies_publish_under_a_foreign_lease_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 10, 10, 2).grant((320, 321), "b", "f", 100, 11, 2);
        sample.publish((330, 331), "a", "f", 10, "h3", published(3));
        sample.caught_by(&CHECKER, "under fence 10");
    }

    #[test]
    fn taking_over_after_registering_again_is_no_overlap() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2);
        sample.op((310, 311), Op::Register { peer: "a".into() }, End::Ok(Answer::Done));
        sample.grant((320, 321), "a", "f", 100, 11, 2);
        sample.accepted_by(&CHECKER);
    }
}
