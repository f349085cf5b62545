//! Proves: a key has one effect and one answer. Requests under one key that were answered got the same version, fencing
//! token, transaction or refusal; another request under it got `key_reused`; and no content that was published once is
//! found under two versions, so a request that the library repeated was applied at most once.
//!
//! Source: rules X1 to X3; Jepsen's jetcd 0.8.2 analysis (a client that repeats what must not be repeated).
//!
//! Cannot see: a second effect that leaves no trace in versions, tokens or answers, such as a lease renewed twice.
//! It takes for granted that no client repeats a key that the index may have forgotten (X2).

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, Op, OpId};
use crate::model::{Model, Operation, Outcome, peer_of};

/// One effect per key.
pub const CHECKER: Checker = Checker { name: "idempotency", property: "one effect and one answer per key", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    one_answer_per_key(model, &mut findings);
    one_version_per_content(model, &mut findings);
    findings
}

fn one_answer_per_key(model: &Model, findings: &mut Findings) {
    let mut by_key: BTreeMap<(&str, &str), Vec<&Operation>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Some(key), Some(peer)) = (&operation.key, peer_of(&operation.op)) {
            by_key.entry((peer, key)).or_default().push(operation);
        }
    }
    for ((peer, key), operations) in by_key {
        let settled = || operations.iter().filter(|operation| is_settled(operation));
        // The one whose request the key stands for.
        let Some(first) = settled().find(|operation| !was_reused(operation)) else { continue };
        for other in settled().filter(|other| other.id != first.id) {
            let holds = if first.op == other.op { same_answer(first, other) } else { was_reused(other) };
            findings.expect(holds, &[first.id, other.id], || {
                format!("key {key} of {peer} got {:?} and then {:?}", first.outcome, other.outcome)
            });
        }
    }
}

/// Refusals for want of a leader or of room are not answers of the catalog and not remembered; nor is one to an
/// unregistered peer (X5).
fn is_settled(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Ok(..) => true,
        Outcome::Refused(code) => !matches!(
            code.as_str(),
            "no_quorum"
                | "not_leader"
                | "overloaded"
                | "storage_failed"
                | "not_initialized"
                | "loading"
                | "diverged"
                | "removed"
                | "unknown_peer"
                | "unreachable"
        ),
        Outcome::Unknown => false,
    }
}

/// Its key stands for another request (X1).
fn was_reused(operation: &Operation) -> bool {
    matches!(&operation.outcome, Outcome::Refused(code) if code == "key_reused")
}

fn same_answer(first: &Operation, other: &Operation) -> bool {
    match (&first.outcome, &other.outcome) {
        (Outcome::Ok(first, _), Outcome::Ok(other, _)) => match (first, other) {
            // The remaining time of a grant is evaluated afresh (X1), and a wait turns from a place into a grant (L5).
            (Answer::Granted { fence: a, .. }, Answer::Granted { fence: b, .. }) => a == b,
            (Answer::Denied { position: Some(_), .. }, Answer::Granted { .. } | Answer::Denied { .. }) => true,
            _ => first == other,
        },
        (Outcome::Refused(first), Outcome::Refused(other)) => first == other,
        // The replay of a grant that is over answers `lease_expired` (X1).
        (Outcome::Ok(Answer::Granted { .. }, _), Outcome::Refused(code)) => code == "lease_expired",
        (Outcome::Ok(..), Outcome::Refused(_)) | (Outcome::Refused(_), Outcome::Ok(..)) => false,
        (Outcome::Unknown, _) | (_, Outcome::Unknown) => true,
    }
}

fn one_version_per_content(model: &Model, findings: &mut Findings) {
    let mut versions: BTreeMap<(&str, &str), (u64, Option<OpId>)> = BTreeMap::new();
    let mut observe = |file, hash, version: u64, operation: Option<OpId>| {
        if version == 0 {
            return;
        }
        let (known, first) = *versions.entry((file, hash)).or_insert((version, operation));
        let shown: Vec<OpId> = [first, operation].into_iter().flatten().collect();
        findings.expect(known == version, &shown, || {
            format!("one publish of {file} had two effects: its content is v{known} and v{version}")
        });
    };
    for (operation, file, version, hash) in model.acknowledged_publishes() {
        observe(file, hash, version, Some(operation.id));
    }
    for operation in model.operations.values() {
        if let (Op::Read { file, .. }, Some(Answer::File { version, hash })) = (&operation.op, operation.answer()) {
            observe(file, hash, *version, Some(operation.id));
        }
    }
    for read in &model.finals {
        observe(&read.file, &read.hash, read.version, None);
    }
    for (file, hash, version) in &model.audits {
        observe(file, hash, version.unwrap_or(0), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_replay_with_another_answer_is_caught() {
        let mut sample = good();
        sample.key("k").publish((300, 301), "a", "g", 9, "h", published(1));
        sample.key("k").publish((302, 303), "a", "g", 9, "h", published(2));
        sample.caught_by(&CHECKER, "key k of a");
    }

    #[test]
    fn a_refusal_after_success_is_caught() {
        let mut sample = good();
        sample.key("k").release((300, 301), "a", "g", 9);
        let release = Op::Release { peer: "a".into(), file: "g".into(), fence: 9 };
        sample.key("k").op((302, 303), release, End::Refused("lease_expired"));
        sample.caught_by(&CHECKER, "key k of a");
    }

    #[test]
    fn a_faithful_replay_is_accepted_whatever_came_between() {
        let mut sample = good();
        sample.key("k").publish((300, 301), "a", "g", 9, "h", End::Refused("no_quorum"));
        sample.key("k").publish((302, 303), "a", "g", 9, "h", End::Unknown);
        sample.key("k").publish((304, 305), "a", "g", 9, "h", published(1));
        sample.key("k").publish((306, 307), "a", "g", 9, "h", published(1));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_key_that_stands_for_two_requests_is_caught() {
        let mut sample = good();
        sample.key("k").publish((300, 301), "a", "g", 9, "h", published(1));
        sample.key("k").publish((302, 303), "a", "g", 9, "i", End::Refused("key_reused"));
        sample.accepted_by(&CHECKER);
        sample.key("k").publish((304, 305), "a", "g", 9, "j", published(2));
        sample.caught_by(&CHECKER, "key k of a");
    }

    #[test]
    fn a_request_that_its_own_key_refuses_is_caught() {
        let mut sample = good();
        sample.key("k").publish((300, 301), "a", "g", 9, "h", published(1));
        sample.key("k").publish((302, 303), "a", "g", 9, "h", End::Refused("key_reused"));
        sample.caught_by(&CHECKER, "key k of a");
    }

    #[test]
    fn one_content_under_two_versions_is_caught() {
        let mut sample = good();
        sample.read((220, 221), "f", 3, "h1");
        sample.caught_by(&CHECKER, "two effects");
    }
}
