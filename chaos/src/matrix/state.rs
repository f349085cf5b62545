//! What of a matrix is done, one line per run in `matrix.jsonl`.
//!
//! Invariant: a line is written after its run ended and its report was read; half a line at the end of the file (the
//! program was killed) is no line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::history::Micros;
use crate::report::{self, Report, Verdict};

/// File name of the state.
pub(super) const FILE: &str = "matrix.jsonl";

/// A run that ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FinishedRun {
    pub(super) scenario: String,
    pub(super) seed: u64,
    pub(super) rounds: u32,
    pub(super) verdict: Verdict,
    /// Reasons of everything but a pass.
    pub(super) why: Vec<String>,
    /// Name of its directory.
    pub(super) directory: String,
    pub(super) seconds: u64,
    pub(super) operations: usize,
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    pub(super) repeated: usize,
    pub(super) checks: u64,
    pub(super) violations: u64,
    /// Faults that took effect, by name.
    pub(super) faults: BTreeMap<String, usize>,
    pub(super) recoveries_us: Vec<Micros>,
    pub(super) revision: String,
}

impl FinishedRun {
    pub(super) fn skipped(scenario: &str, seed: u64, rounds: u32, why: String) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            rounds,
            verdict: Verdict::Skipped,
            why: vec![why],
            directory: format!("{scenario}-{seed}"),
            revision: crate::revision::REVISION.into(),
            ..Self::default()
        }
    }

    /// From what a run left behind.
    pub(super) fn read(
        scenario: &str,
        seed: u64,
        rounds: u32,
        directory: &Path,
        code: Option<i32>,
        began: Instant,
    ) -> Self {
        let mut done = Self::skipped(scenario, seed, rounds, String::new());
        done.seconds = began.elapsed().as_secs();
        let read = std::fs::read(directory.join(report::FILE)).ok();
        let Some(report) = read.and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok()) else {
            let skipped = code == Some(i32::from(Verdict::Skipped.exit_code()));
            done.verdict = if skipped { Verdict::Skipped } else { Verdict::Harness };
            done.why = vec![last_line(directory)];
            return done;
        };
        done.verdict = report.verdict;
        done.why = report.why();
        done.operations = report.figures.operations;
        (done.acknowledged, done.refused, done.unknown) = (report.acknowledged, report.refused, report.unknown);
        done.repeated = report.figures.repeated;
        done.checks = report.properties.iter().map(|property| property.findings.checks).sum();
        done.violations = report.properties.iter().map(|property| property.findings.violations).sum();
        done.faults = report.figures.faults.iter().map(|(name, tally)| (name.clone(), tally.installed)).collect();
        done.recoveries_us = report.recoveries_us;
        done.revision = report.revision;
        done
    }
}

/// The last thing a run said.
fn last_line(directory: &Path) -> String {
    let output = std::fs::read_to_string(directory.join("output.txt")).unwrap_or_default();
    output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// All runs that ended.
#[derive(Debug, Default)]
pub(super) struct State {
    done: BTreeMap<(String, u64, u32), FinishedRun>,
}

impl State {
    /// Reads what is there; with `retry`, runs count only if they passed or showed a violation.
    pub(super) fn open(directory: &Path, retry: bool) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut state = Self::default();
        for done in text.lines().filter_map(|line| serde_json::from_str::<FinishedRun>(line).ok()) {
            let settled = matches!(done.verdict, Verdict::Pass | Verdict::Violation);
            let key = (done.scenario.clone(), done.seed, done.rounds);
            if settled || !retry {
                state.done.insert(key, done);
            } else {
                state.done.remove(&key);
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            // Half a line: what follows begins a new one.
            append(&path, "\n")?;
        }
        Ok(state)
    }

    pub(super) fn add(&mut self, directory: &Path, done: FinishedRun) -> anyhow::Result<()> {
        let line = serde_json::to_string(&done).context("cannot write a line of the state")? + "\n";
        append(&directory.join(FILE), &line)?;
        self.done.insert((done.scenario.clone(), done.seed, done.rounds), done);
        Ok(())
    }

    pub(super) fn get(&self, scenario: &str, seed: u64, rounds: u32) -> Option<&FinishedRun> {
        self.done.get(&(scenario.to_owned(), seed, rounds))
    }

    pub(super) fn has(&self, scenario: &str, seed: u64, rounds: u32) -> bool {
        self.get(scenario, seed, rounds).is_some()
    }

    pub(super) fn count(&self) -> usize {
        self.done.len()
    }

    /// Why this machine cannot run the scenario, if a run of it was skipped.
    pub(super) fn cannot(&self, scenario: &str) -> Option<String> {
        let skipped = |done: &&FinishedRun| done.scenario == scenario && done.verdict == Verdict::Skipped;
        self.done.values().find(skipped).and_then(|done| done.why.first().cloned())
    }
}

fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_matrix_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut state = State::open(directory.path(), false).expect("opens");
        let mut passed = FinishedRun::skipped("leader-kill", 7, 2, String::new());
        passed.verdict = Verdict::Pass;
        state.add(directory.path(), passed).expect("written");
        state.add(directory.path(), FinishedRun::skipped("disk-full", 8, 2, "needs root".into())).expect("written");
        append(&directory.path().join(FILE), "{\"scenario\":\"half").expect("written");

        let mut again = State::open(directory.path(), false).expect("opens");
        assert!(again.has("leader-kill", 7, 2) && !again.has("leader-kill", 7, 3));
        assert_eq!(again.cannot("disk-full").as_deref(), Some("needs root"));
        again.add(directory.path(), FinishedRun::skipped("disk-full", 9, 2, "needs root".into())).expect("written");
        assert_eq!(State::open(directory.path(), false).expect("opens").count(), 3);
        let retried = State::open(directory.path(), true).expect("opens");
        assert_eq!(retried.count(), 1, "what was skipped is tried again");
    }

    #[test]
    fn a_run_without_a_report_is_a_failure_of_the_harness() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("output.txt"), "round 1\nerror: no free port\n\n").expect("written");
        let done = FinishedRun::read("leader-kill", 1, 2, directory.path(), Some(1), Instant::now());
        assert_eq!((done.verdict, done.why), (Verdict::Harness, vec!["error: no free port".to_owned()]));
        let done = FinishedRun::read("leader-kill", 1, 2, directory.path(), Some(14), Instant::now());
        assert_eq!(done.verdict, Verdict::Skipped);
    }
}
