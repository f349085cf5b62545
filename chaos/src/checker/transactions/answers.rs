//! What answers say by themselves: ids, their order against real time, the names in them, and what a later question
//! after a transaction is told (Rules K2, K5, X1).
//!
//! Invariant: nothing here depends on what became of transactions that nobody was told of.

use std::collections::BTreeMap;

use super::Findings;
use super::gather::{Fate, Place, Transaction, place};
use crate::history::{Answer, Level, Op, OpId};
use crate::model::{Model, Operation};

/// Newer keys of a peer up to which a transaction is remembered for certain; opaque keys are for 1,024 (X2).
const REMEMBERED_KEYS: usize = 512;

/// Judges them.
pub(super) fn check(model: &Model, transactions: &[Transaction<'_>], findings: &mut Findings) {
    ids_are_distinct(transactions, findings);
    ids_keep_real_time(transactions, findings);
    every_changed_name_is_told(transactions, findings);
    answers_name_their_index(model, findings);
    look_ups_repeat_the_answer(model, findings);
}

fn ids_are_distinct(transactions: &[Transaction<'_>], findings: &mut Findings) {
    let mut known: BTreeMap<Place, OpId> = BTreeMap::new();
    for one in transactions {
        let Fate::Applied { at, .. } = one.fate else { continue };
        let first = *known.entry(at).or_insert(one.shown);
        findings.expect(first == one.shown, &[first, one.shown], || {
            format!("two transactions have the id {}.{}", at.0, at.1)
        });
    }
}

/// What was acknowledged before another one was sent comes before it in the log.
fn ids_keep_real_time(transactions: &[Transaction<'_>], findings: &mut Findings) {
    let mut ended: Vec<(u64, Place, OpId)> = transactions
        .iter()
        .filter_map(|one| match one.fate {
            Fate::Applied { at, .. } => Some((one.end, at, one.shown)),
            _ => None,
        })
        .collect();
    ended.sort_unstable();
    let mut ended = ended.into_iter().peekable();
    let mut newest: (Place, OpId) = ((0, 0), 0);
    for one in transactions {
        let Fate::Applied { at, .. } = one.fate else { continue };
        while let Some((_, place, shown)) = ended.next_if(|(end, ..)| *end < one.began) {
            newest = newest.max((place, shown));
        }
        findings.expect(at > newest.0, &[newest.1, one.shown], || {
            let (before, after) = (newest.0, at);
            format!(
                "transaction {}.{} was sent after {}.{} had been acknowledged",
                after.0, after.1, before.0, before.1
            )
        });
    }
}

fn every_changed_name_is_told(transactions: &[Transaction<'_>], findings: &mut Findings) {
    for one in transactions {
        let Fate::Applied { branch, names, .. } = one.fate else { continue };
        let told = |name: &str| names.iter().filter(|after| after.name == name).count() == 1;
        let all = one.txn.changes(branch).iter().all(|change| told(&change.name));
        findings.expect(all, &[one.shown], || "an answer does not tell each changed name once".into());
    }
}

/// The answering node's state is not older than the transaction, and the index in the header is its own.
fn answers_name_their_index(model: &Model, findings: &mut Findings) {
    for operation in model.operations.values() {
        let (Op::Txn(_), Some((id, seen))) = (&operation.op, told(operation)) else { continue };
        let Some((index, _)) = place(id) else {
            findings.expect(false, &[operation.id], || format!("{id} is no id of a transaction"));
            continue;
        };
        if let Some(seen) = seen {
            let holds = seen.applied >= index && seen.index.is_none_or(|named| named >= index);
            findings.expect(holds, &[operation.id], || {
                format!("transaction {id} was answered from index {} as written at {:?}", seen.applied, seen.index)
            });
        }
    }
}

fn told(operation: &Operation) -> Option<(&str, Option<&crate::history::Seen>)> {
    match &operation.outcome {
        crate::model::Outcome::Ok(Answer::Applied { txn, .. }, seen) => Some((txn, seen.as_ref())),
        _ => None,
    }
}

fn look_ups_repeat_the_answer(model: &Model, findings: &mut Findings) {
    // By id: the answer, when its last request was sent, whose it was, and whether its key is remembered for long.
    let mut answers: BTreeMap<&str, &Operation> = BTreeMap::new();
    let mut keys: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Op::Txn(_), Some((id, _))) = (&operation.op, told(operation)) {
            answers.entry(id).or_insert(operation);
        }
        if operation.key.is_some() && operation.began == operation.invoked {
            keys.entry(&operation.client).or_default().push(operation.began);
        }
    }
    for operation in model.operations.values() {
        let Op::LookUp { txn, level, .. } = &operation.op else { continue };
        let Some(first) = answers.get(txn.as_str()) else { continue };
        match operation.answer() {
            Some(answer @ Answer::Applied { .. }) => {
                findings.expect(first.answer() == Some(answer), &[first.id, operation.id], || {
                    format!("transaction {txn} is remembered with another answer than it got")
                });
            }
            Some(Answer::Forgotten) if *level == Level::Linearizable && first.end() < operation.invoked => {
                // Keys with a floor are dropped as soon as it has passed them (X2).
                let opaque = first.key.as_ref().is_some_and(|key| !key.contains(':'));
                let newer = keys
                    .get(first.client.as_str())
                    .map_or(0, |began| began.iter().filter(|at| first.began < **at && **at < operation.end()).count());
                findings.expect(!opaque || newer > REMEMBERED_KEYS, &[first.id, operation.id], || {
                    format!("transaction {txn} is forgotten after {newer} newer keys")
                });
            }
            _ => {}
        }
    }
}
