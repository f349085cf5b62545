//! The four charts of a sweep: throughput, average latency, its 99th percentile, failures.
//!
//! Invariant: where the published figures are of one kind of operation, ours are drawn by kind too.

use super::Sweep;
use crate::bench::chart::{Chart, Series};
use crate::bench::load::{Summary, Wire};
use crate::bench::original;
use crate::bench::point::Point;

/// Most kinds of operations that have a line of their own; of more only all together are drawn.
const KINDS_MAX: usize = 3;
/// The published figures in a legend.
const ORIGINAL: &str = "the original (Go, no consensus, nothing flushed)";

impl Sweep {
    /// File name and chart, four of them.
    pub(in crate::bench) fn charts(&self) -> [(&'static str, Chart); 4] {
        let all = |of: fn(&Point) -> f64| {
            let points = self.points.iter().map(|point| (point.peers as f64, of(point))).collect();
            vec![Series { name: "raftshare".into(), points, other: false }]
        };
        [
            (
                "throughput.svg",
                self.chart("Throughput", "operations/s", all(|point| point.per_second), &original::THROUGHPUT),
            ),
            (
                "latency.svg",
                self.chart("Average latency", "ms", self.by_kind(|summary| summary.mean_ms), &original::LATENCY),
            ),
            ("p99.svg", self.chart("99th percentile of latency", "ms", self.by_kind(|summary| summary.p99_ms), &[])),
            (
                "errors.svg",
                self.chart(
                    "Failed operations",
                    "% of operations",
                    all(|point| point.error_rate * 100.0),
                    &original::ERRORS,
                ),
            ),
        ]
    }

    /// A line for each kind of operation, or one for all.
    fn by_kind(&self, of: fn(&Summary) -> f64) -> Vec<Series> {
        let mut kinds: Vec<&String> = self.points.iter().flat_map(|point| point.by_kind.keys()).collect();
        kinds.sort();
        kinds.dedup();
        if !(2..=KINDS_MAX).contains(&kinds.len()) {
            let points = self.points.iter().map(|point| (point.peers as f64, of(&point.total))).collect();
            return vec![Series { name: "raftshare".into(), points, other: false }];
        }
        let line = |kind: &String| {
            let known = self.points.iter().filter_map(|point| Some((point.peers as f64, of(point.by_kind.get(kind)?))));
            Series { name: kind.clone(), points: known.collect(), other: false }
        };
        kinds.into_iter().map(line).collect()
    }

    fn chart(&self, title: &str, y: &str, mut series: Vec<Series>, original: &[(f64, f64)]) -> Chart {
        if !original.is_empty() {
            // The published latency is that of registrations.
            let of_kind = if series.len() > 1 { "register, " } else { "" };
            series.push(Series { name: format!("{of_kind}{ORIGINAL}"), points: original.to_vec(), other: true });
        }
        let loop_text = self.rate.map_or("closed loop".into(), |rate| format!("{rate} operations/s asked for"));
        let of_runs = if self.repeat > 1 { format!(", medians of {} runs", self.repeat) } else { String::new() };
        let wire = if self.wire == Wire::Native { "" } else { " over /v0" };
        let subtitle = format!(
            "mix {}{wire}, {loop_text}, {} s a point{of_runs}, 3 nodes on {} cores",
            self.mix, self.duration_s, self.machine.cores
        );
        let log_y = !y.starts_with('%');
        Chart { title: title.to_owned(), subtitle, x: "registered peers".into(), y: y.to_owned(), log_y, series }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sweep;

    #[test]
    fn latencies_are_drawn_by_kind_beside_the_published_registrations() {
        let charts = sweep(1).charts();
        let lines = |number: usize| charts[number].1.series.iter().map(|line| line.name.as_str()).collect::<Vec<_>>();
        let original = "register, the original (Go, no consensus, nothing flushed)";
        assert_eq!(lines(1), ["announce", "search", original]);
        assert_eq!((lines(0)[0], lines(2).len(), lines(3)[0]), ("raftshare", 2, "raftshare"));
        assert!(charts[0].1.log_y && !charts[3].1.log_y);
    }
}
