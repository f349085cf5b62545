//! Ours and etcd on this machine, in the same minutes, with the same generator: writes, lock-and-update cycles, and the gap
//! after the leader was killed.
//!
//! Invariant: the two take turns, each cell on a fresh cluster of three that has the machine to itself; both send their
//! requests to the leader, over as many connections, for as long.

mod client;
mod etcd;
mod gap;
mod results;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use self::client::{Client, Work};
use self::etcd::Etcd;
pub use self::results::{Cell, Comparison, Row};
use super::FILE;
use super::load::{Kind, Mix, Pace};
use super::machine::Machine;
use super::point::{self, At, LoadOptions, NODES, drive_watched};
use super::samples::Samples;
use crate::cluster::{Cluster, ClusterOptions};
use crate::fault::Families;
use crate::fault::network::Pids;
use crate::revision::{REVISION, seconds_since_1970};

/// Numbers of clients of the writes, unless they are given; the cycles leave out the last one.
const CLIENTS: [u64; 3] = [1, 100, 500];
/// Most clients of the cycles.
const CYCLE_CLIENTS_MAX: u64 = 100;
/// Kills of the leader, and of `--quick`.
const KILLS: usize = 10;
const QUICK_KILLS: usize = 3;

/// How to compare.
#[derive(Debug, Clone)]
pub struct AgainstOptions {
    /// A short form.
    pub quick: bool,
    /// Numbers of clients; the usual ones if empty.
    pub clients: Vec<u64>,
    /// Measured time of each cell.
    pub duration: Duration,
    /// Goes before it.
    pub warm_up: Duration,
    /// More arguments for each of our nodes.
    pub node_arguments: Vec<String>,
    /// Seed of our load.
    pub seed: u64,
    /// Where results and logs go; nowhere if absent.
    pub report: Option<PathBuf>,
    /// Where our binaries are.
    pub bin_dir: Option<PathBuf>,
}

/// Measures both; `tell` gets a line about each row.
pub async fn run(options: &AgainstOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Comparison> {
    let program = etcd::find()?;
    let clients = if options.clients.is_empty() { CLIENTS.to_vec() } else { options.clients.clone() };
    for count in &clients {
        point::check_open_files(usize::try_from(*count).unwrap_or(usize::MAX))?;
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let logs = options.report.clone().unwrap_or_else(|| temporary.path().to_owned()).join("logs");
    let place = Place { program, data: temporary.path().to_owned(), logs };
    let mut comparison = Comparison {
        revision: REVISION,
        etcd_version: etcd::version(&place.program),
        at: seconds_since_1970(),
        machine: Machine::this(),
        command: std::env::args().collect(),
        duration_s: options.duration.as_secs_f64(),
        rows: Vec::new(),
    };
    let works = [
        ("announce", "put", Kind::Announce, Work::Put, u64::MAX),
        (
            "lease + announce (2 requests)",
            "grant + lock + put + revoke (4)",
            Kind::Cycle,
            Work::Cycle,
            CYCLE_CLIENTS_MAX,
        ),
        (
            "lease + announce (2 requests)",
            "lock + put and unlock (2)",
            Kind::Cycle,
            Work::SessionCycle,
            CYCLE_CLIENTS_MAX,
        ),
    ];
    for (ours, theirs, kind, work, most) in works {
        for count in clients.iter().copied().filter(|count| *count <= most) {
            tell(format!("measuring {ours} against {theirs} with {count} clients …"));
            let raftshare = our_load(options, &place, kind, count).await.context("measuring raftshare")?;
            let etcd = their_load(options, &place, work, count).await.context("measuring etcd")?;
            comparison.rows.push(Row { ours, theirs, clients: count, raftshare, etcd });
        }
    }
    let kills = if options.quick { QUICK_KILLS } else { KILLS };
    tell(format!("killing each leader {kills} times …"));
    let row = gaps(options, &place, kills).await.context("measuring the gap after a kill")?;
    comparison.rows.push(row);
    if let Some(report) = &options.report {
        std::fs::create_dir_all(report).with_context(|| format!("cannot make {}", report.display()))?;
        let json = serde_json::to_string_pretty(&comparison)? + "\n";
        std::fs::write(report.join(FILE), json).context("cannot write the results")?;
    }
    Ok(comparison)
}

/// Where things are.
struct Place {
    program: PathBuf,
    data: PathBuf,
    logs: PathBuf,
}

impl Place {
    /// An empty directory, removed with what was in it before.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.data.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(path)
    }
}

fn our_options(options: &AgainstOptions, kind: Kind) -> LoadOptions {
    LoadOptions {
        points: Vec::new(),
        mix: Mix::of(kind),
        rate: None,
        repeat: 1,
        duration: options.duration,
        warm_up: options.warm_up,
        // A new name each time, as etcd gets a new key.
        files: u64::MAX,
        consistency: None,
        at: At::Leader,
        node_arguments: options.node_arguments.clone(),
        seed: options.seed,
        report: None,
        bin_dir: options.bin_dir.clone(),
    }
}

async fn our_load(options: &AgainstOptions, place: &Place, kind: Kind, clients: u64) -> anyhow::Result<Cell> {
    let load = our_options(options, kind);
    let (data, logs) = (place.fresh("raftshare")?, place.logs.join(format!("raftshare-{}-{clients}", kind.name())));
    let point = point::measure(&load, clients, usize::try_from(clients)?, &data, logs).await?;
    Ok(Cell {
        per_second: Some(point.per_second),
        p50_ms: point.total.p50_ms,
        p99_ms: point.total.p99_ms,
        samples: point.total.done,
        failed: point.total.failed,
        nodes_cpu_s: point.nodes.iter().map(|usage| usage.cpu_s).sum(),
        generator_cpu_s: point.generator.cpu_s,
    })
}

async fn their_load(options: &AgainstOptions, place: &Place, work: Work, clients: u64) -> anyhow::Result<Cell> {
    let logs = place.logs.join(format!("etcd-{}-{clients}", work.name().replace(' ', "-")));
    let etcd = Etcd::start(&place.program, &place.fresh("etcd")?, &logs).await?;
    let leader = etcd.hosts().get(etcd.leader().await?).context("the leader has an address")?.clone();
    let mut workers: Vec<Client> = (0..clients).map(|number| Client::new(&leader, work, number)).collect();
    for worker in &mut workers {
        worker.prepare().await.map_err(|why| anyhow!("a client could not begin: {why}"))?;
    }
    let mut processes = etcd.processes();
    processes.push(("generator".into(), std::process::id()));
    let pace = Pace { warm_up: options.warm_up, duration: options.duration, rate: None };
    let (tally, mut usages) = drive_watched(workers, pace, &processes).await;
    let generator = usages.pop().unwrap_or_default();
    let total = tally.total();
    Ok(Cell {
        per_second: Some(total.done as f64 / options.duration.as_secs_f64()),
        p50_ms: total.p50_ms,
        p99_ms: total.p99_ms,
        samples: total.done,
        failed: total.failed,
        nodes_cpu_s: usages.iter().map(|usage| usage.cpu_s).sum(),
        generator_cpu_s: generator.cpu_s,
    })
}

async fn gaps(options: &AgainstOptions, place: &Place, kills: usize) -> anyhow::Result<Row> {
    let cell = |samples: &Samples| Cell {
        p50_ms: samples.percentile_ms(50),
        p99_ms: samples.percentile_ms(100),
        samples: samples.count() as u64,
        ..Cell::default()
    };
    let cluster_options = ClusterOptions {
        nodes: NODES,
        spares: 0,
        bin_dir: options.bin_dir.clone(),
        data: place.fresh("raftshare")?,
        logs: place.logs.join("raftshare-gap"),
        arguments: our_options(options, Kind::Announce).node_arguments(),
        pids: Pids::default(),
    };
    let raftshare = {
        let mut cluster = Cluster::start(&cluster_options, &mut Families::default()).await?;
        gap::ours(&mut cluster, kills).await?
    };
    let mut etcd = Etcd::start(&place.program, &place.fresh("etcd")?, &place.logs.join("etcd-gap")).await?;
    let theirs = gap::etcd(&mut etcd, kills).await?;
    Ok(Row {
        ours: "SIGKILL of the leader until a write",
        theirs: "the same",
        clients: 1,
        raftshare: cell(&raftshare),
        etcd: cell(&theirs),
    })
}
