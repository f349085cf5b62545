//! Proves: attributes are linearizable, by transactions that are applied as a whole, once, and in the order of their
//! ids. Replayed in that order, every acknowledged one took the branch that its conditions demand and left the
//! attributes that its answer tells; every read saw a state that it may see; every refusal for a bound was due. No
//! addition is lost or done twice, no bound is crossed, and what is on two names is on both or on neither. While a name
//! is leased, nothing changes it without the token. After healing every node shows the state that follows.
//!
//! Source: rules K1 to K5, X1 and R1; the bank test of Jepsen's analyses.
//!
//! How it works: `gather.rs` reads the requests, `slots.rs` their order, `tally.rs` finds out by sums what became of
//! those that nobody was told of, and `replay.rs` searches for an order that explains everything. `answers.rs`,
//! `bounds.rs` and `leases.rs` judge what needs no search.
//!
//! Cannot see: a transaction that was applied twice and leaves no trace of its own, which the workload does not send;
//! the order of two reads between the same two acknowledged transactions; conditions on a lease that may or may not
//! have lived. What takes the search too long is undecided.

mod answers;
mod bounds;
mod gather;
#[cfg(test)]
mod in_memory;
mod leases;
mod replay;
mod slots;
mod tally;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;

use self::gather::{Fate, Transaction};
use self::slots::Slots;
use self::tally::Tally;
use super::{Checker, Findings};
use crate::model::Model;

/// Attributes are linearizable.
pub const CHECKER: Checker =
    Checker { name: "transactions", property: "transactions atomic, once, in one order", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let (transactions, sights) = (gather::transactions(model), gather::sights(model));
    answers::check(model, &transactions, &mut findings);
    bounds::check(&transactions, &sights, &mut findings);
    leases::check(model, &transactions, &mut findings);
    let slots = Slots::of(&transactions);
    let tally = tally::tally(&transactions, &sights, &slots, &mut findings);
    one_of_a_key(&transactions, &tally, &mut findings);
    replay::replay(&transactions, &sights, &slots, &tally, &mut findings);
    if model.final_attributes.is_empty() && transactions.iter().any(|one| matches!(one.fate, Fate::Applied { .. })) {
        findings.undecided.push("the attributes were not read after healing".into());
    }
    findings
}

/// Of several requests under one key no more than one is applied (X1).
fn one_of_a_key(transactions: &[Transaction<'_>], tally: &Tally<'_>, findings: &mut Findings) {
    let mut applied: BTreeMap<usize, u64> = BTreeMap::new();
    for (index, one) in transactions.iter().enumerate() {
        let certain = tally.open.get(&index).is_some_and(|known| known.certain);
        if certain || matches!(one.fate, Fate::Applied { .. }) {
            let first = *applied.entry(one.key).or_insert(one.shown);
            findings.expect(first == one.shown, &[first, one.shown], || {
                "two different transactions under one key were both applied".into()
            });
        }
    }
}
