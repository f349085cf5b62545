//! Proves: linearizable reads (and `leader` reads while no process was stopped) see every version acknowledged before
//! they were sent and never one older than an earlier read saw; no read sees a version from the future; and within one
//! node process the applied index of stale answers never goes back.
//!
//! Source: rules R1, R2; Jepsen's Consul analysis; etcd #15271 and #20221 (revisions that go back).
//!
//! Across restarts of a node nothing is promised (R2 speaks of one process): a new process may know less than the old
//! one did, until it hears from the leader. Reads with a log index close that gap (`read_your_writes.rs`).
//!
//! Cannot see: the order of reads and writes that were under way at the same moment. Versions of one file only grow, so
//! order rules are complete for single files; order across files is not examined.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, Level, Micros, Op, OpId};
use crate::model::{Model, Operation, Outcome};

/// Reads are as fresh as they claim.
pub const CHECKER: Checker = Checker { name: "reads", property: "reads never stale beyond their level", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let paused = model.faults.iter().any(|fault| fault.fault.voids_leader_reads());
    for file in model.files() {
        fresh_reads(model, file, paused, &mut findings);
    }
    nothing_from_the_future(model, &mut findings);
    stale_reads_never_go_back(model, &mut findings);
    findings
}

fn read_version(operation: &Operation) -> Option<(Level, u64)> {
    match (&operation.op, operation.answer()) {
        (Op::Read { level, .. }, Some(Answer::File { version, .. })) => Some((*level, *version)),
        _ => None,
    }
}

fn fresh_reads(model: &Model, file: &str, paused: bool, findings: &mut Findings) {
    let strong = |level| level == Level::Linearizable || (level == Level::Leader && !paused);
    let mut reads: Vec<(&Operation, u64)> = Vec::new();
    let mut known: Vec<(&Operation, u64)> = Vec::new();
    for operation in model.operations.values() {
        match (&operation.op, operation.answer()) {
            (Op::Read { file: of, .. }, _) if of == file => {
                if let Some((level, version)) = read_version(operation).filter(|(level, _)| strong(*level)) {
                    reads.push((operation, version));
                    known.push((operation, version));
                    debug_assert!(level != Level::Stale);
                }
            }
            (Op::Publish { file: of, .. }, Some(Answer::Published { version })) if of == file => {
                known.push((operation, *version));
            }
            _ => {}
        }
    }
    reads.sort_by_key(|(operation, _)| operation.invoked);
    known.sort_by_key(|(operation, _)| operation.end());
    let mut settled = known.into_iter().peekable();
    let mut newest: (u64, OpId) = (0, 0);
    for (read, version) in reads {
        while let Some((earlier, seen)) = settled.next_if(|(earlier, _)| earlier.end() < read.invoked) {
            newest = newest.max((seen, earlier.id));
        }
        findings.expect(version >= newest.0, &[newest.1, read.id], || {
            format!("a strong read of {file} saw v{version} after v{} was known", newest.0)
        });
    }
}

fn nothing_from_the_future(model: &Model, findings: &mut Findings) {
    let mut published: BTreeMap<(&str, &str), Micros> = BTreeMap::new();
    for operation in model.operations.values().filter(|operation| operation.may_be_applied()) {
        if let Op::Publish { file, hash, .. } = &operation.op {
            published.entry((file, hash)).or_insert(operation.invoked);
        }
    }
    for operation in model.operations.values() {
        let (Op::Read { file, .. }, Some(Answer::File { version, hash })) = (&operation.op, operation.answer()) else {
            continue;
        };
        if *version == 0 {
            continue;
        }
        let publish = published.get(&(file.as_str(), hash.as_str()));
        let holds = publish.is_some_and(|invoked| *invoked <= operation.end());
        findings.expect(holds, &[operation.id], || {
            format!("a read of {file} saw v{version}, whose content nobody had published by then")
        });
    }
}

fn stale_reads_never_go_back(model: &Model, findings: &mut Findings) {
    let mut by_process: BTreeMap<(u64, &str), Vec<(&Operation, u64)>> = BTreeMap::new();
    for operation in model.operations.values() {
        let stale = matches!(
            operation.op,
            Op::Read { level: Level::Stale, .. } | Op::ReadAttributes { level: Level::Stale, .. }
        );
        if let (true, Outcome::Ok(_, Some(seen))) = (stale, &operation.outcome) {
            by_process.entry((seen.node, &seen.boot)).or_default().push((operation, seen.applied));
        }
    }
    for ((node, _), reads) in by_process {
        let mut by_request = reads.clone();
        by_request.sort_by_key(|(operation, _)| operation.invoked);
        let mut by_answer = reads;
        by_answer.sort_by_key(|(operation, _)| operation.end());
        let mut answered = by_answer.into_iter().peekable();
        let mut greatest: (u64, OpId) = (0, 0);
        for (read, applied) in by_request {
            while let Some((earlier, index)) = answered.next_if(|(earlier, _)| earlier.end() < read.invoked) {
                greatest = greatest.max((index, earlier.id));
            }
            findings.expect(applied >= greatest.0, &[greatest.1, read.id], || {
                format!("node {node} answered from applied index {applied} after {}", greatest.0)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{FaultName, FaultOutcome, Seen};

    fn read(level: Level) -> Op {
        Op::Read { file: "f".into(), level, node: None, min_index: None }
    }

    #[test]
    fn a_stale_linearizable_read_is_caught() {
        let mut sample = good();
        sample.read((220, 221), "f", 2, "h2").read((222, 223), "f", 1, "h1");
        sample.caught_by(&CHECKER, "saw v1 after v2");
        let mut sample = good();
        sample.read((20, 21), "f", 0, "");
        sample.caught_by(&CHECKER, "saw v0 after v1");
    }

    #[test]
    fn leader_reads_count_only_while_nothing_was_stopped() {
        let old = || End::Ok(Answer::File { version: 0, hash: String::new() });
        let mut sample = good();
        sample.op((20, 21), read(Level::Leader), old());
        sample.caught_by(&CHECKER, "saw v0 after v1");
        sample.record(30, fault(FaultName::Stop, 1, FaultOutcome::Installed));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_content_before_its_publish_is_caught() {
        let mut sample = good();
        sample.read((3, 4), "f", 1, "h2").finals(300, "f", 2, "h2");
        sample.caught_by(&CHECKER, "nobody had published");
    }

    #[test]
    fn a_process_that_goes_back_is_caught_and_a_new_process_may() {
        let seen = |boot: &str, applied| Seen { node: 2, boot: boot.into(), applied, index: None };
        let answer = || Answer::File { version: 0, hash: String::new() };
        let mut sample = good();
        sample.op((300, 301), read(Level::Stale), End::Seen(answer(), seen("x", 9)));
        sample.op((302, 303), read(Level::Stale), End::Seen(answer(), seen("y", 8)));
        sample.accepted_by(&CHECKER);
        sample.op((304, 305), read(Level::Stale), End::Seen(answer(), seen("x", 8)));
        sample.caught_by(&CHECKER, "applied index 8 after 9");
    }
}
