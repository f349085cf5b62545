//! Proves: every refusal has a reason that a client can accept. A lease is called over only when it could have ended; a
//! request for a lease is denied only in favour of a peer that could have it; and no registered peer is unknown, no valid
//! request bad, no key of ours used before.
//!
//! Source: rules L1, L3, P1, P5, F5 and W5 (a cluster that refuses everything loses nothing, and is of no use).
//!
//! Cannot see: leases that last longer than they need (allowed while there is no leader, T2), and refusals for want of a
//! leader or of room, which are accepted as long as a fault can explain them.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, FaultRecord, Micros, Op};
use crate::model::{Model, Operation, Outcome, file_of, peer_of};

/// Faults after which a node may say that its storage failed.
const STORAGE_FAULTS: [&str; 3] = ["power-cut", "disk-full", "disk-error"];

/// Faults after which there is a node that belongs to no cluster yet.
const JOINING_FAULTS: [&str; 5] = ["wipe", "bit-flip", "torn-tail", "join", "loss"];

/// Refusals are explained.
pub const CHECKER: Checker = Checker { name: "refusals", property: "every refusal is explained", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let holders = possible_holders(model);
    for operation in model.operations.values() {
        match &operation.outcome {
            Outcome::Refused(code) => {
                let why = unexplained(model, operation, code);
                findings.expect(why.is_none(), &[operation.id], || {
                    format!("{} was refused with {code}: {}", kind(&operation.op), why.unwrap_or_default())
                });
            }
            Outcome::Ok(Answer::Denied { holder, .. }, _) => {
                let Some(file) = file_of(&operation.op) else { continue };
                let spans = holders.get(&(file, holder.as_str()));
                let holds = spans
                    .into_iter()
                    .flatten()
                    .any(|(from, until)| *from <= operation.end() && operation.began <= *until);
                findings.expect(holds, &[operation.id], || {
                    format!("the lease of {file} was denied in favour of {holder}, who could not have it")
                });
            }
            Outcome::Ok(..) | Outcome::Unknown => {}
        }
    }
    findings
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Register { .. } => "a registration",
        Op::Acquire { .. } => "a request for a lease",
        Op::Renew { .. } => "a renewal",
        Op::Release { .. } => "a release",
        Op::Leave { .. } => "leaving the line",
        Op::Publish { .. } => "a publish",
        Op::Read { .. } => "a read",
    }
}

/// Why the refusal cannot be explained, if it cannot.
fn unexplained(model: &Model, operation: &Operation, code: &str) -> Option<String> {
    match code {
        // No leader, or no room: definite, temporary and caused by faults.
        "no_quorum" | "not_leader" | "overloaded" | "too_stale" | "unreachable" => None,
        "storage_failed" => {
            let disks = |fault: &FaultRecord| STORAGE_FAULTS.contains(&fault.fault.as_str());
            (!model.faults.iter().any(disks)).then(|| "no disk was made to fail".into())
        }
        "not_initialized" => {
            let joins = |fault: &FaultRecord| JOINING_FAULTS.contains(&fault.fault.as_str());
            (!model.faults.iter().any(joins)).then(|| "no node without data was started".into())
        }
        "lease_expired" | "lease_required" => lease_cannot_have_ended(model, operation),
        "version_conflict" => version_cannot_conflict(model, operation),
        "not_found" if matches!(operation.op, Op::Read { .. }) => None,
        _ => Some("this workload gives no reason for it".into()),
    }
}

fn fence_of(op: &Op) -> Option<u64> {
    match op {
        Op::Renew { fence, .. } | Op::Release { fence, .. } => Some(*fence),
        Op::Publish { fence, .. } => *fence,
        Op::Register { .. } | Op::Acquire { .. } | Op::Leave { .. } | Op::Read { .. } => None,
    }
}

fn lease_cannot_have_ended(model: &Model, operation: &Operation) -> Option<String> {
    // A replayed grant may be over by itself (X1): the request names no token.
    if matches!(operation.op, Op::Acquire { .. }) {
        return None;
    }
    let lease = model.leases.get(&fence_of(&operation.op)?)?;
    let until = lease.guaranteed_until();
    let lived = lease.from < operation.invoked && operation.end() < until;
    lived.then(|| {
        format!(
            "fence {} of {} was guaranteed until {until} µs, the refusal came at {}",
            lease.fence,
            lease.peer,
            operation.end()
        )
    })
}

fn version_cannot_conflict(model: &Model, operation: &Operation) -> Option<String> {
    let Op::Publish { file, fence, version, .. } = &operation.op else {
        return Some("it names no version".into());
    };
    let others = |other: &&Operation| {
        let same_file = matches!(&other.op, Op::Publish { file: of, .. } if of == file);
        same_file && other.id != operation.id && other.may_be_applied() && other.invoked < operation.end()
    };
    let mut earlier = model.operations.values().filter(others);
    match (fence, version) {
        (_, None) | (None, Some(_)) => earlier.next().is_none().then(|| "nobody else had published that name".into()),
        (Some(fence), Some(version)) => {
            let lease = model.leases.get(fence)?;
            let under_it = earlier.filter(|other| fence_of(&other.op) == Some(*fence)).count() as u64;
            let lived = lease.from < operation.invoked && operation.end() < lease.guaranteed_until();
            let next = lease.version + 1..=lease.version + 1 + under_it;
            (lived && under_it == 0 && next.contains(version))
                .then(|| format!("v{version} was the next one under fence {fence}"))
        }
    }
}

/// Per file and peer: spans in which the peer may have the lease, or a place in line that may become its turn.
fn possible_holders(model: &Model) -> BTreeMap<(&str, &str), Vec<(Micros, Micros)>> {
    let mut holders: BTreeMap<(&str, &str), Vec<(Micros, Micros)>> = BTreeMap::new();
    let ended = surely_ended(model);
    for operation in model.operations.values() {
        let (Op::Acquire { file, wait, .. }, Some(peer)) = (&operation.op, peer_of(&operation.op)) else { continue };
        let until = match &operation.outcome {
            Outcome::Ok(Answer::Granted { fence, .. }, _) => ended.get(fence).copied().unwrap_or(Micros::MAX),
            // It may have its place in line though its last poll was refused.
            Outcome::Ok(..) | Outcome::Refused(_) if *wait => Micros::MAX,
            Outcome::Ok(..) | Outcome::Refused(_) => continue,
            Outcome::Unknown => Micros::MAX,
        };
        holders.entry((file, peer)).or_default().push((operation.invoked, until));
    }
    holders
}

/// When leases are certainly over, by token: a release, or a publish that ended it, was acknowledged.
fn surely_ended(model: &Model) -> BTreeMap<u64, Micros> {
    let mut ended: BTreeMap<u64, Micros> = BTreeMap::new();
    for operation in model.operations.values().filter(|operation| operation.answer().is_some()) {
        if let Op::Release { fence, .. } | Op::Publish { fence: Some(fence), keep: false, .. } = &operation.op {
            let end = ended.entry(*fence).or_insert(Micros::MAX);
            *end = (*end).min(operation.end());
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    fn renew(fence: u64) -> Op {
        Op::Renew { peer: "a".into(), file: "f".into(), fence, ttl_ms: 100 }
    }

    #[test]
    fn a_lease_that_ends_early_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2).op((350, 351), renew(10), End::Refused("lease_expired"));
        sample.caught_by(&CHECKER, "guaranteed until");
    }

    #[test]
    fn a_lease_that_is_over_may_be_refused() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2).op((450, 451), renew(10), End::Refused("lease_expired"));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_denial_in_favour_of_nobody_is_caught() {
        let mut sample = good();
        sample.op((300, 301), acquire("b", "f", 9), denied("a"));
        sample.caught_by(&CHECKER, "in favour of a");
    }

    #[test]
    fn a_waiter_whose_poll_was_refused_may_still_be_in_line() {
        let wait = |peer: &str| Op::Acquire { peer: peer.into(), file: "f".into(), ttl_ms: 9, wait: true };
        let mut sample = good();
        sample.op((300, 301), wait("a"), End::Refused("no_quorum")).op((302, 303), acquire("b", "f", 9), denied("a"));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn codes_that_this_workload_cannot_cause_are_caught() {
        for code in ["unknown_peer", "bad_request", "key_reused", "key_expired", "storage_failed", "hash_conflict"] {
            let mut sample = good();
            sample.op((300, 301), Op::Register { peer: "a".into() }, End::Refused(code));
            sample.caught_by(&CHECKER, code);
        }
    }

    #[test]
    fn a_conflict_without_a_rival_is_caught() {
        let mut sample = good();
        let create = |peer: &str| Op::Publish {
            peer: peer.into(),
            file: "new".into(),
            fence: None,
            version: Some(1),
            hash: format!("by {peer}"),
            keep: false,
        };
        sample.op((300, 301), create("a"), End::Refused("version_conflict"));
        sample.caught_by(&CHECKER, "nobody else");
        let mut sample = good();
        sample.op((300, 301), create("b"), published(1)).op((302, 303), create("a"), End::Refused("version_conflict"));
        sample.accepted_by(&CHECKER);
    }
}
