//! Proves: a file's versions are 1, 2, 3, … without gaps, each acknowledged once and with one hash. The versions that
//! nobody acknowledged are no more than the publishes whose outcome is unknown; a publish under a lease continues
//! from the version that its grant named.
//!
//! Source: rules F2, F3 and F5. The count also catches a retry that was applied twice (X1): it leaves a version behind
//! that no unknown publish can explain.
//!
//! Cannot see: which of several unknown publishes made a version, unless the audit after healing found its hash.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Findings};
use crate::history::{Answer, Op, OpId};
use crate::model::{Model, Outcome};

/// Versions have no gaps and one owner each.
pub const CHECKER: Checker = Checker { name: "versions", property: "versions gap-free, each acknowledged once", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    one_hash_per_version(model, &mut findings);
    no_unexplained_versions(model, &mut findings);
    publishes_continue_their_grant(model, &mut findings);
    findings
}

fn one_hash_per_version(model: &Model, findings: &mut Findings) {
    let mut owners: BTreeMap<(&str, u64), (&str, OpId)> = BTreeMap::new();
    for (operation, file, version, hash) in model.acknowledged_publishes() {
        findings.expect(version >= 1, &[operation.id], || format!("{file} was published as version 0"));
        // Announcing the current version again with its own hash is allowed (F4) and not a second publish.
        let (known, first) = *owners.entry((file, version)).or_insert((hash, operation.id));
        findings.expect(known == hash, &[first, operation.id], || {
            format!("{file} v{version} was acknowledged for two different contents")
        });
    }
    let mut observe = |file: &str, version: u64, hash: &str, shown: &[OpId], who: &str| {
        if let Some((known, first)) = owners.get(&(file, version)) {
            let operations: Vec<OpId> = [*first].iter().chain(shown).copied().collect();
            findings.expect(known == &hash, &operations, || {
                format!("{file} v{version} has another content for {who} than was acknowledged")
            });
        }
    };
    for operation in model.operations.values() {
        if let (Op::Read { file, .. }, Some(Answer::File { version, hash })) = (&operation.op, operation.answer()) {
            observe(file, *version, hash, &[operation.id], "a read");
        }
    }
    for read in &model.finals {
        observe(&read.file, read.version, &read.hash, &[], "the final read");
    }
    for (file, hash, version) in &model.audits {
        if let Some(version) = version {
            observe(file, *version, hash, &[], "the audit");
        }
    }
}

/// Final version = acknowledged versions + applied unknown publishes.
fn no_unexplained_versions(model: &Model, findings: &mut Findings) {
    let mut acknowledged: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    for (_, file, version, hash) in model.acknowledged_publishes() {
        acknowledged.entry(file).or_default().insert(version);
        settled.insert(hash);
    }
    // Repeats under one key share their hash and count once.
    let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Op::Publish { file, hash, .. }, Outcome::Unknown) = (&operation.op, &operation.outcome)
            && !settled.contains(hash.as_str())
        {
            unknown.entry(file).or_default().insert(hash);
        }
    }
    let last: BTreeMap<&str, u64> = model.finals.iter().map(|read| (read.file.as_str(), read.version)).collect();
    for (file, version) in last {
        let known = acknowledged.get(file).map_or(0, |versions| versions.range(..=version).count() as u64);
        let open = unknown.get(file).map_or(0, |hashes| hashes.len() as u64);
        let unexplained = version.saturating_sub(known);
        findings.expect(unexplained <= open, &[], || {
            format!("{file} is at v{version}: {known} versions acknowledged, {open} publishes unknown, {unexplained} unexplained")
        });
    }
}

fn publishes_continue_their_grant(model: &Model, findings: &mut Findings) {
    // Per lease: how many publishes under it may have been applied, in order of their numbers.
    let mut under: BTreeMap<u64, Vec<OpId>> = BTreeMap::new();
    for operation in model.operations.values().filter(|operation| operation.may_be_applied()) {
        if let Op::Publish { fence: Some(fence), .. } = operation.op {
            under.entry(fence).or_default().push(operation.id);
        }
    }
    for (operation, file, version, _) in model.acknowledged_publishes() {
        let Op::Publish { fence: Some(fence), .. } = operation.op else { continue };
        let (Some(lease), Some(publishes)) = (model.leases.get(&fence), under.get(&fence)) else { continue };
        let most = lease.version + publishes.len() as u64;
        let holds = lease.version < version && version <= most;
        findings.expect(holds, &[lease.granted_by, operation.id], || {
            format!("{file} v{version} was published under fence {fence}, which was granted at v{}", lease.version)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn one_version_acknowledged_to_two_publishers_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 9, 10, 1).publish((302, 303), "a", "f", 10, "other", published(2));
        sample.grant((304, 305), "b", "f", 9, 11, 1).publish((306, 307), "b", "f", 11, "another", published(2));
        sample.caught_by(&CHECKER, "two different contents");
    }

    #[test]
    fn another_hash_in_a_read_is_caught() {
        let mut sample = good();
        sample.read((220, 221), "f", 1, "not-h1");
        sample.caught_by(&CHECKER, "another content for a read");
    }

    #[test]
    fn a_gap_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 9, 10, 2).publish((302, 303), "a", "f", 10, "h4", published(4));
        sample.finals(400, "f", 4, "h4");
        sample.caught_by(&CHECKER, "1 publishes unknown, 2 unexplained");
    }

    #[test]
    fn a_retry_applied_twice_is_caught() {
        let mut sample = Sample::default();
        // One publish, acknowledged by its second attempt: the first one left version 1 behind.
        sample.grant((1, 2), "a", "f", 99, 1, 0).publish((3, 9), "a", "f", 1, "h", published(2));
        sample.finals(20, "f", 2, "h");
        sample.caught_by(&CHECKER, "1 unexplained");
    }

    #[test]
    fn a_publish_that_ignores_its_grants_version_is_caught() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 9, 10, 7).publish((302, 303), "a", "f", 10, "h3", published(3));
        sample.caught_by(&CHECKER, "granted at v7");
    }
}
