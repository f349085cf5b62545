//! A load over numbers of peers, and its results: a table, `bench.json`, `bench.csv` and four charts.
//!
//! Invariant: every point that was measured is in every form of the result, as the median of its runs; the results name
//! the machine, the sources and the options they came from.

mod charts;
mod merge;
mod text;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::load::Wire;
use super::machine::Machine;
use super::point::{self, LoadOptions, Point};
use super::{FILE, runs};
use crate::revision::{REVISION, seconds_since_1970};

/// File name of the points as a table for other programs.
pub const CSV: &str = "bench.csv";

/// What `bench.json` of a load holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// `git describe` of the sources.
    pub revision: &'static str,
    /// When it was measured, Unix seconds.
    pub at: u64,
    /// On what.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// Arguments of every node.
    pub node_arguments: Vec<String>,
    /// Seed of the mix and of what is read.
    pub seed: u64,
    /// The mix.
    pub mix: String,
    /// Operations per second that were asked for; `null` in a closed loop.
    pub rate: Option<f64>,
    /// Runs of each point that were asked for.
    pub repeat: u32,
    /// Goes before each run of a point and is not counted, in seconds.
    pub warm_up_s: f64,
    /// Measured time of each run, in seconds.
    pub duration_s: f64,
    /// Names per connection.
    pub files: u64,
    /// Consistency of reads; `null` for the nodes' default.
    pub consistency: Option<point::Consistency>,
    /// Where reads go.
    pub at_nodes: point::At,
    /// The wire format.
    pub wire: Wire,
    /// The points.
    pub points: Vec<Point>,
}

/// Measures every point and writes the results; `tell` gets a line about each.
pub async fn run(options: &LoadOptions, mut tell: impl FnMut(String)) -> anyhow::Result<Sweep> {
    for (_, connections) in &options.points {
        point::check_open_files(*connections)?;
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    let logs = options.report.clone().unwrap_or_else(|| temporary.path().to_owned()).join("logs");
    let mut sweep = Sweep::new(options);
    let (points, repeat) = (&options.points, options.repeat);
    let mut measured = vec![Vec::new(); points.len()];
    for (run, number) in runs::rounds(points.len(), repeat) {
        let (peers, connections) = points[number];
        tell(format!("measuring {} by {peers} peers{} …", options.mix, runs::label(run, repeat)));
        let name = format!("{number}-{peers}");
        let (data, logs) = (temporary.path().join(&name), runs::logs(&logs, run, repeat).join(&name));
        let point = point::measure(options, peers, connections, &data, logs).await;
        measured[number].push(point.with_context(|| format!("measuring {peers} peers"))?);
        sweep.points = measured.iter().filter_map(|runs| merge::merged(runs)).collect();
        // Unsaved results of a long sweep are worth more than the time it takes to write them.
        if let Some(report) = &options.report {
            sweep.write(report)?;
        }
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    Ok(sweep)
}

impl Sweep {
    fn new(options: &LoadOptions) -> Self {
        Self {
            revision: REVISION,
            at: seconds_since_1970(),
            machine: Machine::this(),
            command: std::env::args().collect(),
            node_arguments: options.node_arguments(),
            seed: options.seed,
            mix: options.mix.to_string(),
            rate: options.rate,
            repeat: options.repeat,
            warm_up_s: options.warm_up.as_secs_f64(),
            duration_s: options.duration.as_secs_f64(),
            files: options.files,
            consistency: options.consistency,
            at_nodes: options.at,
            wire: options.wire,
            points: Vec::new(),
        }
    }

    /// Writes `bench.json`, `bench.csv` and the charts.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let mut files = vec![(FILE, serde_json::to_string_pretty(self)? + "\n"), (CSV, self.csv())];
        files.extend(self.charts().iter().map(|(name, chart)| (*name, chart.svg())));
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::load::Tally;

    /// A run of a point: `done` operations succeeded, one of them a search, and another one failed.
    pub(super) fn point(peers: u64, done: u64) -> Point {
        let (mut tally, seconds) = (Tally::default(), 2.0);
        for _ in 1..done {
            tally.done("announce", Duration::from_millis(2), 1);
        }
        tally.done("search", Duration::from_millis(4), 1);
        tally.failed("search", "503 no_quorum");
        let total = tally.total().over(seconds);
        Point {
            peers,
            connections: 10,
            seconds,
            per_second: total.per_second,
            range: total.range,
            units_per_second: total.units_per_second,
            error_rate: total.error_rate(),
            by_kind: tally.by_kind().into_iter().map(|(kind, summary)| (kind, summary.over(seconds))).collect(),
            failures: tally.failures().clone(),
            leader_before: Some((1, 1)),
            leader_after: Some((2, 3)),
            leader_changed: true,
            nodes: Vec::new(),
            generator: Default::default(),
            total,
        }
    }

    /// Two points with as many runs.
    pub(super) fn sweep(repeat: u32) -> Sweep {
        let mix = "announce=5,search=1".parse().expect("a mix");
        let options = LoadOptions { mix, repeat, duration: Duration::from_secs(2), seed: 7, ..LoadOptions::default() };
        let runs = |peers| (1..=u64::from(repeat)).map(|run| point(peers, run * 2)).collect::<Vec<_>>();
        let points = [10, 100].into_iter().filter_map(|peers| merge::merged(&runs(peers))).collect();
        Sweep { points, ..Sweep::new(&options) }
    }

    #[test]
    fn every_point_is_in_every_file_and_the_charts_draw_the_medians() {
        for repeat in [1, 3] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let sweep = sweep(repeat);
            sweep.write(directory.path()).expect("written");
            let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("written");
            assert_eq!(read(CSV).lines().count(), 1 + 2 * 3);
            let json: serde_json::Value = serde_json::from_str(&read(FILE)).expect("JSON");
            assert_eq!((json["points"].as_array().map(Vec::len), &json["seed"]), (Some(2), &7.into()));
            assert_eq!((&json["repeat"], &json["points"][0]["runs"]), (&repeat.into(), &repeat.into()));
            assert_eq!(json["points"][0]["byKind"]["search"]["lowest"], 0.5);
            for name in ["throughput.svg", "latency.svg", "p99.svg", "errors.svg"] {
                assert_eq!(read(name).matches("<circle class=\"line0 dot\"").count(), 2 + 1, "{name}");
                assert_eq!(read(name).contains("medians of 3 runs"), repeat == 3, "{name}");
            }
        }
    }
}
