//! Runs many seeds, each in its own process, and adds up what they came to.
//!
//! Invariants: a batch passes only if every seed passed, and, when it is large enough to expect it, every kind of fault
//! and every property came up at least once. With a report directory each result is appended as soon as it is known,
//! and a later batch goes on where an earlier one stopped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use futures::StreamExt;

use super::outcome::Outcome;
use super::plan::FAULT_KINDS;
use super::run::broken;
use crate::report::Verdict;

/// File of a report directory that holds one result a line.
const FILE: &str = "seeds.jsonl";
/// A seed takes about a second; one that takes this long spins without letting simulated time pass.
const HANGS_AFTER: std::time::Duration = std::time::Duration::from_secs(120);
/// Seeds in a hundred that may show too little: a plan is drawn, and may come to nothing. They are no passes.
const INVALID_PERCENT_MAX: usize = 10;
/// Seeds from which on every kind of fault must have come up.
const EVERY_MODE_FROM: usize = 50;
/// Other things that must have happened in such a batch.
const MODES: [&str; 9] = [
    "leaders",
    "snapshots",
    "purges",
    "snapshots installed",
    "claims",
    "unknown outcomes",
    "transactions",
    "transactions out of bounds",
    "keys used twice",
];

/// Runs one seed in its own process.
pub async fn in_a_process(seed: u64) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let running = tokio::process::Command::new(program)
        .args(["sim-one", "--seed", &seed.to_string()])
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(output) = tokio::time::timeout(HANGS_AFTER, running).await else {
        let words = format!("the simulation got stuck: no result within {HANGS_AFTER:?} of real time");
        return Ok(broken(seed, &words));
    };
    let output = output.context("cannot start a simulation")?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("seed {seed} ended without a result ({})", output.status))
}

/// Runs all seeds; `progress` gets each result that is not a pass, and from time to time how far the batch is.
pub async fn run(
    seeds: Range<u64>,
    jobs: usize,
    report: Option<&Path>,
    mut progress: impl FnMut(String),
) -> anyhow::Result<Batch> {
    let mut batch = Batch::default();
    let mut file = None;
    if let Some(directory) = report {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join(FILE);
        for outcome in load(&path)?.into_iter().filter(|outcome| seeds.contains(&outcome.seed)) {
            batch.add(outcome);
        }
        file = Some(File::options().create(true).append(true).open(&path)?);
    }
    let missing: Vec<u64> = seeds.clone().filter(|seed| !batch.outcomes.contains_key(seed)).collect();
    let mut running = futures::stream::iter(missing).map(in_a_process).buffer_unordered(jobs.max(1));
    while let Some(outcome) = running.next().await {
        let outcome = outcome?;
        if let Some(file) = &mut file {
            writeln!(file, "{}", serde_json::to_string(&outcome)?)?;
        }
        if outcome.verdict != Verdict::Pass {
            progress(failure(&outcome));
        }
        batch.add(outcome);
        let done = batch.outcomes.len();
        if done % 50 == 0 {
            progress(format!("{done} of {} seeds, {} violations", seeds.end - seeds.start, batch.violations()));
        }
    }
    Ok(batch)
}

fn load(path: &PathBuf) -> anyhow::Result<Vec<Outcome>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    // The last line may have been cut off when the batch was stopped: that seed runs again.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn failure(outcome: &Outcome) -> String {
    let mut text = format!("seed {}: {:?}", outcome.seed, outcome.verdict);
    for why in outcome.violations.iter().chain(&outcome.shortcomings).take(5) {
        let _ = write!(text, "\n   ! {why}");
    }
    let _ = write!(text, "\n   replay: raftshare-chaos sim --seed {} --trace", outcome.seed);
    text
}

/// The results of many seeds.
#[derive(Debug, Default)]
pub struct Batch {
    outcomes: BTreeMap<u64, Outcome>,
}

impl Batch {
    fn add(&mut self, outcome: Outcome) {
        self.outcomes.insert(outcome.seed, outcome);
    }

    fn violations(&self) -> usize {
        self.with(Verdict::Violation).count()
    }

    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Outcome> {
        self.outcomes.values().filter(move |outcome| outcome.verdict == verdict)
    }

    /// Kinds of faults, properties and other things that never came up although they should have.
    pub fn never(&self) -> Vec<String> {
        if self.outcomes.len() < EVERY_MODE_FROM {
            return Vec::new();
        }
        let (faults, happened) = (self.sum(|outcome| &outcome.faults), self.sum(|outcome| &outcome.happened));
        let properties = self.sum(|outcome| &outcome.properties);
        let kinds = FAULT_KINDS.iter().map(|kind| kind.name().to_string()).filter(|kind| !faults.contains_key(kind));
        let modes = MODES.into_iter().filter(|mode| !happened.contains_key(*mode)).map(str::to_owned);
        let unchecked = properties.iter().filter(|(_, checks)| **checks == 0).map(|(name, _)| name.clone());
        kinds.chain(modes).chain(unchecked).collect()
    }

    fn sum(&self, counts: fn(&Outcome) -> &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (name, count) in self.outcomes.values().flat_map(counts) {
            *sums.entry(name.clone()).or_default() += count;
        }
        sums
    }

    /// 0 if everything passed, 12 if something was broken, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        if self.violations() > 0 {
            return 12;
        }
        let few = self.with(Verdict::Invalid).count() * 100 <= self.outcomes.len() * INVALID_PERCENT_MAX;
        let clean = !self.outcomes.is_empty() && few && self.never().is_empty();
        u8::from(!clean)
    }

    /// The summary, as printed.
    pub fn text(&self) -> String {
        let total = |count: fn(&Outcome) -> u64| self.outcomes.values().map(count).sum::<u64>();
        let mut text = format!(
            "{} seeds, {:.0} simulated s in {:.0} s of work: {} operations acknowledged, {} unknown, {} facts examined\n",
            self.outcomes.len(),
            total(|outcome| outcome.simulated_ms) as f64 / 1e3,
            total(|outcome| outcome.took_ms) as f64 / 1e3,
            total(|outcome| outcome.acknowledged as u64),
            total(|outcome| outcome.unknown as u64),
            total(|outcome| outcome.checks),
        );
        for (title, counts) in [
            ("faults", self.sum(|outcome| &outcome.faults)),
            ("happened", self.sum(|outcome| &outcome.happened)),
            ("examined", self.sum(|outcome| &outcome.properties)),
        ] {
            let words: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let _ = writeln!(text, " {title:<9} {}", words.join(", "));
        }
        for outcome in self.outcomes.values().filter(|outcome| outcome.verdict != Verdict::Pass) {
            let _ = writeln!(text, " {}", failure(outcome));
        }
        for what in self.never() {
            let _ = writeln!(text, " ? never came up: {what}");
        }
        let invalid = self.with(Verdict::Invalid).count();
        let word = match self.exit_code() {
            0 => "PASS",
            12 => "VIOLATION",
            _ => "INVALID",
        };
        let passed = self.with(Verdict::Pass).count();
        let _ = write!(
            text,
            "{word}  {passed} seeds passed, {} violations, {invalid} showed too little",
            self.violations()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, acknowledged: usize, violations: &[&str]) -> Outcome {
        let json = serde_json::json!({
            "seed": seed, "verdict": "pass", "trace": "", "simulatedMs": 1, "tookMs": 1, "acknowledged": acknowledged,
            "unknown": 0, "refused": 0, "checks": 1, "properties": {}, "violations": violations, "shortcomings": [],
            "faults": {"crash-one": 1}, "happened": {},
        });
        serde_json::from_value::<Outcome>(json).expect("an outcome").judged()
    }

    fn batch(outcomes: impl IntoIterator<Item = Outcome>) -> Batch {
        let mut batch = Batch::default();
        outcomes.into_iter().for_each(|outcome| batch.add(outcome));
        batch
    }

    #[test]
    fn only_seeds_that_show_something_pass() {
        assert_eq!(batch([outcome(1, 100, &[])]).exit_code(), 0);
        assert_eq!(batch([]).exit_code(), 1);
        assert_eq!(batch([outcome(1, 100, &[]), outcome(2, 3, &[])]).exit_code(), 1);
        let broken = batch([outcome(1, 100, &[]), outcome(2, 3, &["nodes differ"])]);
        assert_eq!(broken.exit_code(), 12);
        assert!(broken.text().contains("sim --seed 2 --trace"));
    }

    #[test]
    fn a_few_seeds_may_show_too_little_and_do_not_count() {
        let mut batch = batch((0..29).map(|seed| outcome(seed, 100, &[])));
        batch.add(outcome(29, 3, &[]));
        assert_eq!(batch.exit_code(), 0);
        assert!(batch.text().contains("29 seeds passed, 0 violations, 1 showed too little"));
        (30..40).for_each(|seed| batch.add(outcome(seed, 3, &[])));
        assert_eq!(batch.exit_code(), 1);
    }

    #[test]
    fn a_large_batch_must_have_seen_every_kind_of_fault() {
        let batch = batch((0..60).map(|seed| outcome(seed, 100, &[])));
        assert_eq!(batch.exit_code(), 1);
        assert!(batch.text().contains("never came up: partition"));
    }
}
