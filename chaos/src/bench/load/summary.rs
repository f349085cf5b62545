//! A load, or one kind of its operations, in numbers; of one run or of several.
//!
//! Invariant: operations are summed over runs, rates and latencies are medians of them, and the greatest latency is the
//! greatest of all. A run in which nothing succeeded has a rate of 0, and no latency.

use serde::{Deserialize, Serialize};

use crate::bench::runs::{Range, median};

/// One kind of operation, or all together, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Operations that succeeded, in all runs together.
    pub done: u64,
    /// Operations that failed, as well.
    pub failed: u64,
    /// What the operations that succeeded were about, such as files; `done` where each is about one.
    pub units: u64,
    /// Operations that succeeded, per second.
    #[serde(default)]
    pub per_second: f64,
    /// Things they were about, per second.
    #[serde(default)]
    pub units_per_second: f64,
    /// The runs, and the smallest and greatest number of operations per second of one.
    #[serde(flatten)]
    pub range: Range,
    /// Mean latency of those that succeeded, in milliseconds, as all of these.
    pub mean_ms: f64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// 90 % are.
    pub p90_ms: f64,
    /// 99 % are.
    pub p99_ms: f64,
    /// 99.9 % are.
    pub p999_ms: f64,
    /// The greatest.
    pub max_ms: f64,
}

impl Summary {
    /// The same with its rates, from the time in which it was counted.
    pub fn over(self, seconds: f64) -> Self {
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let (per_second, units_per_second) = (rate(self.done), rate(self.units));
        Self { per_second, units_per_second, range: Range::once(per_second), ..self }
    }

    /// Part of the operations that failed, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        let all = self.done + self.failed;
        if all == 0 { 0.0 } else { self.failed as f64 / all as f64 }
    }

    /// Several runs as one.
    pub fn merged(runs: &[Self]) -> Self {
        let count = |of: fn(&Self) -> u64| runs.iter().map(of).sum();
        let latency = |of: fn(&Self) -> f64| median(runs.iter().filter(|run| run.done > 0).map(of));
        let rates: Vec<f64> = runs.iter().map(|run| run.per_second).collect();
        Self {
            done: count(|run| run.done),
            failed: count(|run| run.failed),
            units: count(|run| run.units),
            per_second: median(rates.iter().copied()),
            units_per_second: median(runs.iter().map(|run| run.units_per_second)),
            range: Range::over(&rates),
            mean_ms: latency(|run| run.mean_ms),
            p50_ms: latency(|run| run.p50_ms),
            p90_ms: latency(|run| run.p90_ms),
            p99_ms: latency(|run| run.p99_ms),
            p999_ms: latency(|run| run.p999_ms),
            max_ms: runs.iter().map(|run| run.max_ms).fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(done: u64, failed: u64, ms: f64) -> Summary {
        let latencies =
            Summary { mean_ms: ms, p50_ms: ms, p90_ms: ms, p99_ms: ms, p999_ms: ms, max_ms: ms, ..Summary::default() };
        Summary { done, failed, units: done * 10, ..latencies }.over(2.0)
    }

    #[test]
    fn rates_and_latencies_are_medians_and_operations_are_summed() {
        let merged = Summary::merged(&[run(100, 1, 9.0), run(400, 0, 2.0), run(200, 3, 3.0)]);
        assert_eq!((merged.done, merged.failed, merged.units), (700, 4, 7_000));
        assert_eq!((merged.per_second, merged.units_per_second), (100.0, 1_000.0));
        assert_eq!(merged.range, Range { runs: 3, lowest: 50.0, highest: 200.0 });
        let latencies = [merged.mean_ms, merged.p50_ms, merged.p90_ms, merged.p99_ms, merged.p999_ms];
        assert_eq!((latencies, merged.max_ms), ([3.0; 5], 9.0));
        let even = Summary::merged(&[run(100, 0, 9.0), run(400, 0, 2.0)]);
        assert_eq!((even.per_second, even.p99_ms), (125.0, 5.5));
        assert_eq!(Summary::merged(&[run(100, 1, 9.0)]), run(100, 1, 9.0));
    }

    #[test]
    fn a_run_in_which_nothing_succeeded_slows_the_rate_and_not_the_latency() {
        let merged = Summary::merged(&[run(100, 0, 9.0), run(0, 5, 0.0), Summary::default()]);
        assert_eq!((merged.per_second, merged.p50_ms, merged.failed), (0.0, 9.0, 5));
        assert_eq!((merged.range.lowest, merged.range.highest), (0.0, 50.0));
    }
}
