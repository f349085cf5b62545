//! What a comparison came to, as a table and as JSON.
//!
//! Invariant: failures stand beside the figure they belong to.

use std::fmt::Write as _;

use serde::Serialize;

use crate::bench::machine::Machine;

/// What one system came to in one row.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Operations per second; absent for gaps.
    pub per_second: Option<f64>,
    /// Half are at most this, in milliseconds.
    pub p50_ms: f64,
    /// 99 % are at most this, in milliseconds; of gaps the greatest.
    pub p99_ms: f64,
    /// Operations behind it.
    pub samples: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Processor seconds of the three nodes in the measured time.
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
    /// Measured time of each cell, in seconds.
    pub duration_s: f64,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            " {:<36} {:<32} {:>7} {:>34} {:>34} {:>6}",
            "RAFTSHARE", "ETCD", "CLIENTS", "RAFTSHARE p50/p99", "ETCD p50/p99", "RATIO"
        );
        for row in &self.rows {
            let ratio = match (row.raftshare.per_second, row.etcd.per_second) {
                (Some(ours), Some(theirs)) => ours / theirs,
                _ => row.etcd.p50_ms / row.raftshare.p50_ms,
            };
            let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { "–".into() };
            let _ = write!(
                text,
                "\n {:<36} {:<32} {:>7} {:>34} {:>34} {ratio:>6}",
                row.ours,
                row.theirs,
                row.clients,
                row.raftshare.text(),
                row.etcd.text()
            );
        }
        let _ = write!(
            text,
            "\n etcd {} over its JSON gateway, {} s a cell, each in turn; {}",
            self.etcd_version,
            self.duration_s,
            self.machine.text()
        );
        text
    }
}

impl Cell {
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

    #[test]
    fn the_table_has_both_and_their_ratio() {
        let cell = |per_second, p50_ms, failed| Cell { per_second, p50_ms, p99_ms: 9.0, failed, ..Cell::default() };
        let comparison = Comparison {
            revision: REVISION,
            etcd_version: "3.4.23".into(),
            at: 0,
            machine: Machine::this(),
            command: Vec::new(),
            duration_s: 10.0,
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
        };
        let text = comparison.table();
        for word in ["9000/s", "3.00", "4 failed", "2.50", "3.4.23", "500 ms, at most 9 ms"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }
}
