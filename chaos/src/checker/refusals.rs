//! Proves: every refusal has a reason that a client can accept. A lease is called over only when it could have ended; a
//! request for a lease is denied only in favour of a peer that could have it; and no registered peer is unknown, no
//! valid request bad, no key of ours used before, except by its own client for something else.
//!
//! Source: rules L1, L3, P1, P5, F5 and W5 (a cluster that refuses everything loses nothing, but is useless).
//!
//! Cannot see: leases that last longer than they need (allowed while there is no leader, T2), and refusals for want of
//! a leader or of room, which are accepted as long as a fault can explain them. Whether a transaction was rightly out
//! of bounds is `transactions`'s to say.

use std::collections::{BTreeMap, HashMap};

use super::{Checker, Findings};
use crate::history::{Answer, Micros, Op, Txn};
use crate::model::{Model, Operation, Outcome, file_of, peer_of};

/// Refusals are explained.
pub const CHECKER: Checker = Checker { name: "refusals", property: "every refusal is explained", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let (holders, publishes, keys) = (possible_holders(model), Publishes::of(model), Keys::of(model));
    for operation in model.operations.values() {
        match &operation.outcome {
            Outcome::Refused(code) => {
                let why = match (&operation.op, code.as_str()) {
                    (_, "key_reused") => keys.unused_before(operation),
                    (Op::Txn(txn), "lease_required" | "lease_expired") => {
                        token_is_right(model, &holders, txn, operation)
                    }
                    _ => unexplained(model, &publishes, operation, code),
                };
                findings.expect(why.is_none(), &[operation.id], || {
                    format!("{} was refused with {code}: {}", kind(&operation.op), why.unwrap_or_default())
                });
            }
            Outcome::Ok(Answer::Denied { holder, .. }, _) => {
                let Some(file) = file_of(&operation.op) else { continue };
                let spans = holders.get(&(file, holder.as_str()));
                let holds = spans.is_some_and(|spans| spans.overlap(operation.began, operation.end()));
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
        Op::Search { .. } => "a search",
        Op::Txn(_) => "a transaction",
        Op::ReadAttributes { .. } => "a read of attributes",
        Op::LookUp { .. } => "a look-up of a transaction",
    }
}

/// Why the refusal cannot be explained, if it cannot.
fn unexplained(model: &Model, publishes: &Publishes<'_>, operation: &Operation, code: &str) -> Option<String> {
    match code {
        // No leader, or no room: definite, temporary and caused by faults.
        "no_quorum" | "not_leader" | "overloaded" | "too_stale" | "loading" | "unreachable" => None,
        "storage_failed" => unless_explained(model, code, "no disk was made to fail"),
        "not_initialized" => unless_explained(model, code, "no node without data was started"),
        "diverged" => unless_explained(model, code, "no copy of a directory was started"),
        "removed" => unless_explained(model, code, "no node was removed"),
        "lease_expired" | "lease_required" => lease_cannot_have_ended(model, operation),
        "version_conflict" => version_cannot_conflict(model, publishes, operation),
        "out_of_bounds" if matches!(operation.op, Op::Txn(_)) => None,
        "not_found" if matches!(operation.op, Op::Read { .. }) => None,
        _ => Some("this workload gives no reason for it".into()),
    }
}

/// The complaint, unless a fault of the run explains the code.
fn unless_explained(model: &Model, code: &str, complaint: &str) -> Option<String> {
    (!model.faults.iter().any(|fault| fault.fault.explains(code))).then(|| complaint.to_owned())
}

fn fence_of(op: &Op) -> Option<u64> {
    match op {
        Op::Renew { fence, .. } | Op::Release { fence, .. } => Some(*fence),
        Op::Publish { fence, .. } => *fence,
        Op::Register { .. } | Op::Acquire { .. } | Op::Leave { .. } | Op::Txn(_) => None,
        Op::Read { .. } | Op::Search { .. } | Op::ReadAttributes { .. } | Op::LookUp { .. } => None,
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

/// Publishes that may have been applied, in order of their beginning.
#[derive(Default)]
struct Publishes<'a> {
    of_file: HashMap<&'a str, Vec<&'a Operation>>,
    under: HashMap<u64, Vec<&'a Operation>>,
}

impl<'a> Publishes<'a> {
    fn of(model: &'a Model) -> Self {
        let mut publishes = Self::default();
        for operation in model.operations.values().filter(|operation| operation.may_be_applied()) {
            if let Op::Publish { file, fence, .. } = &operation.op {
                publishes.of_file.entry(file).or_default().push(operation);
                if let Some(fence) = fence {
                    publishes.under.entry(*fence).or_default().push(operation);
                }
            }
        }
        let lists = publishes.of_file.values_mut().chain(publishes.under.values_mut());
        lists.for_each(|list| list.sort_unstable_by_key(|operation| operation.invoked));
        publishes
    }

    /// Those of a list that began before `operation` was answered.
    fn earlier(list: Option<&Vec<&'a Operation>>, operation: &Operation) -> impl Iterator<Item = &'a Operation> {
        let (id, end) = (operation.id, operation.end());
        let list = list.into_iter().flatten().copied();
        list.take_while(move |other| other.invoked < end).filter(move |other| other.id != id)
    }
}

fn version_cannot_conflict(model: &Model, publishes: &Publishes<'_>, operation: &Operation) -> Option<String> {
    let Op::Publish { file, fence, version, .. } = &operation.op else {
        return Some("it names no version".into());
    };
    match (fence, version) {
        (_, None) | (None, Some(_)) => {
            let mut earlier = Publishes::earlier(publishes.of_file.get(file.as_str()), operation);
            earlier.next().is_none().then(|| "nobody else had published that name".into())
        }
        (Some(fence), Some(version)) => {
            let lease = model.leases.get(fence)?;
            let under_it = Publishes::earlier(publishes.under.get(fence), operation).count();
            let lived = lease.from < operation.invoked && operation.end() < lease.guaranteed_until();
            (lived && under_it == 0 && *version == lease.version + 1)
                .then(|| format!("v{version} was the next one under fence {fence}"))
        }
    }
}

/// Spans of time, in order of their beginning, each with the latest end so far.
#[derive(Default)]
struct Spans(Vec<(Micros, Micros)>);

impl Spans {
    fn of(mut spans: Vec<(Micros, Micros)>) -> Self {
        spans.sort_unstable();
        let mut latest = 0;
        for (_, until) in &mut spans {
            latest = latest.max(*until);
            *until = latest;
        }
        Self(spans)
    }

    /// Whether one of them meets the time from `began` to `end`.
    fn overlap(&self, began: Micros, end: Micros) -> bool {
        let begun = self.0.partition_point(|(from, _)| *from <= end);
        self.0[..begun].last().is_some_and(|(_, latest)| began <= *latest)
    }
}

/// Per file and peer: spans in which the peer may have the lease, or a place in line that may become its turn.
fn possible_holders(model: &Model) -> BTreeMap<(&str, &str), Spans> {
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
    holders.into_iter().map(|(key, spans)| (key, Spans::of(spans))).collect()
}

/// The complaint, if the transaction showed the token of every name in it that could be leased, and those leases lived
/// (K4).
fn token_is_right(
    model: &Model,
    holders: &BTreeMap<(&str, &str), Spans>,
    txn: &Txn,
    operation: &Operation,
) -> Option<String> {
    let lives = |fence: &u64| {
        model
            .leases
            .get(fence)
            .is_some_and(|lease| lease.from < operation.invoked && operation.end() < lease.guaranteed_until())
    };
    let leased = |name: &str| {
        holders.iter().any(|((file, _), spans)| *file == name && spans.overlap(operation.began, operation.end()))
    };
    let right = txn.then.iter().chain(&txn.otherwise).all(|change| match &change.fence {
        Some(fence) => lives(fence),
        None => !leased(&change.name),
    });
    right.then(|| "every lease that it needed was shown, or could not be anybody's".into())
}

/// The requests under each key.
#[derive(Default)]
struct Keys<'a>(HashMap<(&'a str, &'a str), Vec<&'a Operation>>);

impl<'a> Keys<'a> {
    fn of(model: &'a Model) -> Self {
        let mut keys = Self::default();
        for operation in model.operations.values() {
            if let (Some(peer), Some(key)) = (peer_of(&operation.op), &operation.key) {
                keys.0.entry((peer, key)).or_default().push(operation);
            }
        }
        keys
    }

    /// The complaint, if nothing else was sent under the operation's key before it was answered.
    fn unused_before(&self, operation: &Operation) -> Option<String> {
        let used = peer_of(&operation.op).zip(operation.key.as_deref()).and_then(|key| self.0.get(&key));
        let by_another = |other: &&Operation| other.op != operation.op && other.invoked < operation.end();
        let unused = !used.into_iter().flatten().any(by_another);
        unused.then(|| "its key was used for nothing else".into())
    }
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
    use crate::history::{Action, Change};

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
        for code in [
            "unknown_peer",
            "bad_request",
            "key_reused",
            "key_expired",
            "storage_failed",
            "hash_conflict",
            "diverged",
            "removed",
        ] {
            let mut sample = good();
            sample.op((300, 301), Op::Register { peer: "a".into() }, End::Refused(code));
            sample.caught_by(&CHECKER, code);
        }
    }

    fn update(name: &str, fence: Option<u64>) -> Op {
        let add = Action::Add { attr: "n".into(), by: 1, min: None, max: None };
        let then = vec![Change { name: name.into(), action: add, fence }];
        Op::Txn(Txn { peer: "b".into(), conditions: vec![], then, otherwise: vec![] })
    }

    #[test]
    fn a_transaction_may_be_refused_only_for_a_lease_that_somebody_could_have() {
        let mut sample = good();
        sample.op((300, 301), update("g", None), End::Refused("lease_required"));
        sample.caught_by(&CHECKER, "could not be anybody's");
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2);
        sample.op((302, 303), update("f", None), End::Refused("lease_required"));
        sample.op((600, 601), update("f", Some(10)), End::Refused("lease_expired"));
        sample.accepted_by(&CHECKER);
        sample.op((304, 305), update("f", Some(10)), End::Refused("lease_expired"));
        sample.caught_by(&CHECKER, "every lease that it needed was shown");
    }

    #[test]
    fn a_key_may_be_refused_only_if_it_stands_for_another_request() {
        let mut sample = good();
        sample.key("k").op((300, 301), update("f", None), End::Unknown);
        sample.key("k").op((302, 303), update("g", None), End::Refused("key_reused"));
        sample.accepted_by(&CHECKER);
        sample.key("l").op((304, 305), update("f", None), End::Refused("key_reused"));
        sample.caught_by(&CHECKER, "its key was used for nothing else");
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
