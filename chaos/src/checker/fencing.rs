//! Proves: fencing tokens grow. A grant that was asked for after another grant was answered has the greater token, on
//! whatever file; no token is granted twice; a renewal keeps its token; and a file's versions were published in the
//! order of their tokens, so a holder that was overtaken never wrote after its successor.
//!
//! Source: rules L2, L4 and L8; Kleppmann's argument for fencing tokens.
//!
//! Cannot see: the order of grants that were under way at the same moment, and tokens of grants whose answer got lost.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Findings};
use crate::history::{Answer, Micros, Op, OpId};
use crate::model::{Model, Operation};

/// Tokens grow with every grant.
pub const CHECKER: Checker = Checker { name: "fencing", property: "fencing tokens strictly grow", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    grants_in_real_time(model, &mut findings);
    renewals_keep_their_token(model, &mut findings);
    versions_follow_tokens(model, &mut findings);
    findings
}

fn granted(operation: &Operation) -> Option<u64> {
    match (&operation.op, operation.answer()) {
        (Op::Acquire { .. }, Some(Answer::Granted { fence, .. })) => Some(*fence),
        _ => None,
    }
}

fn grants_in_real_time(model: &Model, findings: &mut Findings) {
    let mut seen_keys = BTreeSet::new();
    // A replay under the same key repeats its grant by design (X1); only the first answer counts.
    let grants: Vec<(&Operation, u64)> = model
        .operations
        .values()
        .filter_map(|operation| granted(operation).map(|fence| (operation, fence)))
        .filter(|(operation, fence)| match &operation.key {
            Some(key) => seen_keys.insert((&operation.client, key, *fence)),
            None => true,
        })
        .collect();
    let mut owners: BTreeMap<u64, OpId> = BTreeMap::new();
    for (operation, fence) in &grants {
        let first = *owners.entry(*fence).or_insert(operation.id);
        findings.expect(first == operation.id, &[first, operation.id], || format!("fence {fence} was granted twice"));
    }
    let mut by_answer = grants.clone();
    by_answer.sort_by_key(|(operation, _)| operation.end());
    let mut by_request = grants;
    by_request.sort_by_key(|(operation, _)| operation.began);
    let mut answered = by_answer.into_iter().peekable();
    let mut greatest: Option<(u64, OpId)> = None;
    for (operation, fence) in by_request {
        while let Some((earlier, token)) = answered.next_if(|(earlier, _)| earlier.end() < operation.began) {
            greatest = greatest.max(Some((token, earlier.id)));
        }
        if let Some((token, earlier)) = greatest {
            findings.expect(fence > token, &[earlier, operation.id], || {
                format!("fence {fence} was granted after fence {token} had been answered")
            });
        }
    }
}

fn renewals_keep_their_token(model: &Model, findings: &mut Findings) {
    for operation in model.operations.values() {
        if let (Op::Renew { fence, .. }, Some(Answer::Granted { fence: now, .. })) = (&operation.op, operation.answer())
        {
            findings.expect(fence == now, &[operation.id], || format!("a renewal changed fence {fence} into {now}"));
        }
    }
}

fn versions_follow_tokens(model: &Model, findings: &mut Findings) {
    let mut by_file: BTreeMap<&str, Vec<(u64, u64, OpId, Micros)>> = BTreeMap::new();
    for (operation, file, version, _) in model.acknowledged_publishes() {
        if let Op::Publish { fence: Some(fence), .. } = &operation.op {
            by_file.entry(file).or_default().push((version, *fence, operation.id, operation.invoked));
        }
    }
    for (file, mut publishes) in by_file {
        publishes.sort_unstable();
        for pair in publishes.windows(2) {
            let [(before, older, first, _), (after, newer, second, _)] = pair else { continue };
            findings.expect(older <= newer, &[*first, *second], || {
                format!("{file} v{before} has fence {older}, the later v{after} the smaller fence {newer}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_smaller_token_after_a_greater_one_is_caught_on_any_file() {
        let mut sample = good();
        sample.grant((300, 301), "a", "g", 100, 10, 0).grant((302, 303), "b", "h", 100, 9, 0);
        sample.caught_by(&CHECKER, "fence 9 was granted after fence 10");
    }

    #[test]
    fn grants_under_way_together_may_come_in_any_order() {
        let mut sample = good();
        sample.grant((300, 305), "a", "g", 100, 10, 0).grant((301, 303), "b", "h", 100, 11, 0);
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn one_token_for_two_grants_is_caught_unless_it_is_a_replay() {
        let mut sample = good();
        sample.key("k").grant((300, 301), "a", "g", 100, 10, 0);
        sample.key("k").grant((302, 303), "a", "g", 100, 10, 0);
        sample.accepted_by(&CHECKER);
        sample.key("other").grant((304, 305), "a", "g", 100, 10, 0);
        sample.caught_by(&CHECKER, "granted twice");
    }

    #[test]
    fn a_replay_may_tell_of_an_older_grant() {
        let mut sample = good();
        sample.key("k").op((300, 301), acquire("a", "g", 100), End::Unknown).grant((302, 303), "b", "h", 100, 11, 0);
        sample.key("k").grant((304, 305), "a", "g", 100, 10, 0);
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_renewal_with_another_token_is_caught() {
        let mut sample = good();
        let renew = Op::Renew { peer: "a".into(), file: "f".into(), fence: 3, ttl_ms: 9 };
        sample.op((202, 203), renew, End::Ok(Answer::Granted { fence: 4, ttl_ms: 9, version: 2, sent: None }));
        sample.caught_by(&CHECKER, "changed fence 3 into 4");
    }

    #[test]
    fn a_late_write_of_an_overtaken_holder_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 10, 10, 2).grant((320, 321), "b", "f", 10, 11, 2);
        sample.publish((322, 323), "b", "f", 11, "h3", published(3));
        sample.publish((350, 351), "a", "f", 10, "h4", published(4));
        sample.caught_by(&CHECKER, "smaller fence 10");
    }
}
