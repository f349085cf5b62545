//! Proves: after healing, the nodes are the same: every node's linearizable read of a file gives the same version and
//! hash, that of a name with attributes the same ones, and all digests, taken at one applied index, are equal.
//!
//! Source: rule D1; etcd's comparison of hashes at the end of its robustness runs.
//!
//! Cannot see: differences in derived state that is not part of the digest, such as the search index.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::model::{FinalAttributes, Model};

/// Replicas are equal.
pub const CHECKER: Checker = Checker { name: "convergence", property: "all replicas equal at the end", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let mut first: BTreeMap<&str, (u64, u64, &str)> = BTreeMap::new();
    for read in &model.finals {
        let (node, version, hash) = *first.entry(&read.file).or_insert((read.node, read.version, &read.hash));
        findings.expect((version, hash) == (read.version, read.hash.as_str()), &[], || {
            format!(
                "{}: node {node} has v{version}, node {} has v{} or other bytes",
                read.file, read.node, read.version
            )
        });
    }
    let mut attributes: BTreeMap<&str, &FinalAttributes> = BTreeMap::new();
    for read in &model.final_attributes {
        let first = *attributes.entry(&read.name).or_insert(read);
        findings.expect(first.attributes == read.attributes, &[], || {
            format!("{}: nodes {} and {} have different attributes", read.name, first.node, read.node)
        });
    }
    digests(model, &mut findings);
    findings
}

fn digests(model: &Model, findings: &mut Findings) {
    let Some(first) = model.digests.first() else {
        findings.undecided.push("the nodes' digests were not taken".into());
        return;
    };
    if (model.digests.len() as u64) < model.run.nodes {
        findings.undecided.push(format!("only {} of {} digests were taken", model.digests.len(), model.run.nodes));
    }
    for other in model.digests.iter().skip(1) {
        if other.applied != first.applied {
            findings.undecided.push(format!("digests at {} and {} cannot be compared", first.applied, other.applied));
            continue;
        }
        findings.expect(other.digest == first.digest, &[], || {
            format!("nodes {} and {} differ at applied index {}", first.node, other.node, first.applied)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{AttributeValue, Attributes, Record};

    #[test]
    fn other_attributes_on_a_node_are_caught() {
        let seen = |node, value| Record::FinalAttributes {
            node,
            name: "f".into(),
            attributes: Attributes::from([("a".into(), AttributeValue::Integer(value))]),
            applied: None,
        };
        let mut sample = good();
        sample.record(230, seen(1, 1)).record(230, seen(2, 1)).accepted_by(&CHECKER);
        sample.record(230, seen(3, 2)).caught_by(&CHECKER, "nodes 1 and 3 have different attributes");
    }

    #[test]
    fn another_digest_at_the_same_index_is_caught() {
        let mut sample = good();
        sample.record(230, Record::Digest { node: 3, applied: 9, digest: "other".into() });
        sample.caught_by(&CHECKER, "differ at applied index 9");
    }

    #[test]
    fn digests_at_different_indexes_decide_nothing() {
        let mut sample = good();
        sample.record(230, Record::Digest { node: 3, applied: 10, digest: "other".into() });
        let found = sample.check(&CHECKER);
        assert_eq!((found.violations, found.undecided.len()), (0, 1));
    }

    #[test]
    fn different_files_are_caught() {
        let mut sample = good();
        sample.record(230, Record::Final { node: 3, file: "f".into(), version: 1, hash: "h1".into() });
        sample.caught_by(&CHECKER, "node 3 has v1");
    }

    #[test]
    fn missing_digests_decide_nothing() {
        let found = Sample::default().check(&CHECKER);
        assert_eq!(found.undecided.len(), 1);
    }
}
