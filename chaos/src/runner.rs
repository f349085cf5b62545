//! One run of a scenario: a cluster, clients, faults, healing, reading back, judging.
//!
//! Invariant: safety is examined under faults and liveness without them; what the harness itself could not do is an
//! error, neither a pass nor a violation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::cluster::{Cluster, ClusterOptions};
use crate::fault::clock::{ClockKind, FASTEST_PERMILLE};
use crate::fault::network::Pids;
use crate::fault::{Arena, Environment, Families};
use crate::history::{Event, FORMAT, Record, RunInfo};
use crate::live::Live;
use crate::model::Model;
use crate::nemesis::Nemesis;
use crate::observer::{self, Observer};
use crate::recorder::Recorder;
use crate::report::{Report, Verdict, judge};
use crate::scenario::Scenario;
use crate::verify::{self, Published, Written};
use crate::workload::{self, Context};
use crate::{interrupt, recorder, schedule};

/// Clients that search for what they publish.
const SEEKERS: usize = 2;
/// Clients that change attributes.
const TELLERS: usize = 3;
/// How long the clients may take to end after they were told; longer than any of their calls.
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(20);

/// Rounds that are planned when a duration decides how many are done.
const ROUNDS_MAX: u32 = 20_000;

/// How to run a scenario.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Seed of schedule and workload.
    pub seed: u64,
    /// Rounds.
    pub rounds: u32,
    /// Go on with rounds for this long, instead of a fixed number.
    pub duration: Option<Duration>,
    /// Index nodes.
    pub nodes: u64,
    /// Clients.
    pub clients: usize,
    /// Where the binaries are.
    pub bin_dir: Option<PathBuf>,
    /// Where history, report, logs and data go.
    pub report: PathBuf,
    /// More arguments for every node.
    pub node_arguments: Vec<String>,
}

/// Runs a scenario; `tell` gets one line per round.
pub async fn run(scenario: &Scenario, options: &RunOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Report> {
    std::fs::create_dir_all(&options.report)
        .with_context(|| format!("cannot make the report directory {}", options.report.display()))?;
    let data = options.report.join("data");
    crate::fault::disk::unmount_below(&data);
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot clear {}", data.display()))?;
    }
    let logs = options.report.join("logs");
    if logs.exists() {
        // Lines of an earlier run would count against this one.
        std::fs::remove_dir_all(&logs).with_context(|| format!("cannot clear {}", logs.display()))?;
    }
    let mut arguments: Vec<String> = scenario.setup.arguments.iter().map(|&argument| argument.into()).collect();
    arguments.extend_from_slice(&options.node_arguments);
    let pids = Pids::default();
    let environment = Environment {
        data: data.clone(),
        logs: logs.clone(),
        bin_dir: options.bin_dir.clone(),
        nodes: options.nodes,
        pids: pids.clone(),
    };
    let mut families = Families::prepare(&scenario.setup, &environment).await?;
    let cluster_options = ClusterOptions {
        nodes: options.nodes,
        spares: scenario.setup.spares,
        bin_dir: options.bin_dir.clone(),
        data: data.clone(),
        logs,
        arguments,
        pids,
    };
    let outcome = with_cluster(scenario, options, &cluster_options, &mut families, &mut tell).await;
    // The nodes are gone: what they ran on can go as well, whatever became of the run.
    families.clean_up().await;
    let events = outcome?;
    let report = judge(&Model::new(&events), scenario.checkers, Some(scenario));
    report.write(&options.report, &events, scenario.checkers).context("cannot write the report")?;
    if report.verdict == Verdict::Pass {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot clear {}", data.display()))?;
    }
    Ok(report)
}

async fn with_cluster(
    scenario: &Scenario,
    options: &RunOptions,
    cluster_options: &ClusterOptions,
    families: &mut Families,
    tell: &mut impl FnMut(String),
) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(cluster_options, families).await?;
    let (recorder, writer) = Recorder::create(&options.report, run_info(scenario, options))?;
    let result = drive(scenario, options, (&mut cluster, families), &recorder, tell).await;
    observer::read_logs(&cluster_options.logs, &recorder);
    drop(recorder);
    let events = writer.finish()?;
    result?;
    Ok(events)
}

fn run_info(scenario: &Scenario, options: &RunOptions) -> RunInfo {
    RunInfo {
        format: FORMAT,
        scenario: scenario.name.into(),
        seed: options.seed,
        nodes: options.nodes,
        rounds: options.rounds,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: crate::revision::REVISION.into(),
        clients: options.clients,
        started_at: crate::revision::seconds_since_1970(),
        node_arguments: options.node_arguments.clone(),
        duration_s: options.duration.map(|duration| duration.as_secs()),
        fastest_clock_permille: if scenario.setup.clocks == Some(ClockKind::Rate) { FASTEST_PERMILLE } else { 0 },
    }
}

async fn drive(
    scenario: &Scenario,
    options: &RunOptions,
    (cluster, families): (&mut Cluster, &mut Families),
    recorder: &Recorder,
    tell: &mut impl FnMut(String),
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (updates, updated) = watch::channel(0);
    let context = Context {
        recorder: recorder.clone(),
        servers: Arc::new(cluster.urls()),
        founders: usize::try_from(options.nodes)?,
        seekers: if scenario.setup.peers == 0 { SEEKERS } else { 0 },
        tellers: TELLERS,
        workload: scenario.workload,
        updates,
        stop: stopped,
        published: Arc::default(),
        attributed: Arc::default(),
        indexes: Arc::default(),
    };
    families.started(&mut arena(cluster, recorder, options.seed)).await?;
    let observer = Observer::start(cluster.urls(), recorder.clone())?;
    let mut clients = workload::start(&context, options.clients, options.seed)?;
    let mut nemesis = Nemesis::new(cluster, families, recorder.clone(), updated)?;
    let until = options.duration.map(|duration| Instant::now() + duration);
    let planned = if until.is_some() { ROUNDS_MAX } else { options.rounds };
    let (mut done, mut live) = (0, Live::default());
    for actions in &schedule::plan(scenario, options.seed, planned) {
        if interrupt::asked() || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let story = nemesis.round(done + 1, actions).await?;
        done += 1;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let violations = live.words(recorder).await;
        tell(match left {
            Some(left) => format!("round {done}, {} s left  {story}{violations}", left.as_secs()),
            None => format!("round {done}/{planned}  {story}{violations}"),
        });
    }
    drop(nemesis);
    if done != options.rounds {
        recorder.record(Record::Rounds { done });
    }
    if interrupt::asked() {
        recorder.record(Record::Interrupted);
    }
    families.heal(&mut arena(cluster, recorder, options.seed)).await?;
    let healed = verify::heal(cluster, recorder).await?;
    stop.send_replace(true);
    let ended = tokio::time::timeout(CLIENTS_END_WITHIN, async {
        while let Some(client) = clients.join_next().await {
            client.context("a client of the workload panicked")?;
        }
        anyhow::Ok(())
    });
    match ended.await {
        Ok(result) => result?,
        // What they still wait for stays unanswered in the history.
        Err(_) => clients.shutdown().await,
    }
    drop(observer);
    let mut published: Published = std::mem::take(&mut *context.published.lock());
    for (file, hashes) in families.end_clients(recorder)? {
        published.entry(file).or_default().extend(hashes);
    }
    if healed {
        families.verify(&mut arena(cluster, recorder, options.seed)).await?;
        // Every fault is gone and every node called itself ready: what does not answer now is the cluster's failure.
        let attributed = std::mem::take(&mut *context.attributed.lock());
        let written = Written { published, attributed };
        if let Err(reason) = verify::read_back_and_compare(cluster, recorder, &written).await {
            recorder.record(Record::NotHealed { reason });
        }
    }
    Ok(())
}

fn arena<'a>(cluster: &'a mut Cluster, recorder: &'a Recorder, seed: u64) -> Arena<'a> {
    Arena { cluster, leader: None, rng: StdRng::seed_from_u64(seed), recorder, round: 0 }
}

/// Checks a saved history again, with the checkers of its scenario where that is known, and
/// writes the report beside it.
pub fn check(path: &Path) -> anyhow::Result<Report> {
    let events: Vec<Event> = recorder::load(path)?;
    let model = Model::new(&events);
    let scenario = crate::scenario::find(&model.run.scenario);
    let checkers = scenario.map_or(crate::checker::ALL, |scenario| scenario.checkers);
    let report = judge(&model, checkers, scenario);
    let directory = path.parent().unwrap_or(Path::new("."));
    report.write(directory, &events, checkers).context("cannot write the report")?;
    Ok(report)
}
