//! Finds the remembered answer of a transaction by its id (K5).
//!
//! Invariant: it has exactly the transactions whose answers are in the idempotency table, so it is no larger than that
//! table and forgets with it. It is derived: slots of owners are those of this process, and only the ids are compared.

use std::collections::BTreeMap;

use super::answers::{Answer, Answers};
use super::owners::Owners;
use crate::catalog::reply::{Reply, TxnOutcome};
use crate::catalog::tables::slab::Id;
use crate::types::TxnId;

/// The slots of the owners of remembered transactions.
#[derive(Debug, Clone, Default)]
pub(in crate::catalog) struct Txns(BTreeMap<TxnId, Id>);

impl Txns {
    /// Notes that an answer was stored; `owner` gives the slot of its owner.
    pub(super) fn stored(&mut self, txn: Option<TxnId>, owner: impl FnOnce() -> Option<Id>) {
        if let Some(txn) = txn
            && let Some(owner) = owner()
        {
            self.0.insert(txn, owner);
        }
    }

    /// Notes that an answer was forgotten.
    pub(super) fn forgotten(&mut self, answer: &Answer) {
        if let Some(txn) = answer.txn() {
            self.0.remove(&txn);
        }
    }

    /// Finds all of them in a table.
    pub(super) fn of(owners: &Owners) -> Self {
        let mut txns = Self::default();
        for (slot, owner) in owners.records().iter() {
            let ids = owner.keys.answers().filter_map(Answer::txn);
            txns.0.extend(ids.map(|txn| (txn, slot)));
        }
        txns
    }
}

impl PartialEq for Txns {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for Txns {}

impl Answers {
    /// The remembered outcome of a transaction. Looks through the answers of one peer.
    pub(in crate::catalog) fn txn(&self, txn: TxnId) -> Option<TxnOutcome> {
        let owner = *self.txns.0.get(&txn)?;
        let answer = self.owners.get_at(owner).answers().find(|answer| answer.txn() == Some(txn))?;
        match answer.result() {
            Some(Ok(Reply::Txn(outcome))) => Some(outcome),
            _ => None,
        }
    }

    /// Whether every transaction that it knows is found.
    pub(in crate::catalog) fn txns_are_found(&self) -> bool {
        self.txns.0.keys().all(|txn| self.txn(*txn).is_some())
    }
}
