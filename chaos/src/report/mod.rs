//! What a run came to: the verdict, the table of invariants, `report.json` and `report.html`.
//!
//! Invariant: only a run that was valid, decided every property and violated none is a pass; the exit code says so too.

pub mod figures;
pub(crate) mod html;
mod page;
mod shrink;
mod story;
mod timeline;

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checker::{Checker, Finding, Findings, replication, searches, transactions, validity};
use crate::columns::{Columns, Side};
use crate::history::{Event, Micros, Op, RunInfo};
use crate::model::Model;
use crate::scenario::Scenario;

pub use figures::Figures;

/// File name of the report inside a report directory.
pub const FILE: &str = "report.json";
/// File name of the report for people.
pub const PAGE: &str = "report.html";
/// Findings that are printed per property.
const PRINTED_MAX: usize = 5;

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was checked and holds.
    Pass,
    /// A property was broken.
    Violation,
    /// Nothing was seen to break, but something could not be decided.
    #[default]
    Unknown,
    /// The run shows too little to mean anything.
    Invalid,
    /// This machine cannot do what the scenario needs.
    Skipped,
    /// The harness itself failed; nothing is said about the product.
    Harness,
}

impl Verdict {
    /// The program's exit code (pass 0, violation 12, harness failure 13, skipped 14, everything else 1).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Violation => 12,
            Self::Harness => 13,
            Self::Skipped => 14,
            Self::Unknown | Self::Invalid => 1,
        }
    }

    /// The word at the end of the output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Violation => "VIOLATION",
            Self::Unknown => "UNKNOWN",
            Self::Invalid => "INVALID",
            Self::Skipped => "SKIPPED",
            Self::Harness => "HARNESS FAILURE",
        }
    }
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Planned rounds.
    pub rounds: u32,
    /// Version of the checked software.
    pub version: String,
    /// Revision of the sources of the program that ran it.
    #[serde(default)]
    pub revision: String,
    /// The command that runs it again.
    #[serde(default)]
    pub command: String,
    /// Seconds since 1970 when it began.
    #[serde(default)]
    pub started_at: u64,
    /// Index nodes.
    #[serde(default)]
    pub nodes: u64,
    /// Clients.
    #[serde(default)]
    pub clients: usize,
    /// More arguments of every node.
    #[serde(default)]
    pub node_arguments: Vec<String>,
    /// Seconds that rounds went on for, where that was asked instead of a number of rounds.
    #[serde(default)]
    pub duration_s: Option<u64>,
    /// What the run came to.
    pub verdict: Verdict,
    /// Operations that were answered with success.
    pub acknowledged: usize,
    /// Operations whose outcome nobody knows.
    pub unknown: usize,
    /// Operations that were refused.
    pub refused: usize,
    /// Why the run is invalid.
    pub shortcomings: Vec<String>,
    /// One per property.
    pub properties: Vec<Property>,
    /// Time from each fault to the next acknowledged write, in microseconds, sorted.
    pub recoveries_us: Vec<Micros>,
    /// Durations, counts and rates.
    #[serde(default)]
    pub figures: Figures,
}

/// One property's result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Property {
    /// Name of its checker.
    pub name: String,
    /// In words.
    pub property: String,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

/// Checks a history.
pub fn judge(model: &Model, checkers: &[Checker], scenario: Option<&Scenario>) -> Report {
    // Copies exist only where peers share folders.
    let has_peers = !model.copies.is_empty() || scenario.is_some_and(|scenario| scenario.setup.peers > 0);
    // A workload that never searches says nothing about searches, and histories of before there were transactions have
    // none; a batch of simulations has to search somewhere.
    let has_searches = model.operations.values().any(|operation| matches!(operation.op, Op::Search { .. }));
    let has_transactions = model.operations.values().any(|operation| matches!(operation.op, Op::Txn(_)));
    let says_something = |checker: &&Checker| match checker.name {
        name if name == replication::CHECKER.name => has_peers,
        name if name == searches::CHECKER.name => has_searches,
        name if name == transactions::CHECKER.name => has_transactions,
        _ => true,
    };
    let properties: Vec<Property> = checkers
        .iter()
        .filter(says_something)
        .map(|checker| Property {
            name: checker.name.into(),
            property: checker.property.into(),
            findings: (checker.check)(model),
        })
        .collect();
    let mut shortcomings =
        scenario.map(|scenario| validity::shortcomings(model, &scenario.demands)).unwrap_or_default();
    if model.interrupted {
        shortcomings.insert(0, "the run was interrupted".into());
    }
    let any = |test: fn(&Findings) -> bool| properties.iter().any(|property| test(&property.findings));
    let verdict = if any(|findings| findings.violations > 0) {
        Verdict::Violation
    } else if !shortcomings.is_empty() {
        Verdict::Invalid
    } else if any(|findings| !findings.undecided.is_empty() || findings.checks == 0) {
        Verdict::Unknown
    } else {
        Verdict::Pass
    };
    let mut recoveries_us = model.recoveries.clone();
    recoveries_us.sort_unstable();
    let acknowledged = model.acknowledged();
    let refused = model.operations.values().filter(|operation| !operation.may_be_applied()).count();
    Report {
        scenario: model.run.scenario.clone(),
        seed: model.run.seed,
        rounds: model.run.rounds,
        version: model.run.version.clone(),
        revision: model.run.revision.clone(),
        command: command(&model.run),
        started_at: model.run.started_at,
        nodes: model.run.nodes,
        clients: model.run.clients,
        node_arguments: model.run.node_arguments.clone(),
        duration_s: model.run.duration_s,
        verdict,
        acknowledged,
        refused,
        unknown: model.operations.len() - acknowledged - refused,
        shortcomings,
        properties,
        figures: Figures::new(model, &recoveries_us),
        recoveries_us,
    }
}

/// The command that does a run again.
fn command(run: &RunInfo) -> String {
    let mut command = format!("raftshare-chaos run {} --seed {} --nodes {}", run.scenario, run.seed, run.nodes);
    match run.duration_s {
        Some(seconds) => {
            let _ = write!(command, " --duration {seconds}s");
        }
        None => {
            let _ = write!(command, " --rounds {}", run.rounds);
        }
    }
    if run.clients > 0 {
        let _ = write!(command, " --clients {}", run.clients);
    }
    for argument in &run.node_arguments {
        let _ = write!(command, " --node-arg={argument}");
    }
    command
}

/// The value below which `percent` of the sorted values lie; 0 for none.
pub fn percentile(sorted: &[Micros], percent: usize) -> Micros {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or(0)
}

impl Report {
    /// Reasons why it does not pass, the gravest first.
    pub fn why(&self) -> Vec<String> {
        let mut why = Vec::new();
        for property in &self.properties {
            why.extend(property.findings.first.iter().map(|finding| format!("{}: {}", property.name, finding.what)));
        }
        why.extend(self.shortcomings.iter().cloned());
        for property in &self.properties {
            why.extend(property.findings.undecided.iter().map(|reason| format!("{}: {reason}", property.name)));
            if property.findings.checks == 0 && property.findings.undecided.is_empty() {
                why.push(format!("{}: nothing was checked", property.name));
            }
        }
        why
    }

    /// The table and everything after it, as printed.
    pub fn text(&self, directory: &Path) -> String {
        let mut table = Columns::new([(Side::Left, "INVARIANT"), (Side::Right, "CHECKS"), (Side::Right, "FAIL")]);
        for Property { property, findings, .. } in &self.properties {
            table.row(vec![property.clone(), findings.checks.to_string(), findings.violations.to_string()]);
        }
        let mut text = table.text() + "\n";
        let _ = writeln!(
            text,
            " operations: {} acknowledged, {} refused, {} unknown",
            self.acknowledged, self.refused, self.unknown
        );
        let seconds = |percent| percentile(&self.recoveries_us, percent) as f64 / 1e6;
        let (p50, p95, p99, max) = (seconds(50), seconds(95), seconds(99), seconds(100));
        if !self.recoveries_us.is_empty() {
            let _ = writeln!(text, " failover   p50 {p50:.2} s   p95 {p95:.2} s   p99 {p99:.2} s   max {max:.2} s");
        }
        self.reasons(&mut text);
        let word = self.verdict.word();
        let _ = write!(text, "{word}  seed {}  report {}", self.seed, directory.display());
        text
    }

    fn reasons(&self, text: &mut String) {
        for property in &self.properties {
            for Finding { what, operations } in property.findings.first.iter().take(PRINTED_MAX) {
                let _ = writeln!(text, " ! {}: {what} (operations {operations:?})", property.name);
            }
            for why in &property.findings.undecided {
                let _ = writeln!(text, " ? {}: {why}", property.name);
            }
            if property.findings.checks == 0 && property.findings.undecided.is_empty() {
                let _ = writeln!(text, " ? {}: nothing was checked", property.name);
            }
        }
        for why in &self.shortcomings {
            let _ = writeln!(text, " ? the run shows too little: {why}");
        }
    }

    /// Writes `report.json`, and `report.html` about these events and the checkers that judged them.
    pub fn write(&self, directory: &Path, events: &[Event], checkers: &[Checker]) -> std::io::Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(directory.join(FILE), json + "\n")?;
        std::fs::write(directory.join(PAGE), page::render(self, events, checkers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::ALL;
    use crate::checker::sample::{End, Sample, good, publish, published};
    use crate::scenario::find;

    #[test]
    fn a_good_run_passes_unless_it_shows_too_little() {
        let model = good().model();
        assert_eq!(judge(&model, ALL, None).verdict, Verdict::Pass);
        let report = judge(&model, ALL, find("leader-kill"));
        assert_eq!(report.verdict, Verdict::Invalid);
        assert_eq!(report.verdict.exit_code(), 1);
        assert!(report.text(Path::new("out")).contains("too little"));
    }

    #[test]
    fn a_violation_outweighs_everything() {
        let mut sample = good();
        sample.op((300, 301), publish("a", "f", 3, "h9", false), published(9));
        let report = judge(&sample.model(), ALL, find("leader-kill"));
        assert_eq!((report.verdict, report.verdict.exit_code()), (Verdict::Violation, 12));
        assert!(report.text(Path::new("out")).contains(" ! durability"));
    }

    #[test]
    fn what_was_not_decided_is_no_pass() {
        let mut sample = Sample::default();
        sample.op((1, 2), publish("a", "f", 1, "h", false), End::Unknown);
        assert_eq!(judge(&sample.model(), ALL, None).verdict, Verdict::Unknown);
    }

    #[test]
    fn percentiles_of_few_values() {
        assert_eq!((percentile(&[], 50), percentile(&[7], 99)), (0, 7));
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 95), percentile(&values, 100)), (51, 96, 100));
    }
}
