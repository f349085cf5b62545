//! The whole matrix, unattended: every scenario as often as a release demands, each run in a process of its own.
//!
//! What is done is written to `matrix.jsonl` line by line, so the matrix can be stopped at any moment and goes on where
//! it was: a run without a line is done again from its beginning, under the same seed.
//!
//! Invariants: a run counts only with its report; a run that did not pass keeps everything it wrote; a scenario that
//! this machine cannot do is skipped with the reason, and is no pass.

mod state;
mod table;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use node::testbed::{Signal, die_with_parent, signal};
use parking_lot::Mutex;

use crate::interrupt;
use crate::report::Verdict;
use crate::scenario::{self, Scenario};
use state::{FinishedRun, State};

/// How often an interrupted matrix looks whether its runs have ended.
const POLL_PAUSE: Duration = Duration::from_millis(200);
/// Scenarios whose passing histories are kept, compressed.
const KEPT: &[&str] = &["leader-kill"];

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Counts {
    /// What a release demands.
    Release,
    /// One short run of everything.
    Ci,
    /// One run of two rounds of everything.
    Smoke,
}

/// What to run, and where it goes.
#[derive(Debug, Clone, clap::Args)]
pub struct MatrixOptions {
    /// How much to run
    #[arg(long, value_enum, default_value = "release")]
    pub counts: Counts,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Reports, tables and what is done already
    #[arg(long, default_value = "chaos-matrix")]
    pub out: PathBuf,
    /// Runs at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub jobs: u64,
    /// The seeds of all runs are derived from this one
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Do runs again that neither passed nor showed a violation
    #[arg(long)]
    pub retry: bool,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
}

/// A run that is to be done.
#[derive(Debug, Clone)]
struct Planned {
    scenario: &'static Scenario,
    seed: u64,
    rounds: u32,
}

impl Planned {
    fn directory(&self) -> String {
        format!("{}-{}", self.scenario.name, self.seed)
    }
}

/// Everything the counts demand, scenario by scenario.
fn plan(options: &MatrixOptions) -> anyhow::Result<Vec<Planned>> {
    for name in &options.only {
        if scenario::find(name).is_none() {
            bail!("there is no scenario {name:?}; see `list`");
        }
    }
    let wanted = scenario::all()
        .filter(|scenario| options.only.is_empty() || options.only.iter().any(|name| name == scenario.name));
    let mut planned = Vec::new();
    for scenario in wanted {
        let (runs, rounds) = match options.counts {
            Counts::Release => (scenario.release.runs, scenario.release.rounds),
            Counts::Ci => (1, (scenario.release.rounds / 4).max(2)),
            Counts::Smoke => (1, 2),
        };
        let first = options.seed.wrapping_mul(1_000_003).wrapping_add(name_number(scenario.name)) % 1_000_000;
        planned.extend((0..runs).map(|run| Planned { scenario, seed: first + u64::from(run), rounds }));
    }
    Ok(planned)
}

/// A number that differs from name to name (FNV-1a).
fn name_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Runs what is missing and writes the tables; the worst verdict, or nothing if the matrix was interrupted.
pub async fn run(
    options: &MatrixOptions,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> anyhow::Result<Option<Verdict>> {
    std::fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let all = plan(options)?;
    let state = State::open(&options.out, options.retry)?;
    let missing: VecDeque<Planned> =
        all.iter().filter(|planned| !state.has(planned.scenario.name, planned.seed, planned.rounds)).cloned().collect();
    tell(&format!("{} runs, {} of them done already", all.len(), all.len() - missing.len()));
    let shared = Arc::new(Shared {
        options: options.clone(),
        total: all.len(),
        queue: Mutex::new(missing),
        state: Mutex::new(state),
        tell: Box::new(tell),
    });
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..options.jobs.max(1) {
        workers.spawn(shared.clone().work());
    }
    while let Some(worker) = workers.join_next().await {
        worker.context("a worker of the matrix panicked")??;
    }
    let state = shared.state.lock();
    let done: Vec<&FinishedRun> =
        all.iter().filter_map(|planned| state.get(planned.scenario.name, planned.seed, planned.rounds)).collect();
    let complete = done.len() == all.len();
    table::write(&options.out, &done, all.len())?;
    (shared.tell)(&table::text(&done));
    Ok(complete.then(|| worst(&done)))
}

fn worst(done: &[&FinishedRun]) -> Verdict {
    let order =
        [Verdict::Violation, Verdict::Harness, Verdict::Invalid, Verdict::Unknown, Verdict::Skipped, Verdict::Pass];
    let found = |verdict: &Verdict| done.iter().any(|done| done.verdict == *verdict);
    order.into_iter().find(found).unwrap_or(Verdict::Invalid)
}

struct Shared {
    options: MatrixOptions,
    total: usize,
    queue: Mutex<VecDeque<Planned>>,
    state: Mutex<State>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Shared {
    async fn work(self: Arc<Self>) -> anyhow::Result<()> {
        while !interrupt::asked() {
            let Some(planned) = self.queue.lock().pop_front() else { return Ok(()) };
            if let Some(why) = self.state.lock().cannot(planned.scenario.name) {
                self.finish(FinishedRun::skipped(planned.scenario.name, planned.seed, planned.rounds, why))?;
                continue;
            }
            if let Some(done) = self.one(&planned).await? {
                self.finish(done)?;
            }
        }
        Ok(())
    }

    fn finish(&self, done: FinishedRun) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        state.add(&self.options.out, done.clone())?;
        (self.tell)(&format!(
            "[{}/{}] {:<20} seed {:<7} {:<10} {:>4} s  {} operations, {} violations{}",
            state.count(),
            self.total,
            done.scenario,
            done.seed,
            done.verdict.word(),
            done.seconds,
            done.operations,
            done.violations,
            done.why.first().map(|why| format!("  ({why})")).unwrap_or_default(),
        ));
        Ok(())
    }

    /// One run in a process of its own; nothing if it was interrupted.
    async fn one(&self, planned: &Planned) -> anyhow::Result<Option<FinishedRun>> {
        let directory = self.options.out.join(planned.directory());
        if directory.exists() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot clear {}", directory.display()))?;
        }
        std::fs::create_dir_all(&directory)?;
        let output = std::fs::File::create(directory.join("output.txt"))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = tokio::process::Command::new(program);
        command.args(["run", planned.scenario.name]);
        command.args(["--seed", &planned.seed.to_string(), "--rounds", &planned.rounds.to_string()]);
        command.arg("--report").arg(&directory);
        if let Some(bin_dir) = &self.options.bin_dir {
            command.arg("--bin-dir").arg(bin_dir);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C is for the matrix, which tells its runs.
        command.process_group(0);
        let began = Instant::now();
        die_with_parent(command.as_std_mut(), Signal::INT);
        let mut child = command.spawn().context("cannot start a run")?;
        let mut told = false;
        let status = loop {
            if let Ok(status) = tokio::time::timeout(POLL_PAUSE, child.wait()).await {
                break status?;
            }
            if interrupt::asked() && !told {
                told = true;
                if let Some(pid) = child.id() {
                    // Fails only for a run that is gone.
                    let _ = signal(pid, Signal::INT);
                }
            }
        };
        if interrupt::asked() {
            return Ok(None);
        }
        let done =
            FinishedRun::read(planned.scenario.name, planned.seed, planned.rounds, &directory, status.code(), began);
        if done.verdict == Verdict::Pass {
            tidy(&directory, KEPT.contains(&planned.scenario.name));
        }
        Ok(Some(done))
    }
}

/// Of a run that passed the report stays, and the history of some, compressed.
fn tidy(directory: &Path, keep_history: bool) {
    // What cannot be removed takes room and does no other harm.
    let _ = std::fs::remove_dir_all(directory.join("logs"));
    let _ = std::fs::remove_dir_all(directory.join("data"));
    let history = directory.join(crate::recorder::FILE);
    let packed = keep_history && {
        let gzip = std::process::Command::new("gzip").arg("-f").arg(&history).stderr(Stdio::null()).status();
        gzip.is_ok_and(|status| status.success())
    };
    if !packed && !keep_history {
        let _ = std::fs::remove_file(history);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(counts: Counts) -> MatrixOptions {
        MatrixOptions { counts, only: Vec::new(), out: PathBuf::new(), jobs: 1, seed: 1, retry: false, bin_dir: None }
    }

    #[test]
    fn a_release_runs_everything_with_seeds_of_its_own() {
        let planned = plan(&options(Counts::Release)).expect("plans");
        let seeds: BTreeSet<(&str, u64)> = planned.iter().map(|one| (one.scenario.name, one.seed)).collect();
        assert_eq!(seeds.len(), planned.len());
        for scenario in scenario::all() {
            let runs = planned.iter().filter(|one| one.scenario.name == scenario.name).count();
            assert!(runs >= 10, "{} has {runs} runs", scenario.name);
        }
    }

    #[test]
    fn only_known_names_are_planned() {
        let mut options = options(Counts::Smoke);
        options.only = vec!["leader-kill".into()];
        let planned = plan(&options).expect("plans");
        assert_eq!((planned.len(), planned[0].rounds), (1, 2));
        options.only = vec!["no such scenario".into()];
        assert!(plan(&options).is_err());
    }
}
