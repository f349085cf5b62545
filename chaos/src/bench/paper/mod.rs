//! The evaluation of the report that raftshare began with, on real nodes and peers: its scenarios as checks, its
//! figures and its four charts, ours beside the published ones.
//!
//! ```text
//!  flows, v0        core flows, leases            ─┐
//!  replication      planning, pruning              ├─► check (rows) ─┐
//!  outage           follower policy, crash        ─┘                 ├─► page (one HTML file), tables
//!  bench::run       the core figures              ──► figures        │
//!  bench::sweep     10 … 1,000 peers, by wire     ──► points, charts ┘
//! ```
//!
//! Invariant: published figures come from the authors' machine and ours from this one, and every form of the result
//! says so. So only checks decide about success, and how fast this machine is does not.

mod check;
pub mod cli;
mod evaluation;
mod flows;
mod outage;
mod page;
mod replication;
mod v0;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
pub use check::Check;
use check::Checks;
pub use evaluation::{Evaluation, Loads};
use node::testbed::find_binary;

use super::load::{Mix, Wire};
use super::point::LoadOptions;
use super::{Bench, BenchOptions, original, sweep};

/// Everything that can be chosen, in order.
pub const PARTS: [&str; 8] = ["core", "leases", "replication", "pruning", "policy", "crash", "figures", "scalability"];
/// The fixed measurements behind the report's core figures, in its order; the last has nothing published beside it.
const FIGURES: [&str; 5] = ["convergence", "read-leader-dead", "cycle", "freshness", "failover"];
/// Numbers of peers; the report went to 500.
pub const PEERS: [u64; 7] = [10, 20, 50, 100, 200, 500, 1_000];
/// The same with `--quick`.
pub const QUICK_PEERS: [u64; 2] = [10, 100];
/// Most connections that act for the peers of a point.
const CONNECTIONS: usize = 500;
/// Greatest number of peers that the report tells errors of.
const PUBLISHED_PEERS_MAX: u64 = 500;

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct PaperOptions {
    /// A short form of the figures.
    pub quick: bool,
    /// Only these parts; all if empty.
    pub only: Vec<String>,
    /// Numbers of peers.
    pub peers: Vec<u64>,
    /// Measured time of a point, and the warm-up before it.
    pub pace: (Duration, Duration),
    /// Runs of each figure and each point.
    pub repeat: u32,
    /// The wire format; if absent both, if the nodes serve both.
    pub wire: Option<Wire>,
    /// The page.
    pub out: PathBuf,
    /// Where figures and logs go besides; a temporary directory if absent.
    pub report: Option<PathBuf>,
    /// Where the binaries are.
    pub bin_dir: Option<PathBuf>,
}

/// Where things go.
struct Workspace<'a> {
    options: &'a PaperOptions,
    data: PathBuf,
    report: PathBuf,
}

impl Workspace<'_> {
    fn bench_options(&self) -> BenchOptions {
        let PaperOptions { quick, repeat, bin_dir, .. } = self.options;
        let only = FIGURES.map(str::to_owned).to_vec();
        let (report, bin_dir) = (Some(self.report.clone()), bin_dir.clone());
        BenchOptions { quick: *quick, only, repeat: *repeat, report, bin_dir, duration: None }
    }

    fn wants(&self, part: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|only| only == part)
    }

    /// One scenario on a fresh cluster; what goes wrong is a row.
    async fn scenario(
        &self,
        checks: &mut Checks,
        name: &'static str,
        arguments: &[&str],
        play: impl AsyncFnOnce(&mut Bench, &mut Checks) -> anyhow::Result<()>,
    ) {
        checks.begin(name);
        let folder = name.replace([' ', ','], "-").replace('/', "");
        let (data, logs) = (self.data.join(&folder), self.report.join("logs").join(&folder));
        let outcome = match Bench::start(&self.bench_options(), &data, logs, arguments).await {
            Ok(mut bench) => play(&mut bench, checks).await,
            Err(error) => Err(error),
        };
        checks.end(outcome);
        // What cannot be removed goes with the temporary directory.
        let _ = std::fs::remove_dir_all(&data);
    }

    fn load_options(&self, wire: Wire) -> anyhow::Result<LoadOptions> {
        let mix: Mix = super::load::mix::ORIGINAL.parse().map_err(anyhow::Error::msg)?;
        let (duration, warm_up) = self.options.pace;
        let points = self.options.peers.iter().map(|&peers| (peers, CONNECTIONS)).collect();
        let report = Some(self.report.join(format!("load-{}", wire.name())));
        let (repeat, bin_dir) = (self.options.repeat, self.options.bin_dir.clone());
        Ok(LoadOptions { points, mix, repeat, duration, warm_up, wire, report, bin_dir, ..LoadOptions::default() })
    }

    async fn loads(&self, wire: Wire, tell: &mut impl FnMut(String)) -> anyhow::Result<Loads> {
        let options = self.load_options(wire)?;
        let sweep = sweep::run(&options, &mut *tell).await?;
        let mut at_published_rates = Vec::new();
        for (peers, rate) in original::THROUGHPUT.map(|(peers, rate)| (peers as u64, rate)) {
            if self.options.peers.contains(&peers) {
                let report = options.report.as_ref().map(|report| report.join(format!("at-{rate}")));
                let (points, rate) = (vec![(peers, CONNECTIONS)], Some(rate));
                let options = LoadOptions { points, rate, report, ..options.clone() };
                at_published_rates.push(sweep::run(&options, &mut *tell).await?);
            }
        }
        Ok(Loads { wire, sweep, at_published_rates })
    }
}

/// Carries out the evaluation and writes its page, again after each part: the next may take long.
///
/// An error is of the whole; what is wrong with a part is a check that fails.
pub async fn run(options: &PaperOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Evaluation> {
    if let Some(unknown) = options.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("there is no part {unknown:?}; there are {}", PARTS.join(", "));
    }
    for program in ["raftshare-node", "raftshare"] {
        find_binary(program, options.bin_dir.as_deref())?;
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let report = options.report.clone().unwrap_or_else(|| temporary.path().join("report"));
    let workspace = Workspace { options, data: temporary.path().join("data"), report };
    let mut evaluation = Evaluation::new(options.quick);
    write(&options.out, &evaluation)?;
    let wires = wires(&workspace, &mut evaluation).await?;
    for part in PARTS.into_iter().filter(|part| workspace.wants(part)) {
        tell(format!("{part} …"));
        let mut checks = Checks::default();
        match part {
            "figures" => figures(&workspace, &mut evaluation, &mut checks, &mut tell).await,
            "scalability" => scalability(&workspace, &wires, &mut evaluation, &mut checks, &mut tell).await,
            part => scenarios(&workspace, part, &wires, &mut checks).await,
        }
        let rows = checks.into_rows();
        let failed = rows.iter().filter(|row| !row.pass);
        failed.for_each(|row| tell(format!("FAIL {}: {}: {}", row.scenario, row.what, row.ours)));
        evaluation.checks.extend(rows);
        write(&options.out, &evaluation)?;
    }
    Ok(evaluation)
}

fn write(out: &Path, evaluation: &Evaluation) -> anyhow::Result<()> {
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(out, page::render(evaluation)).with_context(|| format!("cannot write {}", out.display()))
}

/// The wire formats that are asked for and that the nodes serve.
async fn wires(workspace: &Workspace<'_>, evaluation: &mut Evaluation) -> anyhow::Result<Vec<Wire>> {
    if workspace.options.wire == Some(Wire::Native) {
        return Ok(vec![Wire::Native]);
    }
    let (data, logs) = (workspace.data.join("probe"), workspace.report.join("logs").join("probe"));
    let bench = Bench::start(&workspace.bench_options(), &data, logs, &[]).await?;
    match (v0::is_served(&bench).await?, workspace.options.wire) {
        (true, Some(wire)) => Ok(vec![wire]),
        (true, None) => Ok(Wire::ALL.to_vec()),
        (false, None) => {
            evaluation.notes.push("These nodes do not serve /v0, so the original's wire format was left out.".into());
            Ok(vec![Wire::Native])
        }
        (false, Some(_)) => bail!("these nodes do not serve /v0: GET /v0/healthz is not answered with 200"),
    }
}

async fn scenarios(workspace: &Workspace<'_>, part: &str, wires: &[Wire], checks: &mut Checks) {
    let wants = |wire| wires.contains(&wire);
    if wants(Wire::Native) {
        let ttl = ["--replicas", "2", "--peer-ttl", replication::PEER_TTL_ARGUMENT];
        match part {
            "core" => workspace.scenario(checks, "core flows", &["--replicas", "1"], flows::people).await,
            "leases" => workspace.scenario(checks, "leases", &["--replicas", "1"], flows::leases).await,
            "replication" => {
                workspace.scenario(checks, "replication logic", &["--replicas", "2"], replication::planning).await;
            }
            "pruning" => workspace.scenario(checks, "pruning", &ttl, replication::pruning).await,
            "policy" => policy(workspace, "follower policy", Wire::Native, checks).await,
            _ => workspace.scenario(checks, "crash recovery", &[], outage::crash).await,
        }
    }
    if wants(Wire::V0) {
        match part {
            "core" => workspace.scenario(checks, "core flows over /v0", &["--replicas", "2"], v0::flows).await,
            "policy" => policy(workspace, "follower policy over /v0", Wire::V0, checks).await,
            _ => {}
        }
    }
}

async fn policy(workspace: &Workspace<'_>, name: &'static str, wire: Wire, checks: &mut Checks) {
    let play = async |bench: &mut Bench, checks: &mut Checks| outage::policy(bench, checks, wire).await;
    workspace.scenario(checks, name, &["--follower-writes", "reject"], play).await;
}

async fn figures(
    workspace: &Workspace<'_>,
    evaluation: &mut Evaluation,
    checks: &mut Checks,
    tell: &mut impl FnMut(String),
) {
    checks.begin("core figures");
    match super::run(&workspace.bench_options(), tell).await {
        Ok(results) => {
            let mut figures = results.figures();
            // What was written beside a measurement is no figure of the report.
            figures.retain(|figure| figure.unit == "ms");
            figures.sort_by_key(|figure| FIGURES.iter().position(|name| *name == figure.name));
            evaluation.figures = figures;
            checks.end(results.check());
        }
        Err(error) => checks.end(Err(error)),
    }
}

async fn scalability(
    workspace: &Workspace<'_>,
    wires: &[Wire],
    evaluation: &mut Evaluation,
    checks: &mut Checks,
    tell: &mut impl FnMut(String),
) {
    for wire in wires {
        checks.begin(match wire {
            Wire::Native => "scalability",
            Wire::V0 => "scalability over /v0",
        });
        match workspace.loads(*wire, tell).await {
            Ok(loads) => {
                for point in &loads.sweep.points {
                    let source = if point.peers > PUBLISHED_PEERS_MAX { "ours" } else { "§8.2.3" };
                    let failed = point.total.failed;
                    checks.add(
                        (source, format!("{} peers, half of their requests registrations", point.peers)),
                        "0 % of the requests fail",
                        format!("{:.2} % ({failed} of {})", point.error_rate * 100.0, point.total.done + failed),
                        failed == 0 && point.total.done > 0,
                    );
                }
                evaluation.loads.push(loads);
            }
            Err(error) => checks.end(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_part_is_refused_by_name() {
        let options = PaperOptions {
            quick: true,
            only: vec!["speed".into()],
            peers: vec![10],
            pace: (Duration::ZERO, Duration::ZERO),
            repeat: 1,
            wire: None,
            out: "/nowhere/page.html".into(),
            report: None,
            bin_dir: None,
        };
        let error = run(&options, |_| {}).await.expect_err("unknown").to_string();
        assert!(error.contains("pruning"), "{error}");
    }
}
