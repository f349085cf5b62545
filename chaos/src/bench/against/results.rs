//! What a comparison came to, as a table and as JSON.
//!
//! Invariant: failures stand beside the figure they belong to. Of several runs rates and latencies are medians,
//! operations and processor time are sums, and the greatest gap is the greatest of all.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::FILE;
use crate::bench::machine::Machine;
use crate::bench::runs::{Range, median, median_known};
use crate::columns::{Columns, Side};

/// What one system came to in one row.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Operations per second; absent for gaps.
    pub per_second: Option<f64>,
    /// The runs, and the smallest and greatest figure of one: operations per second, or of gaps the median.
    #[serde(flatten)]
    pub range: Range,
    /// Half are at most this, in milliseconds.
    pub p50_ms: f64,
    /// 99 % are at most this, in milliseconds; of gaps the greatest.
    pub p99_ms: f64,
    /// Operations behind it, of all runs.
    pub samples: u64,
    /// Operations that failed, of all runs.
    pub failed: u64,
    /// Processor seconds of the three nodes in the measured time of all runs.
    pub nodes_cpu_s: Option<f64>,
    /// Processor seconds of the generator.
    pub generator_cpu_s: Option<f64>,
}

/// One thing that was measured of both.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What ours did.
    pub ours: &'static str,
    /// What etcd did.
    pub theirs: &'static str,
    /// Clients.
    pub clients: u64,
    /// Ours.
    pub raftshare: Cell,
    /// Theirs.
    pub etcd: Cell,
}

/// All rows.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// `git describe` of our sources.
    pub revision: &'static str,
    /// Theirs.
    pub etcd_version: String,
    /// When it was measured, Unix seconds.
    pub at: u64,
    /// On what.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// Measured time of each run of a cell, in seconds.
    pub duration_s: f64,
    /// Runs of each cell that were asked for.
    pub repeat: u32,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Writes it as JSON.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(directory.join(FILE), json).context("cannot write the results")
    }

    /// For people.
    pub fn table(&self) -> String {
        let cells = || self.rows.iter().flat_map(|row| [&row.raftshare, &row.etcd]);
        let repeated = cells().any(|cell| cell.range.is_repeated());
        let mut headings = vec![(Side::Left, "RAFTSHARE"), (Side::Left, "ETCD"), (Side::Right, "CLIENTS")];
        for heading in ["RAFTSHARE p50/p99", "ETCD p50/p99"] {
            headings.push((Side::Right, heading));
            headings.extend(repeated.then_some((Side::Right, "RANGE")));
        }
        headings.push((Side::Right, "RATIO"));
        let mut table = Columns::new(headings);
        for row in &self.rows {
            let mut cells = vec![row.ours.to_owned(), row.theirs.to_owned(), row.clients.to_string()];
            for cell in [&row.raftshare, &row.etcd] {
                cells.push(cell.text());
                cells.extend(repeated.then(|| cell.range.text(0)));
            }
            cells.push(row.ratio());
            table.row(cells);
        }
        let mut text = table.text();
        let runs = if self.repeat > 1 { format!(", medians of {} runs", self.repeat) } else { String::new() };
        let _ = write!(
            text,
            "\n etcd {} over its JSON gateway, {} s a cell, each in turn{runs}; {}",
            self.etcd_version,
            self.duration_s,
            self.machine.text()
        );
        text
    }
}

impl Row {
    /// How many times as good ours is.
    fn ratio(&self) -> String {
        let ratio = match (self.raftshare.per_second, self.etcd.per_second) {
            (Some(ours), Some(theirs)) => ours / theirs,
            _ => self.etcd.p50_ms / self.raftshare.p50_ms,
        };
        if ratio.is_finite() { format!("{ratio:.2}") } else { "–".into() }
    }
}

impl Cell {
    /// Several runs as one.
    pub(super) fn merged(runs: &[Self]) -> Self {
        let latency = |of: fn(&Self) -> f64| median(runs.iter().map(of));
        let per_second = median_known(runs.iter().map(|run| run.per_second));
        let values: Vec<f64> = runs.iter().map(|run| run.per_second.unwrap_or(run.p50_ms)).collect();
        let greatest = runs.iter().map(|run| run.p99_ms).fold(0.0, f64::max);
        Self {
            per_second,
            range: Range::over(&values),
            p50_ms: latency(|run| run.p50_ms),
            p99_ms: if per_second.is_some() { latency(|run| run.p99_ms) } else { greatest },
            samples: runs.iter().map(|run| run.samples).sum(),
            failed: runs.iter().map(|run| run.failed).sum(),
            nodes_cpu_s: runs.iter().map(|run| run.nodes_cpu_s).sum(),
            generator_cpu_s: runs.iter().map(|run| run.generator_cpu_s).sum(),
        }
    }

    fn text(&self) -> String {
        let latency = match self.per_second {
            Some(per_second) => format!("{per_second:.0}/s {:.2}/{:.2} ms", self.p50_ms, self.p99_ms),
            None => format!("{:.0} ms, at most {:.0} ms", self.p50_ms, self.p99_ms),
        };
        if self.failed > 0 { format!("{latency} {} failed", self.failed) } else { latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::REVISION;

    fn cell(per_second: Option<f64>, p50_ms: f64, failed: u64) -> Cell {
        let range = Range::once(per_second.unwrap_or(p50_ms));
        Cell { per_second, range, p50_ms, p99_ms: p50_ms * 4.0, samples: 5, failed, ..Cell::default() }
    }

    fn comparison() -> Comparison {
        Comparison {
            revision: REVISION,
            etcd_version: "3.4.23".into(),
            at: 0,
            machine: Machine::this(),
            command: Vec::new(),
            duration_s: 10.0,
            repeat: 1,
            rows: vec![
                Row {
                    ours: "announce",
                    theirs: "put",
                    clients: 100,
                    raftshare: cell(Some(9_000.0), 1.0, 0),
                    etcd: cell(Some(3_000.0), 2.0, 4),
                },
                Row {
                    ours: "gap",
                    theirs: "the same",
                    clients: 1,
                    raftshare: cell(None, 500.0, 0),
                    etcd: cell(None, 1_250.0, 0),
                },
            ],
        }
    }

    #[test]
    fn the_table_has_both_and_their_ratio() {
        let text = comparison().table();
        for word in ["9000/s", "3.00", "4 failed", "2.50", "3.4.23", "500 ms, at most 2000 ms"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }
    #[test]
    fn a_cell_of_several_runs_is_their_median_and_says_how_far_they_lie_apart() {
        let runs = [cell(Some(9_000.0), 1.0, 1), cell(Some(2_000.0), 9.0, 0), cell(Some(6_000.0), 3.0, 4)];
        let merged = Cell::merged(&runs);
        assert_eq!((merged.per_second, merged.p50_ms, merged.p99_ms), (Some(6_000.0), 3.0, 12.0));
        assert_eq!((merged.samples, merged.failed, merged.nodes_cpu_s), (15, 5, None));
        assert_eq!(merged.range, Range { runs: 3, lowest: 2_000.0, highest: 9_000.0 });
        assert_eq!(Cell::merged(&runs[..2]).per_second, Some(5_500.0));
        let cpu = |nodes_cpu_s| Cell { nodes_cpu_s, ..cell(Some(1.0), 1.0, 0) };
        assert_eq!(Cell::merged(&[cpu(Some(1.5)), cpu(Some(2.0))]).nodes_cpu_s, Some(3.5));
        let mut comparison = comparison();
        comparison.repeat = 3;
        comparison.rows[0].raftshare = merged;
        let text = comparison.table();
        for word in ["RANGE", "2000 – 9000", "medians of 3 runs", "2.00"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }

    #[test]
    fn no_gap_is_greater_than_the_greatest() {
        let merged = Cell::merged(&[cell(None, 100.0, 0), cell(None, 300.0, 0), cell(None, 200.0, 0)]);
        assert_eq!((merged.per_second, merged.p50_ms, merged.p99_ms), (None, 200.0, 1_200.0));
        assert_eq!((merged.range.lowest, merged.range.highest), (100.0, 300.0));
    }
}
