//! Proves: every file is a linearizable object. Its register (version and hash) and its lease (fencing
//! token, holder, and the moment until which it is guaranteed) went through one order of operations that
//! agrees with real time and explains every answer: grants, renewals, releases, publishes, strong reads, and
//! refusals that say that a lease is over.
//!
//! Source: Herlihy and Wing; the search is `wgl.rs`, one object per file (linearizability is
//! local). Rules L1 to L3, F2, F5, R1.
//!
//! How leases end by themselves: log time is not the checker's time, but a TTL begins no earlier than its request was
//! sent. So every grant and renewal brings an *expiry*: an operation that may take effect at any time from the moment
//! at which the TTL could be over at the earliest, or never, and only if no renewal moved that moment on.
//!
//! Requests under one key are one operation (X1), from the first request to the first answer. One without an answer may
//! take effect at any time or never; it is offered to the search until a later lease proves that its time is over.
//!
//! Cannot see: what only stale reads saw, denials in favour of a peer that waits in line, and order across files.
//! What the budget cuts short is undecided.

mod file;
mod reading;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::file::Transition;
use self::reading::{History, Reading};
use super::wgl::{self, Budget, SearchResult};
use super::{Checker, Findings};
use crate::history::{Micros, OpId};
use crate::model::{Model, Operation, file_of};

/// Time that one file may take.
pub const FILE_BUDGET: Duration = Duration::from_secs(20);
/// Time that all files of a run may take.
pub const RUN_BUDGET: Duration = Duration::from_secs(120);
/// Configurations that are held at once for one file.
pub const CONFIGURATIONS_MAX: usize = 400_000;
/// Open operations that are shown beside one that cannot be explained.
const SHOWN_OPEN: usize = 6;

/// Files are linearizable.
pub const CHECKER: Checker =
    Checker { name: "linearizability", property: "every file and its lease linearizable", check };

fn check(model: &Model) -> Findings {
    check_within(model, RUN_BUDGET)
}

fn check_within(model: &Model, budget: Duration) -> Findings {
    let mut findings = Findings::default();
    let deadline = Instant::now() + budget;
    // A stopped process, or a clock that runs at another rate, voids the assumption of leader reads (R1).
    let strong_leader = !model.faults.iter().any(|fault| fault.fault.voids_leader_reads());
    let mut by_file: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let Some(file) = file_of(&operation.op) {
            by_file.entry(file).or_default().push(operation);
        }
    }
    for (file, operations) in by_file {
        let history = Reading::new(model, file, strong_leader).read(&operations);
        let time = FILE_BUDGET.min(deadline.saturating_duration_since(Instant::now()));
        judge(file, history, time, &mut findings);
    }
    findings
}

/// Searches, first without the grants that nobody was told of, then with as many of them as it takes.
///
/// An order found without some of them is valid; that no order exists counts only when all were used.
fn judge(file: &str, mut history: History, time: Duration, findings: &mut Findings) {
    let deadline = Instant::now() + time;
    let certain = history.calls.iter().filter(|call| call.certain).count();
    let verdict = loop {
        let time = deadline.saturating_duration_since(Instant::now());
        let verdict = wgl::search(&history.spec, &history.calls, Budget { time, configurations: CONFIGURATIONS_MAX });
        let SearchResult::Rejected { call, .. } = &verdict else { break verdict };
        let Some(denial) = history.calls.get(*call) else { break verdict };
        let wanted = match denial.op {
            Transition::Taken { holder } => history.newest_nameless(holder, denial.returned.unwrap_or(Micros::MAX)),
            _ => None,
        };
        match wanted {
            Some(index) => history.offer(index),
            None if history.nameless.is_empty() => break verdict,
            None => {
                while !history.nameless.is_empty() {
                    history.offer(0);
                }
            }
        }
    };
    match verdict {
        SearchResult::Accepted => findings.checks += certain as u64,
        SearchResult::Undecided { explained } => {
            findings.checks += explained as u64;
            findings.undecided.push(format!(
                "{file}: the search was given up after {explained} of {certain} operations; too many overlap"
            ));
        }
        SearchResult::Rejected { call, open, states } => {
            let others = open.into_iter().filter_map(|other| history.owners.get(other).copied().flatten());
            let mut shown: Vec<OpId> = history.owners.get(call).copied().flatten().into_iter().collect();
            shown.extend(others.take(SHOWN_OPEN));
            findings.expect(false, &shown, || {
                let what = history.calls.get(call).map(|call| words(&call.op)).unwrap_or_default();
                format!("{file}: no order of the operations explains that {what}; before it {}", possible(&states))
            });
        }
    }
}

fn possible(states: &[String]) -> String {
    match states {
        [only] => format!("only this was possible: {only}"),
        [first, ..] => format!("{} states were possible, such as {first}", states.len()),
        [] => "nothing was possible".into(),
    }
}

fn words(step: &Transition) -> String {
    match step {
        Transition::Grant { fence: Some(fence), .. } => format!("fence {fence} was granted"),
        Transition::Grant { fence: None, .. } => "a lease was granted".into(),
        Transition::Renew { fence, .. } => format!("fence {fence} was renewed"),
        Transition::Expire { .. } => "a lease ended".into(),
        Transition::Release { fence } => format!("fence {fence} was released"),
        Transition::Publish { version: Some(version), .. } => format!("v{version} was published"),
        Transition::Publish { version: None, .. } => "a version was published".into(),
        Transition::Read { version, .. } => format!("a read saw v{version}"),
        Transition::Over { fence } => format!("fence {fence} was over"),
        Transition::Taken { .. } => "the lease was denied in favour of its holder".into(),
    }
}

#[cfg(test)]
mod tests;
