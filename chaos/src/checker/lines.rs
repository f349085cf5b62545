//! Proves: leases of one file follow each other. Of two grants the one with the smaller fencing token came
//! first, so the other may be answered only when the first could be over: its release or publish was sent,
//! its holder registered again and asked again, or its guaranteed time ended. That holds for grants to
//! waiters as well; and no grant has two holders.
//!
//! Source: rules L1, L3 and L5; Jepsen's etcd 3.4.3 analysis (a lock that is not looked at again after waiting for it).
//! Stronger than mutual exclusion, which knows only what holders could believe: here the order is that of the tokens.
//!
//! Cannot see: whether the line is first in, first out, since clients do not learn when they joined it.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, Op};
use crate::model::{Lease, Model};

/// Leases follow each other.
pub const CHECKER: Checker =
    Checker { name: "lines", property: "no lease granted before its predecessor ended", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    one_holder_per_grant(model, &mut findings);
    let mut by_file: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    // In order of their tokens.
    for lease in model.leases.values() {
        by_file.entry(&lease.file).or_default().push(lease);
    }
    for (file, leases) in by_file {
        let mut longest: Option<&Lease> = None;
        for lease in leases {
            if let Some(earlier) = longest {
                findings.expect(
                    lease.from >= earlier.guaranteed_until(),
                    &[earlier.granted_by, lease.granted_by],
                    || {
                        format!(
                            "{file}: fence {} was granted to {} at {} µs, before fence {} of {} could be over at {} µs",
                            lease.fence,
                            lease.peer,
                            lease.from,
                            earlier.fence,
                            earlier.peer,
                            earlier.guaranteed_until()
                        )
                    },
                );
            } else {
                findings.checks += 1;
            }
            if longest.is_none_or(|earlier| lease.guaranteed_until() > earlier.guaranteed_until()) {
                longest = Some(lease);
            }
        }
    }
    findings
}

fn one_holder_per_grant(model: &Model, findings: &mut Findings) {
    for operation in model.operations.values() {
        if let (Op::Acquire { peer, file, .. }, Some(Answer::Granted { fence, .. })) =
            (&operation.op, operation.answer())
            && let Some(lease) = model.leases.get(fence)
        {
            let same = lease.peer == *peer && lease.file == *file;
            findings.expect(same, &[lease.granted_by, operation.id], || {
                format!("fence {fence} was granted to {} on {} and to {peer} on {file}", lease.peer, lease.file)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    fn waiting(peer: &str) -> Op {
        Op::Acquire { peer: peer.into(), file: "f".into(), ttl_ms: 100, wait: true }
    }

    fn grant(fence: u64) -> End {
        End::Ok(Answer::Granted { fence, ttl_ms: 100, version: 2, sent: None })
    }

    #[test]
    fn a_waiter_that_is_granted_too_early_is_caught_though_the_holder_had_no_answer_yet() {
        let mut sample = good();
        // The holder gets its answer late: nobody believed to hold the lease twice, but the tokens tell the order.
        sample.grant((300, 360), "a", "f", 100, 10, 2).op((310, 330), waiting("b"), grant(11));
        sample.caught_by(&CHECKER, "before fence 10 of a could be over");
    }

    #[test]
    fn a_waiter_that_is_granted_after_a_release_is_accepted() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2).op((310, 330), waiting("b"), grant(11));
        sample.release((320, 325), "a", "f", 10).accepted_by(&CHECKER);
    }

    #[test]
    fn one_grant_for_two_waiters_is_caught() {
        let mut sample = good();
        sample.op((300, 310), waiting("a"), grant(10)).op((300, 311), waiting("b"), grant(10));
        sample.caught_by(&CHECKER, "fence 10 was granted to a on f and to b on f");
    }
}
