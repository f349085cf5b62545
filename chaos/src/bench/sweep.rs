//! A load over numbers of peers, and its results: a table, `bench.json`, `bench.csv` and four charts.
//!
//! Invariant: every point that was measured is in every form of the result; the results name the machine, the sources and
//! the options they came from.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::chart::{Chart, Series};
use super::machine::Machine;
use super::point::{self, LoadOptions, Point};
use super::{FILE, original};
use crate::revision::{REVISION, seconds_since_1970};

/// File name of the points as a table for other programs.
pub const CSV: &str = "bench.csv";
/// Most kinds of failures that the table names per point.
const FAILURES_SHOWN: usize = 4;

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
    /// Goes before each point and is not counted, in seconds.
    pub warm_up_s: f64,
    /// Measured time of each point, in seconds.
    pub duration_s: f64,
    /// Names per connection.
    pub files: u64,
    /// Consistency of reads; `null` for the nodes' default.
    pub consistency: Option<point::Consistency>,
    /// Where reads go.
    pub at_nodes: point::At,
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
    for (number, &(peers, connections)) in options.points.iter().enumerate() {
        tell(format!("measuring {} by {peers} peers …", options.mix));
        let name = format!("{number}-{peers}");
        let data = temporary.path().join(&name);
        let point = point::measure(options, peers, connections, &data, logs.join(&name)).await;
        sweep.points.push(point.with_context(|| format!("measuring {peers} peers"))?);
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
            warm_up_s: options.warm_up.as_secs_f64(),
            duration_s: options.duration.as_secs_f64(),
            files: options.files,
            consistency: options.consistency,
            at_nodes: options.at,
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

    /// For people.
    pub fn table(&self) -> String {
        let kinds: std::collections::BTreeSet<&String> =
            self.points.iter().flat_map(|point| point.by_kind.keys()).collect();
        let mut text = format!(" {:>6} {:>6} {:>9}", "PEERS", "CONNS", "OPS/S");
        for kind in &kinds {
            let _ = write!(text, " {:>24}", format!("{} avg/p50/p99", kind.to_uppercase()));
        }
        let _ = write!(text, " {:>9} {:>20} {:>7} {:>16}  ORIGINAL", "ERRORS", "CPU n1+n2+n3+gen", "RSS", "TERM");
        for point in &self.points {
            let _ = write!(text, "\n {:>6} {:>6} {:>9.0}", point.peers, point.connections, point.per_second);
            for kind in &kinds {
                let latency =
                    point.by_kind.get(*kind).filter(|summary| summary.done > 0).map_or("–".to_owned(), |summary| {
                        format!("{:.2}/{:.2}/{:.2} ms", summary.mean_ms, summary.p50_ms, summary.p99_ms)
                    });
                let _ = write!(text, " {latency:>24}");
            }
            let cpu = point.nodes.iter().chain([&point.generator]);
            let cpu: Vec<String> = cpu.map(|usage| usage.cpu_s.map_or("–".into(), |cpu| format!("{cpu:.1}"))).collect();
            let rss = point.nodes.iter().filter_map(|usage| usage.rss_kib).max().unwrap_or(0) / 1_024;
            let _ = write!(
                text,
                " {:>9} {:>20} {:>7} {:>16}  {}",
                format!("{:.2} %", point.error_rate * 100.0),
                format!("{} s", cpu.join("+")),
                format!("{rss} MB"),
                term(point),
                original::at(point.peers)
                    .map_or("–".into(), |(throughput, latency)| format!("{throughput} ops/s, {latency} ms"))
            );
        }
        for point in &self.points {
            text.push_str(&notes(point));
        }
        text
    }

    fn csv(&self) -> String {
        let mut text = String::from(
            "peers,connections,mix,kind,seconds,done,failed,ops_per_s,units_per_s,error_rate,mean_ms,p50_ms,p90_ms,p99_ms,\
             p999_ms,max_ms,term_before,term_after,leader_changed,cpu_nodes_s,cpu_generator_s,rss_max_kib\n",
        );
        let term = |leader: Option<(u64, u64)>| leader.map(|(_, term)| term.to_string()).unwrap_or_default();
        for point in &self.points {
            let nodes: f64 = point.nodes.iter().filter_map(|usage| usage.cpu_s).sum();
            let rss = point.nodes.iter().filter_map(|usage| usage.rss_kib).max().unwrap_or(0);
            let all = "all".to_owned();
            for (kind, summary) in [(&all, &point.total)].into_iter().chain(&point.by_kind) {
                let _ = writeln!(
                    text,
                    "{},{},\"{}\",{kind},{},{},{},{:.1},{:.1},{:.6},{:.3},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{},{nodes:.2},\
                     {:.2},{rss}",
                    point.peers,
                    point.connections,
                    self.mix,
                    point.seconds,
                    summary.done,
                    summary.failed,
                    summary.done as f64 / point.seconds,
                    summary.units as f64 / point.seconds,
                    summary.error_rate(),
                    summary.mean_ms,
                    summary.p50_ms,
                    summary.p90_ms,
                    summary.p99_ms,
                    summary.p999_ms,
                    summary.max_ms,
                    term(point.leader_before),
                    term(point.leader_after),
                    point.leader_changed,
                    point.generator.cpu_s.unwrap_or(0.0)
                );
            }
        }
        text
    }

    /// File name and chart, four of them.
    fn charts(&self) -> [(&'static str, Chart); 4] {
        let chart = |title: &str, y: &str, log_y, of: &dyn Fn(&Point) -> f64, original: &[(f64, f64)]| {
            let points = self.points.iter().map(|point| (point.peers as f64, of(point))).collect();
            let mut series = vec![Series { name: "raftshare".into(), points, other: false }];
            if !original.is_empty() {
                let name = "the original (Go, no consensus, nothing flushed)".into();
                series.push(Series { name, points: original.to_vec(), other: true });
            }
            let loop_text = self.rate.map_or("closed loop".into(), |rate| format!("{rate} operations/s asked for"));
            Chart {
                title: title.to_owned(),
                subtitle: format!(
                    "mix {}, {loop_text}, {} s a point, 3 nodes on {} cores",
                    self.mix, self.duration_s, self.machine.cores
                ),
                x: "registered peers".into(),
                y: y.to_owned(),
                log_y,
                series,
            }
        };
        let (throughput, latency, errors) = (&original::THROUGHPUT, &original::LATENCY, &original::ERRORS);
        let percent = |point: &Point| point.error_rate * 100.0;
        [
            ("throughput.svg", chart("Throughput", "operations/s", true, &|point| point.per_second, throughput)),
            ("latency.svg", chart("Average latency", "ms", true, &|point| point.total.mean_ms, latency)),
            ("p99.svg", chart("99th percentile of latency", "ms", true, &|point| point.total.p99_ms, &[])),
            ("errors.svg", chart("Failed operations", "% of operations", false, &percent, errors)),
        ]
    }
}

fn term(point: &Point) -> String {
    let text = |leader: Option<(u64, u64)>| leader.map_or("nobody".into(), |(id, term)| format!("n{id} in {term}"));
    if point.leader_changed {
        format!("{}→{} !", text(point.leader_before), text(point.leader_after))
    } else {
        text(point.leader_after)
    }
}

/// What does not fit into a row.
fn notes(point: &Point) -> String {
    let mut text = String::new();
    if point.units_per_second > point.per_second {
        let _ = write!(text, "\n   {} peers: {:.0} files/s", point.peers, point.units_per_second);
    }
    if !point.failures.is_empty() {
        let mut failures: Vec<_> = point.failures.iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = failures.iter().take(FAILURES_SHOWN).map(|(why, count)| format!("{count} × {why}"));
        let _ = write!(text, "\n   {} peers: failed: {}", point.peers, shown.collect::<Vec<_>>().join(", "));
    }
    if point.leader_changed {
        let _ = write!(text, "\n   {} peers: the leader changed, so part of the time nobody served", point.peers);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::load::Tally;

    fn sweep() -> Sweep {
        let options = LoadOptions {
            points: Vec::new(),
            mix: "announce=5,search=1".parse().expect("a mix"),
            rate: None,
            duration: Duration::from_secs(2),
            warm_up: Duration::ZERO,
            files: 10,
            consistency: None,
            at: point::At::Leader,
            node_arguments: Vec::new(),
            seed: 7,
            report: None,
            bin_dir: None,
        };
        let mut sweep = Sweep::new(&options);
        for peers in [10, 100] {
            let mut tally = Tally::default();
            tally.done("announce", Duration::from_millis(2), 1);
            tally.done("search", Duration::from_millis(4), 1);
            tally.failed("search", "503 no_quorum");
            let total = tally.total();
            sweep.points.push(Point {
                peers,
                connections: 10,
                seconds: 2.0,
                per_second: total.done as f64 / 2.0,
                units_per_second: 1.0,
                error_rate: total.error_rate(),
                by_kind: tally.by_kind(),
                failures: tally.failures().clone(),
                leader_before: Some((1, 1)),
                leader_after: Some((2, 3)),
                leader_changed: true,
                nodes: Vec::new(),
                generator: Default::default(),
                total,
            });
        }
        sweep
    }

    #[test]
    fn the_table_has_the_original_beside_its_points_and_names_what_went_wrong() {
        let text = sweep().table();
        for word in ["233 ops/s, 6 ms", "503 no_quorum", "33.33 %", "the leader changed", "ANNOUNCE avg/p50/p99"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }

    #[test]
    fn every_point_is_in_every_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sweep = sweep();
        sweep.write(directory.path()).expect("written");
        let csv = fs::read_to_string(directory.path().join(CSV)).expect("written");
        let columns: Vec<usize> =
            csv.lines().map(|line| line.replace("announce=5,search=1", "").split(',').count()).collect();
        assert_eq!(columns.len(), 1 + 2 * 3);
        assert!(columns.iter().all(|count| *count == columns[0]), "{csv}");
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join(FILE)).expect("written")).expect("JSON");
        assert_eq!((json["points"].as_array().map(Vec::len), &json["seed"]), (Some(2), &7.into()));
        for name in ["throughput.svg", "latency.svg", "p99.svg", "errors.svg"] {
            let svg = fs::read_to_string(directory.path().join(name)).expect("written");
            assert_eq!(svg.matches("<circle class=\"line0 dot\"").count(), 2 + 1, "{name}");
        }
    }
}
