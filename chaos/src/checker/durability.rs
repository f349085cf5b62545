//! Proves: no acknowledged version is lost. After healing, every node's linearizable read is at least at the newest
//! acknowledged version; the hash there is one that somebody published; and every acknowledged version that the index
//! still remembers is found under its hash.
//!
//! Source: rules W1, W3 and F2; the durability checks of etcd's robustness tests and of openraft's simulation.
//!
//! Cannot see: versions older than the index remembers (16 per file), and whether disks kept what a killed process had
//! not synced; only a power cut shows that.

use std::collections::{BTreeMap, BTreeSet};

use raft_store::types::limits::REMEMBERED_VERSIONS;

use super::{Checker, Findings};
use crate::history::{Op, OpId};
use crate::model::Model;

/// Acknowledged versions survive.
pub const CHECKER: Checker = Checker { name: "durability", property: "no acknowledged version lost", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    final_state_reaches_acknowledged(model, &mut findings);
    final_hashes_were_published(model, &mut findings);
    remembered_versions_are_found(model, &mut findings);
    findings
}

fn final_state_reaches_acknowledged(model: &Model, findings: &mut Findings) {
    let mut newest: BTreeMap<&str, (u64, OpId)> = BTreeMap::new();
    for (operation, file, version, _) in model.acknowledged_publishes() {
        let entry = newest.entry(file).or_default();
        *entry = (*entry).max((version, operation.id));
    }
    if model.finals.is_empty() && !newest.is_empty() {
        findings.undecided.push("the files were not read after healing".into());
        return;
    }
    for (file, (version, operation)) in newest {
        let reads: Vec<_> = model.finals.iter().filter(|read| read.file == file).collect();
        if reads.is_empty() {
            findings.undecided.push(format!("{file} was not read after healing"));
        }
        for read in reads {
            findings.expect(read.version >= version, &[operation], || {
                format!("{file} v{version} was acknowledged, node {} has v{}", read.node, read.version)
            });
        }
    }
}

fn final_hashes_were_published(model: &Model, findings: &mut Findings) {
    let published: BTreeSet<(&str, &str)> = model
        .operations
        .values()
        .filter(|operation| operation.may_be_applied())
        .filter_map(|operation| match &operation.op {
            Op::Publish { file, hash, .. } => Some((file.as_str(), hash.as_str())),
            _ => None,
        })
        .collect();
    for read in model.finals.iter().filter(|read| read.version > 0) {
        let known = published.contains(&(read.file.as_str(), read.hash.as_str()));
        findings.expect(known, &[], || {
            format!("{} v{} on node {} has a content that nobody published", read.file, read.version, read.node)
        });
    }
}

fn remembered_versions_are_found(model: &Model, findings: &mut Findings) {
    let last: BTreeMap<&str, u64> = model.finals.iter().map(|read| (read.file.as_str(), read.version)).collect();
    let audits: BTreeMap<(&str, &str), Option<u64>> =
        model.audits.iter().map(|(file, hash, version)| ((file.as_str(), hash.as_str()), *version)).collect();
    for (operation, file, version, hash) in model.acknowledged_publishes() {
        let remembered = last.get(file).is_some_and(|&last| version + REMEMBERED_VERSIONS as u64 > last);
        if let Some(found) = audits.get(&(file, hash)).filter(|_| remembered) {
            findings.expect(*found == Some(version), &[operation.id], || match found {
                Some(found) => format!("{file} v{version} was acknowledged, its content is now found as v{found}"),
                None => format!("{file} v{version} was acknowledged, its content is not among the remembered versions"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Record;

    #[test]
    fn a_lost_version_is_caught() {
        let mut sample = good();
        sample.grant((190, 191), "a", "f", 1, 10, 2).publish((192, 193), "a", "f", 10, "h3", published(3));
        sample.caught_by(&CHECKER, "v3 was acknowledged, node 1 has v2");
    }

    #[test]
    fn a_node_that_lags_after_healing_is_caught() {
        let mut sample = good();
        sample.record(230, Record::Final { node: 2, file: "f".into(), version: 0, hash: String::new() });
        sample.caught_by(&CHECKER, "node 2 has v0");
    }

    #[test]
    fn a_content_that_nobody_published_is_caught() {
        let mut sample = good();
        sample.record(230, Record::Final { node: 2, file: "f".into(), version: 2, hash: "made up".into() });
        sample.caught_by(&CHECKER, "nobody published");
    }

    #[test]
    fn a_replaced_old_version_is_caught() {
        let mut sample = good();
        sample.audit(230, "f", "h1", None);
        sample.caught_by(&CHECKER, "not among the remembered");
    }

    #[test]
    fn without_final_reads_nothing_is_decided() {
        let mut sample = Sample::default();
        sample.publish((1, 2), "a", "f", 1, "h", published(1));
        assert_eq!(sample.check(&CHECKER).undecided.len(), 1);
    }
}
