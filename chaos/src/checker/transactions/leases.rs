//! Holds transactions against leases and versions: while a name is leased, its attributes change only with that
//! lease's token (K4), conditions on a lease are true only while it can live, and versions in answers only grow.
//!
//! Invariant: a lease counts as live only in the time that its holder is right to count on, and as dead only once a
//! later one was granted.

use std::collections::BTreeMap;

use super::Findings;
use super::gather::{Fate, Place, Transaction};
use crate::history::{Branch, Condition, Micros, Op, OpId};
use crate::model::{Lease, Model};

/// Judges every acknowledged transaction.
pub(super) fn check(model: &Model, transactions: &[Transaction<'_>], findings: &mut Findings) {
    let mut leases: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in model.leases.values() {
        leases.entry(&lease.file).or_default().push(lease);
    }
    for one in transactions {
        let Fate::Applied { branch, .. } = one.fate else { continue };
        for change in one.txn.changes(branch) {
            tokens_are_shown(one, &change.name, change.fence, leases.get(change.name.as_str()), findings);
        }
        for condition in &one.txn.conditions {
            if let Condition::Lease { name, fence } = condition {
                let only = one.txn.conditions.len() == 1;
                condition_was_true_or_false(one, branch, only, *fence, leases.get(name.as_str()), findings);
            }
        }
    }
    versions_grow(model, transactions, findings);
}

fn covers(lease: &Lease, one: &Transaction<'_>) -> bool {
    lease.from < one.began && one.end < lease.guaranteed_until()
}

fn tokens_are_shown(
    one: &Transaction<'_>,
    name: &str,
    fence: Option<u64>,
    leases: Option<&Vec<&Lease>>,
    findings: &mut Findings,
) {
    for lease in leases.into_iter().flatten().filter(|lease| Some(lease.fence) != fence) {
        let near = lease.asked < one.end && one.began < lease.ttl_end;
        if near {
            findings.expect(!covers(lease, one), &[lease.granted_by, one.shown], || {
                format!(
                    "{name} was changed without its lease's token, while fence {} was {}'s",
                    lease.fence, lease.peer
                )
            });
        }
        // A token that is shown has to be that of the live lease, whether there is one or not.
        if let Some(fence) = fence.filter(|fence| *fence < lease.fence) {
            findings.expect(lease.from >= one.began, &[lease.granted_by, one.shown], || {
                format!("{name} was changed under fence {fence} after fence {} had been granted", lease.fence)
            });
        }
    }
}

fn condition_was_true_or_false(
    one: &Transaction<'_>,
    branch: Branch,
    only: bool,
    fence: u64,
    leases: Option<&Vec<&Lease>>,
    findings: &mut Findings,
) {
    let leases = || leases.into_iter().flatten();
    match branch {
        Branch::Then => {
            let later = leases().find(|lease| lease.fence > fence && lease.from < one.began);
            let shown: Vec<OpId> = later.map(|lease| lease.granted_by).into_iter().chain([one.shown]).collect();
            findings.expect(later.is_none(), &shown, || {
                format!("a condition on fence {fence} held although a later lease had been granted")
            });
        }
        Branch::Else if only => {
            let live = leases().find(|lease| lease.fence == fence && covers(lease, one));
            let shown: Vec<OpId> = live.map(|lease| lease.granted_by).into_iter().chain([one.shown]).collect();
            findings
                .expect(live.is_none(), &shown, || format!("a condition on fence {fence} did not hold while it lived"));
        }
        Branch::Else => {}
    }
}

/// Along the log the versions in answers do not fall, and they are not older than what was acknowledged before.
fn versions_grow(model: &Model, transactions: &[Transaction<'_>], findings: &mut Findings) {
    let mut acknowledged: BTreeMap<&str, Vec<(Micros, u64, OpId)>> = BTreeMap::new();
    let mut sent: BTreeMap<&str, BTreeMap<&str, Micros>> = BTreeMap::new();
    for (operation, file, version, _) in model.acknowledged_publishes() {
        acknowledged.entry(file).or_default().push((operation.end(), version, operation.id));
    }
    for operation in model.operations.values().filter(|operation| operation.may_be_applied()) {
        if let Op::Publish { file, hash, .. } = &operation.op {
            sent.entry(file).or_default().entry(hash).or_insert(operation.invoked);
        }
    }
    let mut told: Vec<(Place, &Transaction<'_>)> = transactions
        .iter()
        .filter_map(|one| match one.fate {
            Fate::Applied { at, .. } => Some((at, one)),
            _ => None,
        })
        .collect();
    told.sort_by_key(|(at, _)| *at);
    let mut newest: BTreeMap<&str, (u64, OpId)> = BTreeMap::new();
    for (_, one) in told {
        let Fate::Applied { names, .. } = one.fate else { continue };
        for after in names {
            let version = after.version.unwrap_or(0);
            let known = acknowledged.get(after.name.as_str()).into_iter().flatten();
            let known = known.filter(|(end, ..)| *end < one.began).map(|(_, version, id)| (*version, *id)).max();
            let before = newest.entry(&after.name).or_default();
            let least = known.unwrap_or_default().max(*before);
            findings.expect(version >= least.0, &[least.1, one.shown], || {
                format!("a transaction saw {} at v{version} after v{}", after.name, least.0)
            });
            let published = sent.get(after.name.as_str()).into_iter().flat_map(BTreeMap::values);
            let most = published.filter(|at| **at < one.end).count() as u64;
            findings.expect(version <= most, &[one.shown], || {
                format!("a transaction saw {} at v{version}, of which {most} can have been published", after.name)
            });
            *before = (*before).max((version, one.shown));
        }
    }
}
