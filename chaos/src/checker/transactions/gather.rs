//! Reads a run's transactions and what was seen of attributes: one request under one key each, with its place in the
//! log where an answer told it.
//!
//! Invariant: a request counts as never applied only if its key stands for another one or was refused by a rule, or if
//! every attempt was refused before it reached the log (W5).

use std::collections::BTreeMap;

use crate::history::{After, Answer, Attributes, Branch, Level, Micros, Op, OpId, Txn};
use crate::model::{Model, Operation, Outcome};

/// A place in the log: the index, and the position within its entry.
pub(super) type Place = (u64, u64);

/// What a transaction came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate<'a> {
    /// It was applied.
    Applied {
        /// Where.
        at: Place,
        /// Which operations.
        branch: Branch,
        /// The names in them, afterwards.
        names: &'a [After],
    },
    /// Nobody knows.
    Open,
    /// It was refused because an addition was out of bounds.
    OutOfBounds,
    /// It was not applied.
    Never,
}

/// One transaction: all requests with one body under one key.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    pub(super) txn: &'a Txn,
    /// The request whose answer counts, or the first one.
    pub(super) shown: OpId,
    /// Of those under one key no more than one is applied.
    pub(super) key: usize,
    /// When it was sent first.
    pub(super) began: Micros,
    /// When an answer decided.
    pub(super) end: Micros,
    pub(super) fate: Fate<'a>,
}

/// Something that was seen of one name.
#[derive(Debug, Clone)]
pub(super) struct Sight<'a> {
    pub(super) name: &'a str,
    pub(super) attributes: &'a Attributes,
    /// The operation; none for a read after healing.
    pub(super) shown: Option<OpId>,
    pub(super) began: Micros,
    pub(super) end: Micros,
    /// The state that was seen was applied up to no later place than this index.
    pub(super) applied: u64,
    /// And not before this one.
    pub(super) from: u64,
    /// Whether it must include what was acknowledged before it began.
    pub(super) strong: bool,
}

/// The place that an id names.
pub(super) fn place(id: &str) -> Option<Place> {
    let (index, position) = id.split_once('.')?;
    Some((index.parse().ok()?, position.parse().ok()?))
}

/// Every transaction, in order of its first request.
pub(super) fn transactions(model: &Model) -> Vec<Transaction<'_>> {
    let mut by_key: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut requests: Vec<Vec<(&Txn, Vec<&Operation>)>> = Vec::new();
    for operation in model.operations.values() {
        let Op::Txn(txn) = &operation.op else { continue };
        let mut new = || {
            requests.push(Vec::new());
            requests.len() - 1
        };
        let key = match &operation.key {
            Some(key) => *by_key.entry((&txn.peer, key)).or_insert_with(new),
            None => new(),
        };
        match requests[key].iter_mut().find(|(body, _)| *body == txn) {
            Some((_, sent)) => sent.push(operation),
            None => requests[key].push((txn, vec![operation])),
        }
    }
    let mut transactions: Vec<Transaction<'_>> = Vec::new();
    for (key, bodies) in requests.iter().enumerate() {
        let mut of_key: Vec<Transaction<'_>> = bodies.iter().map(|(txn, sent)| settle(key, txn, sent)).collect();
        // The key stands for the one that was answered.
        let decided = |one: &Transaction<'_>| !matches!(one.fate, Fate::Open) && one.end != Micros::MAX;
        if of_key.iter().any(decided) {
            let open = of_key.iter_mut().filter(|one| matches!(one.fate, Fate::Open));
            open.for_each(|one| one.fate = Fate::Never);
        }
        transactions.append(&mut of_key);
    }
    transactions.sort_by_key(|one| (one.began, one.shown));
    transactions
}

/// Codes that say nothing about a rule of the catalog, and that a repeat may be answered otherwise after.
fn is_passing(code: &str) -> bool {
    !matches!(code, "out_of_bounds" | "lease_required" | "lease_expired" | "bad_request")
}

fn settle<'a>(key: usize, txn: &'a Txn, sent: &[&'a Operation]) -> Transaction<'a> {
    let first = sent[0];
    let new = |shown: &Operation, end, fate| {
        let began = first.invoked;
        Transaction { txn, shown: shown.id, key, began, end, fate }
    };
    let earliest = |fits: &dyn Fn(&Operation) -> bool| {
        sent.iter().copied().filter(|operation| fits(operation)).min_by_key(|operation| operation.end())
    };
    if let Some(told) = earliest(&|operation| operation.answer().is_some()) {
        if let Some(Answer::Applied { branch, txn: id, names }) = told.answer()
            && let Some(at) = place(id)
        {
            return new(told, told.end(), Fate::Applied { at, branch: *branch, names });
        }
        return new(told, told.end(), Fate::Open);
    }
    let refused = |operation: &Operation| matches!(&operation.outcome, Outcome::Refused(code) if !is_passing(code));
    if let Some(told) = earliest(&refused) {
        let bounds = matches!(&told.outcome, Outcome::Refused(code) if code == "out_of_bounds");
        return new(told, told.end(), if bounds { Fate::OutOfBounds } else { Fate::Never });
    }
    let stands_for_another =
        |operation: &&Operation| matches!(&operation.outcome, Outcome::Refused(code) if code == "key_reused");
    let open = sent.iter().any(|operation| operation.may_be_applied()) && !sent.iter().any(stands_for_another);
    new(first, Micros::MAX, if open { Fate::Open } else { Fate::Never })
}

/// Everything that was seen of attributes, in order of the requests; then what was read after healing.
pub(super) fn sights(model: &Model) -> Vec<Sight<'_>> {
    let strong_leader = !model.faults.iter().any(|fault| fault.fault.voids_leader_reads());
    let mut sights = Vec::new();
    let mut by_process: BTreeMap<(u64, &str), Vec<(Micros, u64)>> = BTreeMap::new();
    let mut reads: Vec<&Operation> = model.operations.values().collect();
    reads.sort_by_key(|operation| (operation.invoked, operation.id));
    let mut answered: Vec<&Operation> = reads.clone();
    answered.sort_by_key(|operation| operation.end());
    for operation in answered {
        // A state that a process answered from is not older than one that it named before.
        if let (Op::ReadAttributes { .. }, Outcome::Ok(_, Some(seen))) = (&operation.op, &operation.outcome) {
            let named = by_process.entry((seen.node, &seen.boot)).or_default();
            let newest = named.last().map_or(0, |(_, newest)| *newest).max(seen.applied);
            named.push((operation.end(), newest));
        }
    }
    for operation in reads {
        let Op::ReadAttributes { name, level, min_index, .. } = &operation.op else { continue };
        let Outcome::Ok(Answer::Attributes { attributes, .. }, seen) = &operation.outcome else { continue };
        let named = seen.as_ref().and_then(|seen| by_process.get(&(seen.node, seen.boot.as_str())));
        let before = named.map_or(0, |named| {
            let earlier = named.partition_point(|(end, _)| *end < operation.invoked);
            named[..earlier].last().map_or(0, |(_, newest)| *newest)
        });
        sights.push(Sight {
            name,
            attributes,
            shown: Some(operation.id),
            began: operation.invoked,
            end: operation.end(),
            applied: seen.as_ref().map_or(u64::MAX, |seen| seen.applied),
            from: min_index.unwrap_or(0).max(before),
            strong: *level == Level::Linearizable || (*level == Level::Leader && strong_leader),
        });
    }
    sights.extend(model.final_attributes.iter().map(|read| Sight {
        name: &read.name,
        attributes: &read.attributes,
        shown: None,
        began: model.ended,
        end: model.ended,
        applied: read.applied.unwrap_or(u64::MAX),
        from: 0,
        strong: true,
    }));
    sights
}
