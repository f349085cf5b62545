//! A histogram of atomics: many threads record values, and somebody reads them now and then.
//!
//! Invariant: recording takes no lock and allocates nothing, and reading stops nobody. A reading is taken value by
//! value. So its sum may be a few values ahead of or behind its counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds in nanoseconds, given in microseconds.
pub const fn micros<const N: usize>(mut bounds: [u64; N]) -> [u64; N] {
    let mut at = 0;
    while at < N {
        bounds[at] *= 1_000;
        at += 1;
    }
    bounds
}

/// Bounds in nanoseconds, given in milliseconds.
pub const fn millis<const N: usize>(bounds: [u64; N]) -> [u64; N] {
    micros(micros(bounds))
}

/// Counts values by bucket and adds them up.
#[derive(Debug)]
pub struct Histogram {
    /// The largest value of each bucket, ascending. The last bucket has none.
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one; `bounds` has the largest value of each bucket but the last, ascending.
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.is_sorted(), "{bounds:?}");
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::default() }
    }

    /// Records a value.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Records a duration in nanoseconds.
    pub fn record_time(&self, took: Duration) {
        self.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was recorded so far.
    pub fn read(&self) -> Reading {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Reading { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// What a [`Histogram`] held when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    bounds: &'static [u64],
    counts: Vec<u64>,
    sum: u64,
}

impl Reading {
    /// All recorded values added up; durations in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets: the largest value of each, and how many values are in it and in no earlier one. The last one has
    /// no largest value.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.bounds.iter().copied().map(Some).chain([None]).zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 1_000] {
            histogram.record(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets().collect::<Vec<_>>(), [(Some(1), 2), (Some(10), 2), (None, 2)]);
        assert_eq!((reading.count(), reading.sum()), (6, 1_024));
    }

    #[test]
    fn durations_are_recorded_in_nanoseconds() {
        static BOUNDS: [u64; 2] = millis([1, 20]);
        assert_eq!(BOUNDS, micros([1_000, 20_000]));
        let histogram = Histogram::new(&BOUNDS);
        histogram.record_time(Duration::from_millis(1));
        histogram.record_time(Duration::from_micros(1_001));
        let reading = histogram.read();
        assert_eq!(reading.buckets().collect::<Vec<_>>(), [(Some(1_000_000), 1), (Some(20_000_000), 1), (None, 0)]);
        assert_eq!(reading.sum(), 2_001_000);
    }
}
