//! Ours and etcd on this machine, in the same minutes, with the same generator: writes, lock-and-update cycles, and
//! the gap after the leader was killed.
//!
//! Invariant: the two take turns, each cell on a fresh cluster of three that has the machine to itself; both send their
//! requests to the leader, over as many connections, for as long.

mod client;
mod etcd;
mod gap;
mod results;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use self::client::{EtcdClient, Work};
use self::etcd::Etcd;
pub use self::results::{Cell, Comparison, Row};
use super::load::{Mix, OperationKind, Pace};
use super::machine::Machine;
use super::point::{self, LoadOptions, NODES, drive_watched};
use super::runs::{self, Range};
use super::samples::Samples;
use crate::cluster::Cluster;
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
    /// Our load; what the clients do is set for each row.
    pub load: LoadOptions,
}

/// What both do in one row.
#[derive(Debug, Clone, Copy)]
struct RowPlan {
    ours: &'static str,
    theirs: &'static str,
    clients: u64,
    what: What,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum What {
    /// Operations of this kind against such work.
    Load(OperationKind, Work),
    /// The gap after this many kills of the leader.
    Gap(usize),
}

/// Measures both; `tell` gets a line about each row.
pub async fn run(options: &AgainstOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Comparison> {
    let program = etcd::find()?;
    let plans = plans(options);
    for plan in &plans {
        point::check_open_files(usize::try_from(plan.clients).unwrap_or(usize::MAX))?;
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let logs = options.load.report.clone().unwrap_or_else(|| temporary.path().to_owned()).join("logs");
    let mut comparison = Comparison {
        revision: REVISION,
        etcd_version: etcd::version(&program),
        at: seconds_since_1970(),
        machine: Machine::this(),
        command: std::env::args().collect(),
        duration_s: options.load.duration.as_secs_f64(),
        repeat: options.load.repeat,
        rows: Vec::new(),
    };
    let mut measured = vec![Vec::new(); plans.len()];
    for (run, number) in runs::rounds(plans.len(), options.load.repeat) {
        let logs = runs::logs(&logs, run, options.load.repeat);
        let workspace = Workspace { program: program.clone(), data: temporary.path().to_owned(), logs };
        tell(format!("measuring {}{} …", plans[number].text(), runs::label(run, options.load.repeat)));
        measured[number].push(plans[number].measure(options, &workspace).await?);
        comparison.rows = plans.iter().zip(&measured).filter_map(|(plan, cells)| plan.row(cells)).collect();
        if let Some(report) = &options.load.report {
            comparison.write(report)?;
        }
    }
    Ok(comparison)
}

/// The rows, in order.
fn plans(options: &AgainstOptions) -> Vec<RowPlan> {
    let clients = if options.clients.is_empty() { CLIENTS.to_vec() } else { options.clients.clone() };
    let cycle = "lease + announce (2 requests)";
    let works = [
        ("announce", "put", What::Load(OperationKind::Announce, Work::Put), u64::MAX),
        (cycle, "grant + lock + put + revoke (4)", What::Load(OperationKind::Cycle, Work::Cycle), CYCLE_CLIENTS_MAX),
        (cycle, "lock + put and unlock (2)", What::Load(OperationKind::Cycle, Work::SessionCycle), CYCLE_CLIENTS_MAX),
    ];
    let mut plans = Vec::new();
    for (ours, theirs, what, most) in works {
        let counts = clients.iter().copied().filter(|count| *count <= most);
        plans.extend(counts.map(|clients| RowPlan { ours, theirs, clients, what }));
    }
    let what = What::Gap(if options.quick { QUICK_KILLS } else { KILLS });
    plans.push(RowPlan { ours: "SIGKILL of the leader until a write", theirs: "the same", clients: 1, what });
    plans
}

impl RowPlan {
    fn text(&self) -> String {
        match self.what {
            What::Load(..) => format!("{} against {} with {} clients", self.ours, self.theirs, self.clients),
            What::Gap(kills) => format!("the gap, killing each leader {kills} times"),
        }
    }

    /// One run: ours and theirs.
    async fn measure(&self, options: &AgainstOptions, workspace: &Workspace) -> anyhow::Result<(Cell, Cell)> {
        match self.what {
            What::Load(kind, work) => {
                let raftshare =
                    our_load(options, workspace, kind, self.clients).await.context("measuring raftshare")?;
                let etcd = their_load(options, workspace, work, self.clients).await.context("measuring etcd")?;
                Ok((raftshare, etcd))
            }
            What::Gap(kills) => gaps(options, workspace, kills).await.context("measuring the gap after a kill"),
        }
    }

    /// The runs as a row; absent if there are none yet.
    fn row(&self, runs: &[(Cell, Cell)]) -> Option<Row> {
        let (ours, theirs): (Vec<Cell>, Vec<Cell>) = runs.iter().cloned().unzip();
        let row =
            |raftshare, etcd| Row { ours: self.ours, theirs: self.theirs, clients: self.clients, raftshare, etcd };
        (!runs.is_empty()).then(|| row(Cell::merged(&ours), Cell::merged(&theirs)))
    }
}

/// Where things are.
struct Workspace {
    program: PathBuf,
    data: PathBuf,
    logs: PathBuf,
}

impl Workspace {
    /// An empty directory, removed with what was in it before.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.data.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(path)
    }
}

fn our_options(options: &AgainstOptions, kind: OperationKind) -> LoadOptions {
    // A new name each time, as etcd gets a new key.
    LoadOptions { mix: Mix::of(kind), files: u64::MAX, repeat: 1, report: None, ..options.load.clone() }
}

async fn our_load(
    options: &AgainstOptions,
    workspace: &Workspace,
    kind: OperationKind,
    clients: u64,
) -> anyhow::Result<Cell> {
    let load = our_options(options, kind);
    let (data, logs) =
        (workspace.fresh("raftshare")?, workspace.logs.join(format!("raftshare-{}-{clients}", kind.name())));
    let point = point::measure(&load, clients, usize::try_from(clients)?, &data, logs).await?;
    Ok(Cell {
        per_second: Some(point.per_second),
        range: point.range,
        p50_ms: point.total.p50_ms,
        p99_ms: point.total.p99_ms,
        samples: point.total.done,
        failed: point.total.failed,
        nodes_cpu_s: point.nodes.iter().map(|usage| usage.cpu_s).sum(),
        generator_cpu_s: point.generator.cpu_s,
    })
}

async fn their_load(options: &AgainstOptions, workspace: &Workspace, work: Work, clients: u64) -> anyhow::Result<Cell> {
    let logs = workspace.logs.join(format!("etcd-{}-{clients}", work.name().replace(' ', "-")));
    let etcd = Etcd::start(&workspace.program, &workspace.fresh("etcd")?, &logs).await?;
    let leader = etcd.hosts().get(etcd.leader().await?).context("the leader has an address")?.clone();
    let mut workers: Vec<EtcdClient> = (0..clients).map(|number| EtcdClient::new(&leader, work, number)).collect();
    for worker in &mut workers {
        worker.prepare().await.map_err(|why| anyhow!("a client could not begin: {why}"))?;
    }
    let mut processes = etcd.processes();
    processes.push(("generator".into(), std::process::id()));
    let pace = Pace { warm_up: options.load.warm_up, duration: options.load.duration, rate: None };
    let (tally, mut usages) = drive_watched(workers, pace, &processes).await;
    let generator = usages.pop().unwrap_or_default();
    let total = tally.total().over(options.load.duration.as_secs_f64());
    Ok(Cell {
        per_second: Some(total.per_second),
        range: total.range,
        p50_ms: total.p50_ms,
        p99_ms: total.p99_ms,
        samples: total.done,
        failed: total.failed,
        nodes_cpu_s: usages.iter().map(|usage| usage.cpu_s).sum(),
        generator_cpu_s: generator.cpu_s,
    })
}

async fn gaps(options: &AgainstOptions, workspace: &Workspace, kills: usize) -> anyhow::Result<(Cell, Cell)> {
    let cell = |samples: &Samples| Cell {
        range: Range::once(samples.percentile_ms(50)),
        p50_ms: samples.percentile_ms(50),
        p99_ms: samples.percentile_ms(100),
        samples: samples.count() as u64,
        ..Cell::default()
    };
    let raftshare = {
        let directories = (workspace.fresh("raftshare")?, workspace.logs.join("raftshare-gap"));
        let arguments = our_options(options, OperationKind::Announce).node_arguments();
        let mut cluster = Cluster::start_plain(NODES, options.load.bin_dir.as_deref(), directories, arguments).await?;
        gap::ours(&mut cluster, kills).await?
    };
    let mut etcd = Etcd::start(&workspace.program, &workspace.fresh("etcd")?, &workspace.logs.join("etcd-gap")).await?;
    let theirs = gap::etcd(&mut etcd, kills).await?;
    Ok((cell(&raftshare), cell(&theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(clients: Vec<u64>) -> AgainstOptions {
        AgainstOptions { quick: true, clients, load: LoadOptions::default() }
    }

    #[test]
    fn cycles_leave_out_the_most_clients_and_the_gap_comes_last() {
        let rows = |clients| plans(&options(clients)).iter().map(|plan| plan.clients).collect::<Vec<_>>();
        assert_eq!(rows(Vec::new()), [1, 100, 500, 1, 100, 1, 100, 1]);
        assert_eq!(rows(vec![200]), [200, 1]);
        let last = plans(&options(vec![200])).pop().expect("a row");
        assert!(matches!(last.what, What::Gap(QUICK_KILLS)));
    }

    #[test]
    fn a_row_takes_each_system_from_its_own_runs() {
        let plan = plans(&options(vec![200])).remove(0);
        let cell = |per_second| Cell { per_second: Some(per_second), ..Cell::default() };
        assert!(plan.row(&[]).is_none());
        let row = plan.row(&[(cell(10.0), cell(1.0)), (cell(20.0), cell(2.0))]).expect("a row");
        assert_eq!((row.raftshare.per_second, row.etcd.per_second), (Some(15.0), Some(1.5)));
        assert_eq!((row.raftshare.range.runs, row.etcd.range.highest), (2, 2.0));
    }
}
