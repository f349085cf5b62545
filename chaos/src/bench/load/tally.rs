//! What became of the operations of a load: latencies by kind, failures by status and code.
//!
//! Invariant: every operation that began in the measured time is in here exactly once, as a latency or as a failure; a
//! latency is kept to three digits, so that memory does not grow with the length of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::summary::Summary;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Distinct failures that are counted apart; more are counted as `other`.
const FAILURES_MAX: usize = 32;

/// Counts of one kind of operation.
#[derive(Debug, Clone)]
struct KindCounts {
    /// In microseconds.
    latencies: Histogram<u64>,
    units: u64,
    failed: u64,
}

/// Everything that was counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    kinds: BTreeMap<&'static str, KindCounts>,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts an operation that succeeded and was about `units` things.
    pub fn done(&mut self, kind: &'static str, latency: Duration, units: u64) {
        let counts = self.kinds.entry(kind).or_insert_with(KindCounts::new);
        // Fails only for a value that no resized histogram holds, and none is greater than this.
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX));
        counts.latencies.saturating_record(micros);
        counts.units += units;
    }

    /// Counts an operation that failed, and why.
    pub fn failed(&mut self, kind: &'static str, why: &str) {
        self.kinds.entry(kind).or_insert_with(KindCounts::new).failed += 1;
        self.count_failures(why, 1);
    }

    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (kind, counts) in &other.kinds {
            let own = self.kinds.entry(kind).or_insert_with(KindCounts::new);
            own.add(counts);
        }
        for (why, count) in &other.failures {
            self.count_failures(why, *count);
        }
    }

    /// Failures by status and code.
    pub fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Every kind in numbers, without rates: it is not known here how long it took.
    pub fn by_kind(&self) -> BTreeMap<String, Summary> {
        self.kinds.iter().map(|(kind, counts)| ((*kind).to_owned(), counts.summary())).collect()
    }

    /// All kinds together in numbers, without rates.
    pub fn total(&self) -> Summary {
        let mut total = KindCounts::new();
        self.kinds.values().for_each(|counts| total.add(counts));
        total.summary()
    }

    fn count_failures(&mut self, why: &str, count: u64) {
        let known = self.failures.contains_key(why) || self.failures.len() < FAILURES_MAX;
        *self.failures.entry(if known { why } else { "other" }.to_owned()).or_default() += count;
    }
}

impl KindCounts {
    fn new() -> Self {
        // Three digits are within the bounds that the constructor checks.
        let latencies = Histogram::new_with_bounds(1, u64::from(u32::MAX), DIGITS).expect("valid bounds");
        Self { latencies, units: 0, failed: 0 }
    }

    fn add(&mut self, other: &Self) {
        // Cannot fail: both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.units += other.units;
        self.failed += other.failed;
    }

    fn summary(&self) -> Summary {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        Summary {
            done: self.latencies.len(),
            failed: self.failed,
            units: self.units,
            mean_ms: if self.latencies.is_empty() { 0.0 } else { self.latencies.mean() / 1_000.0 },
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.latencies.max() as f64 / 1_000.0,
            ..Summary::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected * 0.002
    }

    #[test]
    fn percentiles_are_those_of_all_kinds_together() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for millis in 1..=500 {
            one.done("announce", Duration::from_millis(millis), 1);
        }
        for millis in 501..=1_000 {
            other.done("search", Duration::from_millis(millis), 2);
        }
        one.merge(&other);
        let total = one.total();
        assert_eq!((total.done, total.units, total.failed), (1_000, 1_500, 0));
        let expected = [(total.p50_ms, 500.0), (total.p90_ms, 900.0), (total.p99_ms, 990.0), (total.p999_ms, 999.0)];
        for (found, expected) in expected.into_iter().chain([(total.max_ms, 1_000.0), (total.mean_ms, 500.5)]) {
            assert!(close(found, expected), "{found} is not {expected}");
        }
        assert!(close(one.by_kind()["announce"].p50_ms, 250.0) && close(one.by_kind()["search"].p50_ms, 750.0));
    }

    #[test]
    fn failures_are_counted_by_reason_and_have_no_latency() {
        let mut tally = Tally::default();
        tally.done("announce", Duration::from_micros(1_500), 1);
        tally.failed("announce", "409 version_conflict");
        tally.failed("announce", "409 version_conflict");
        tally.failed("search", "503");
        let total = tally.total();
        assert_eq!((total.done, total.failed, total.error_rate()), (1, 3, 0.75));
        assert!(close(total.max_ms, 1.5));
        assert_eq!((tally.failures()["409 version_conflict"], tally.failures()["503"]), (2, 1));
    }

    #[test]
    fn nothing_is_zero_and_many_reasons_are_bounded() {
        assert_eq!(Tally::default().total(), Summary::default());
        assert_eq!(Summary::default().error_rate(), 0.0);
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.failed("announce", &number.to_string());
        }
        assert_eq!((tally.failures().len(), tally.total().failed), (FAILURES_MAX + 1, 100));
    }

    #[test]
    fn a_latency_beyond_every_bound_is_kept_as_the_greatest() {
        let mut tally = Tally::default();
        tally.done("announce", Duration::MAX, 1);
        assert_eq!(tally.total().done, 1);
    }
}
