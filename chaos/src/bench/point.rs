//! One point of a sweep: a number of peers and a load, on its own cluster.
//!
//! Invariant: processor time is that of the measured time alone, without set-up and warm-up; a change of
//! leader during the point is in its result.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use client::contract::LeaderInfo;
use serde::{Deserialize, Serialize};

use super::load::drive::Worker;
use super::load::{self, Common, Mix, OperationKind, Pace, Summary, Tally, Targets, Wire};
use super::runs::Range;
use super::usage::{Reading, Usage, open_files_max};
use crate::cluster::{Cluster, READY_WITHIN};

/// Nodes of the measured cluster.
pub const NODES: u64 = 3;
/// Open files that this process and a node need besides the clients' connections.
const OPEN_FILES_SPARE: u64 = 500;
/// Settings of the nodes unless they are given: replication that nobody carries out is not what is measured, and the
/// peers are not real, so that those who only read send no signs of life.
const NODE_DEFAULTS: [(&str, &str); 3] = [("--grace", "0s"), ("--replicas", "1"), ("--peer-ttl", "1h")];

/// How reads are to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// From the asked node's own state.
    Stale,
    /// From the leader's.
    Leader,
    /// Linearizable.
    Linearizable,
}

/// Which nodes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// The leader.
    Leader,
    /// The followers, by the clients in turn.
    Follower,
    /// All nodes, by the clients in turn.
    All,
}

/// A load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Peers and connections of each point.
    pub points: Vec<(u64, usize)>,
    /// What the peers do.
    pub mix: Mix,
    /// Operations per second of all together; a closed loop if absent.
    pub rate: Option<f64>,
    /// Runs of each point.
    pub repeat: u32,
    /// Measured time of a run.
    pub duration: Duration,
    /// Goes before it.
    pub warm_up: Duration,
    /// Names per connection.
    pub files: u64,
    /// Of reads; the nodes' default if absent.
    pub consistency: Option<Consistency>,
    /// Where reads go.
    pub at: At,
    /// The wire format in which they ask.
    pub wire: Wire,
    /// More arguments for every node.
    pub node_arguments: Vec<String>,
    /// Seed of the mix and of what is read.
    pub seed: u64,
    /// Where results and logs go; nowhere if absent.
    pub report: Option<PathBuf>,
    /// Where the binaries are.
    pub bin_dir: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            mix: Mix::of(OperationKind::Announce),
            rate: None,
            repeat: 1,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(3),
            files: 1_000,
            consistency: None,
            at: At::Leader,
            wire: Wire::Native,
            node_arguments: Vec::new(),
            seed: 1,
            report: None,
            bin_dir: None,
        }
    }
}

/// What a point came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Registered peers.
    pub peers: u64,
    /// Connections that act for them.
    pub connections: usize,
    /// Measured time in seconds, of all runs together.
    pub seconds: f64,
    /// Operations that succeeded, per second; of several runs the median.
    pub per_second: f64,
    /// The runs, and the smallest and greatest number of operations per second of one.
    #[serde(flatten)]
    pub range: Range,
    /// Things they were about, such as files, per second.
    pub units_per_second: f64,
    /// Part of the operations that failed, 0 to 1.
    pub error_rate: f64,
    /// All operations.
    pub total: Summary,
    /// By kind of operation.
    pub by_kind: BTreeMap<String, Summary>,
    /// Failures by status and code.
    pub failures: BTreeMap<String, u64>,
    /// Leader and term when the load began; of several runs the first in which the leader changed, or the last.
    pub leader_before: Option<(u64, u64)>,
    /// Leader and term when it ended.
    pub leader_after: Option<(u64, u64)>,
    /// Whether these differ in any run: part of the time nobody led.
    pub leader_changed: bool,
    /// What each node took.
    pub nodes: Vec<Usage>,
    /// What the generator took.
    pub generator: Usage,
}

impl LoadOptions {
    fn common(&self, run: &str, peers: u64, connections: usize) -> Common {
        let reading = match self.consistency {
            None => "",
            Some(Consistency::Stale) => "&consistency=stale",
            Some(Consistency::Leader) => "&consistency=leader",
            Some(Consistency::Linearizable) => "&consistency=linearizable",
        };
        // The number of names belongs to a client, whether it acts for one peer or for many.
        let clients = peers.min(connections as u64);
        let files = (self.files.saturating_mul(clients) / peers.max(1)).max(1);
        let (run, mix, reading) = (run.to_owned(), self.mix.clone(), reading.to_owned());
        Common { run, mix, peers, files, serving: true, reading, wire: self.wire }
    }

    fn targets(&self, cluster: &Cluster, leader: &LeaderInfo) -> Targets {
        let write = leader.address.clone();
        let hosts = cluster.ids().into_iter().filter_map(|id| Some((id, host(&cluster.url(id)?).to_owned())));
        let wanted = |id: u64| match self.at {
            At::Leader => id == leader.id,
            At::Follower => id != leader.id,
            At::All => true,
        };
        Targets { write, reads: hosts.filter(|(id, _)| wanted(*id)).map(|(_, host)| host).collect() }
    }

    /// The arguments of every node.
    pub fn node_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (name, value) in NODE_DEFAULTS {
            let given = |argument: &String| argument == name || argument.starts_with(&format!("{name}="));
            if !self.node_arguments.iter().any(given) {
                arguments.extend([name.to_owned(), value.to_owned()]);
            }
        }
        arguments.extend(self.node_arguments.iter().cloned());
        arguments
    }
}

fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap_or(url)
}

/// Whether this many connections can be opened here.
pub fn check_open_files(connections: usize) -> anyhow::Result<()> {
    // Clients that read elsewhere have two connections.
    let needed = connections as u64 * 2 + OPEN_FILES_SPARE;
    match open_files_max() {
        Some(limit) if limit < needed => bail!(
            "{connections} connections need {needed} open files, and the limit is {limit}: use fewer --connections, or \
             raise it (`ulimit -n {needed}`)"
        ),
        _ => Ok(()),
    }
}

/// Drives the workers; what it came to, and what each process took in the measured time.
pub(super) async fn drive_watched<W: Worker>(
    workers: Vec<W>,
    pace: Pace,
    processes: &[(String, u32)],
) -> (Tally, Vec<Usage>) {
    let (reading, usages) = (RefCell::new(None), RefCell::new(Vec::new()));
    let warm = || *reading.borrow_mut() = Some(Reading::take(processes));
    let cold = || *usages.borrow_mut() = reading.take().map(|reading: Reading| reading.since()).unwrap_or_default();
    let (tally, _workers) = load::drive(workers, pace, warm, cold).await;
    (tally, usages.take())
}

/// Measures one run of a point on a fresh cluster, whose data goes below `data`.
pub async fn measure(
    options: &LoadOptions,
    peers: u64,
    connections: usize,
    data: &Path,
    logs: PathBuf,
) -> anyhow::Result<Point> {
    let directories = (data.to_owned(), logs);
    let cluster =
        Cluster::start_plain(NODES, options.bin_dir.as_deref(), directories, options.node_arguments()).await?;
    let leader = cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
    let common = options.common(&format!("p{peers}"), peers, connections);
    let targets = options.targets(&cluster, &leader);
    let clients = load::clients(common, &targets, connections, options.seed).await.map_err(anyhow::Error::msg)?;
    let connections = clients.len();
    let before = cluster.leader().await;

    let pid = |id| cluster.pid(id).map(|pid| (format!("n{id}"), pid));
    let mut processes: Vec<(String, u32)> = cluster.ids().into_iter().filter_map(pid).collect();
    processes.push(("generator".into(), std::process::id()));
    let pace = Pace { warm_up: options.warm_up, duration: options.duration, rate: options.rate };
    let (tally, mut usages) = drive_watched(clients, pace, &processes).await;
    let generator = usages.pop().unwrap_or_default();
    let after = cluster.leader().await;

    let seconds = options.duration.as_secs_f64();
    let total = tally.total().over(seconds);
    let by_kind = tally.by_kind().into_iter().map(|(kind, summary)| (kind, summary.over(seconds))).collect();
    let led = |leader: &Option<LeaderInfo>| leader.as_ref().map(|leader| (leader.id, leader.term));
    Ok(Point {
        peers,
        connections,
        seconds,
        per_second: total.per_second,
        range: total.range,
        units_per_second: total.units_per_second,
        error_rate: total.error_rate(),
        by_kind,
        failures: tally.failures().clone(),
        leader_changed: led(&before) != led(&after),
        leader_before: led(&before),
        leader_after: led(&after),
        nodes: usages,
        generator,
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LoadOptions {
        let node_arguments = vec!["--replicas=2".into()];
        LoadOptions { consistency: Some(Consistency::Stale), node_arguments, ..LoadOptions::default() }
    }

    #[test]
    fn many_peers_of_one_client_share_its_names() {
        assert_eq!(options().common("r", 100, 500).files, 1_000);
        assert_eq!(options().common("r", 10_000, 500).files, 50);
        assert_eq!(options().common("r", 10_000, 1).files, 1);
        assert_eq!(options().common("r", 1, 1).reading, "&consistency=stale");
    }

    #[test]
    fn given_settings_of_the_nodes_replace_the_defaults() {
        assert_eq!(options().node_arguments(), ["--grace", "0s", "--peer-ttl", "1h", "--replicas=2"]);
    }

    #[test]
    fn too_many_connections_are_refused_before_anything_starts() {
        assert!(check_open_files(1).is_ok());
        let error = check_open_files(1 << 40).expect_err("too many").to_string();
        assert!(error.contains("ulimit -n"), "{error}");
    }
}
