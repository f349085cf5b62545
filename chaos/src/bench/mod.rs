//! Measurements of a cluster of real processes on this machine, beside the original system's figures.
//!
//! Invariant: each figure is measured by a function of its own on a cluster that nothing else uses at that moment; medians
//! and percentiles are of all samples, none is left out.

mod against;
mod announces;
mod chart;
pub mod cli;
mod columns;
mod convergence;
mod figure;
mod freshness;
mod gap;
mod heartbeats;
mod in_process;
pub mod load;
mod machine;
mod original;
pub mod point;
mod register;
mod samples;
mod saturate;
mod single;
pub mod sweep;
mod usage;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
pub use figure::{Figure, table};

use crate::cluster::{Cluster, ClusterOptions};
use crate::fault::Families;
use crate::fault::network::Pids;

/// File name of the figures inside a report directory.
pub const FILE: &str = "bench.json";
/// Every measurement, in order.
pub const NAMES: [&str; 11] = [
    "cycle",
    "read-leader-dead",
    "convergence",
    "failover",
    "gap",
    "announces",
    "in-process",
    "register",
    "heartbeats",
    "freshness",
    "saturate",
];
/// Takes many minutes: is measured only when it is asked for.
const ENDURANCE: &str = "saturate";
/// Nodes of the measured cluster.
const NODES: u64 = 3;

/// How to measure.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// A short form of every measurement.
    pub quick: bool,
    /// Only these; if empty, all but the one that takes many minutes.
    pub only: Vec<String>,
    /// Where the figures and the nodes' logs go; a temporary directory if absent.
    pub report: Option<PathBuf>,
    /// Where the binaries are.
    pub bin_dir: Option<PathBuf>,
    /// Length of the measurement that shows what lasts.
    pub duration: Option<Duration>,
}

impl BenchOptions {
    fn wants(&self, name: &str) -> bool {
        if self.only.is_empty() { name != ENDURANCE } else { self.only.iter().any(|only| only == name) }
    }
}

/// What a measurement needs.
#[derive(Debug)]
pub(crate) struct Bench {
    cluster: Cluster,
    quick: bool,
    bin_dir: Option<PathBuf>,
    directory: PathBuf,
    /// How long to saturate the cluster, if it is given.
    duration: Option<Duration>,
}

/// Runs the measurements, each on a fresh cluster; `tell` gets a line about each.
pub async fn run(options: &BenchOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Vec<Figure>> {
    if let Some(unknown) = options.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no measurement {unknown:?}; there are {}", NAMES.join(", "));
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let directory = options.report.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut figures = Vec::new();
    for name in NAMES.into_iter().filter(|name| options.wants(name)) {
        tell(format!("measuring {name} …"));
        let cluster_options = ClusterOptions {
            spares: 0,
            nodes: NODES,
            bin_dir: options.bin_dir.clone(),
            data: temporary.path().join(name),
            logs: directory.join("logs").join(name),
            // Replication starts at once: the grace period after an election is not what is measured.
            arguments: vec!["--grace".into(), "0s".into()],
            pids: Pids::default(),
        };
        let cluster = Cluster::start(&cluster_options, &mut Families::default()).await?;
        let directory = temporary.path().join(format!("{name}-peers"));
        let (quick, bin_dir, duration) = (options.quick, options.bin_dir.clone(), options.duration);
        let mut bench = Bench { cluster, quick, bin_dir, directory, duration };
        let measured = match name {
            "cycle" => single::cycle(&mut bench).await,
            "read-leader-dead" => single::read_leader_dead(&mut bench).await,
            "convergence" => convergence::measure(&mut bench).await,
            "failover" => single::failover(&mut bench).await,
            "gap" => gap::measure(&mut bench).await,
            "in-process" => in_process::measure(&mut bench).await,
            "register" => register::measure(&mut bench).await,
            "heartbeats" => heartbeats::measure(&mut bench).await,
            "freshness" => freshness::measure(&mut bench).await,
            "saturate" => saturate::measure(&mut bench).await,
            _ => announces::measure(&mut bench).await,
        };
        figures.extend(measured.with_context(|| format!("measuring {name}"))?);
    }
    let json = serde_json::to_string_pretty(&figures)?;
    std::fs::write(directory.join(FILE), json + "\n").context("cannot write the figures")?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_measured_only_when_asked_for() {
        let all = BenchOptions::default();
        assert!(NAMES.iter().filter(|name| !all.wants(name)).eq([&ENDURANCE]));
        let one = BenchOptions { only: vec![ENDURANCE.into()], ..BenchOptions::default() };
        assert!(one.wants(ENDURANCE) && !one.wants("cycle"));
    }

    #[tokio::test]
    async fn an_unknown_measurement_is_refused_by_name() {
        let options = BenchOptions { only: vec!["speed".into()], ..BenchOptions::default() };
        let error = run(&options, |_| {}).await.expect_err("unknown").to_string();
        assert!(error.contains("announces"), "{error}");
    }
}
