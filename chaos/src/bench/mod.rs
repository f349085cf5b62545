//! Measurements of a cluster of real processes on this machine, beside the original system's figures.
//!
//! Invariant: each figure is measured by its own function on a fresh cluster that nothing else uses at
//! that moment; medians and percentiles are of all samples, none is left out. A measurement that fails
//! keeps none of the others from being made.

mod against;
mod announces;
mod chart;
pub mod cli;
mod convergence;
mod figure;
mod freshness;
mod gap;
mod heartbeats;
mod in_process;
pub mod load;
mod machine;
mod original;
pub mod paper;
pub mod point;
mod register;
mod results;
mod runs;
mod samples;
mod saturate;
mod single;
pub mod sweep;
mod usage;
mod writers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
pub use figure::{Figure, table};
pub use results::Results;

use crate::cluster::Cluster;
use node::testbed::find_binary;

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
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// A short form of every measurement.
    pub quick: bool,
    /// Only these; if empty, all but the one that takes many minutes.
    pub only: Vec<String>,
    /// Runs of each measurement.
    pub repeat: u32,
    /// Where the figures and the nodes' logs go; a temporary directory if absent.
    pub report: Option<PathBuf>,
    /// Where the binaries are.
    pub bin_dir: Option<PathBuf>,
    /// Length of the measurement that shows what lasts.
    pub duration: Option<Duration>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { quick: false, only: Vec::new(), repeat: 1, report: None, bin_dir: None, duration: None }
    }
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
    /// Where the peers log, as the nodes do.
    logs: PathBuf,
    /// How long to saturate the cluster, if it is given.
    duration: Option<Duration>,
}

/// Runs the measurements, each on a fresh cluster, in as many rounds as are asked for; `tell` gets a line about each.
///
/// An error is of the whole; that of a single measurement is in the results.
pub async fn run(options: &BenchOptions, tell: impl FnMut(String)) -> anyhow::Result<Results> {
    if let Some(unknown) = options.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no measurement {unknown:?}; there are {}", NAMES.join(", "));
    }
    // Without it every measurement would fail, one after the other.
    find_binary("raftshare-node", options.bin_dir.as_deref())?;
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let directory = options.report.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let names: Vec<&'static str> = NAMES.into_iter().filter(|name| options.wants(name)).collect();
    let repeat = options.repeat;
    let measure = async |name: &'static str, run: u32| {
        let data = temporary.path().join(format!("{run}-{name}"));
        let logs = runs::logs(&directory.join("logs"), run, repeat).join(name);
        let measured = one(options, name, &data, logs).await;
        // What cannot be removed goes with the temporary directory.
        let _ = std::fs::remove_dir_all(&data);
        measured
    };
    in_rounds(&names, repeat, tell, measure, |results| results.write(&directory)).await
}

/// Each measurement once, then each again; `keep` gets what there is after every one, since the next may take long.
async fn in_rounds(
    names: &[&'static str],
    repeat: u32,
    mut tell: impl FnMut(String),
    mut measure: impl AsyncFnMut(&'static str, u32) -> anyhow::Result<Vec<Figure>>,
    mut keep: impl FnMut(&Results) -> anyhow::Result<()>,
) -> anyhow::Result<Results> {
    let mut results = Results::new(names, repeat);
    for (run, index) in runs::rounds(names.len(), repeat) {
        let name = names[index];
        tell(format!("measuring {name}{} …", runs::label(run, repeat)));
        let measured = measure(name, run).await;
        if let Err(error) = &measured {
            tell(format!("{name} failed: {error:#}"));
        }
        results.add(index, run, measured);
        keep(&results)?;
    }
    Ok(results)
}

impl Bench {
    /// A fresh cluster; all that it and its peers write but the logs is below `data`.
    async fn start(options: &BenchOptions, data: &Path, logs: PathBuf, arguments: &[&str]) -> anyhow::Result<Self> {
        // Replication starts at once: the grace period after an election is not what is measured.
        let arguments = ["--grace", "0s"].iter().chain(arguments).map(|&argument| argument.to_owned()).collect();
        let cluster =
            Cluster::start_plain(NODES, options.bin_dir.as_deref(), (data.join("nodes"), logs.clone()), arguments)
                .await?;
        let (quick, bin_dir, duration) = (options.quick, options.bin_dir.clone(), options.duration);
        Ok(Self { cluster, quick, bin_dir, directory: data.join("peers"), logs, duration })
    }
}

/// One run of one measurement; all that it writes but the logs is below `data`.
async fn one(options: &BenchOptions, name: &str, data: &Path, logs: PathBuf) -> anyhow::Result<Vec<Figure>> {
    let mut bench = Bench::start(options, data, logs, &[]).await?;
    match name {
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
    }
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

    #[tokio::test]
    async fn a_measurement_that_fails_does_not_end_the_round() {
        let mut order = Vec::new();
        let (mut told, mut kept) = (Vec::new(), Vec::new());
        let measure = async |name: &'static str, run: u32| {
            order.push((name, run));
            if (name, run) == ("gap", 1) {
                bail!("nobody leads");
            }
            Ok(vec![Figure::of(name, name, f64::from(run), "ms")])
        };
        let keep = |results: &Results| {
            kept.push(results.figures().len());
            Ok(())
        };
        let names = ["cycle", "gap", "register"];
        let results = in_rounds(&names, 2, |line| told.push(line), measure, keep).await.expect("measured");
        let expected = [("cycle", 1), ("gap", 1), ("register", 1), ("cycle", 2), ("gap", 2), ("register", 2)];
        assert_eq!(order, expected);
        let values: Vec<f64> = results.figures().iter().map(|figure| figure.value).collect();
        assert_eq!(values, [1.5, 2.0, 1.5]);
        assert_eq!(kept, [1, 1, 2, 2, 3, 3]);
        assert!(told.iter().any(|line| line == "gap failed: nobody leads"), "{told:?}");
        let error = results.check().expect_err("a run failed").to_string();
        assert!(error.contains("gap, run 1 of 2: nobody leads"), "{error}");
    }
}
