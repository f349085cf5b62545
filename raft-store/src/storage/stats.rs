//! Counters of the storage for `/metrics` and `/stats`.
//!
//! Invariant: reading them never stops the storage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A flush that takes longer than this is slow: a leader may lose its majority because of it.
const SLOW_FLUSH: Duration = Duration::from_millis(500);
/// The shortest time between two log lines about slow flushes.
const SLOW_FLUSH_PAUSE: Duration = Duration::from_secs(10);

/// Upper bounds of the buckets of flush times, in microseconds; the last bucket has everything above.
pub const FLUSH_BUCKETS_US: [u64; 12] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 1_000_000];

/// A reading of the storage's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageStats {
    /// Bytes of the log on disk. sled does not give space back, so this never shrinks.
    pub log_bytes: u64,
    /// Entries in the log, purged ones excluded.
    pub log_entries: u64,
    /// Index of the first entry in the log.
    pub log_first_index: u64,
    /// Index of the last purged entry.
    pub purged_index: Option<u64>,
    /// Index that the newest snapshot covers.
    pub snapshot_index: Option<u64>,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Durable flushes since the process started.
    pub flushes: u64,
    /// Entries that they made durable.
    pub flushed_entries: u64,
    /// Time spent in them, writing and syncing, in microseconds.
    pub flush_us_total: u64,
    /// Flushes per bucket of [`FLUSH_BUCKETS_US`], not cumulative; the last bucket has everything above.
    pub flush_us_histogram: [u64; FLUSH_BUCKETS_US.len() + 1],
}

/// Counters of the flusher.
#[derive(Debug, Default)]
pub(crate) struct FlushStats {
    flushes: AtomicU64,
    entries: AtomicU64,
    us_total: AtomicU64,
    histogram: [AtomicU64; FLUSH_BUCKETS_US.len() + 1],
    slow: Mutex<SlowFlushes>,
}

/// Slow flushes since the last log line about them.
#[derive(Debug, Default)]
struct SlowFlushes {
    untold: u64,
    longest: Duration,
    told: Option<Instant>,
}

impl SlowFlushes {
    /// The number of slow flushes and the longest duration, if it is time for a log line.
    fn note(&mut self, took: Duration, now: Instant) -> Option<(u64, Duration)> {
        self.untold += 1;
        self.longest = self.longest.max(took);
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < SLOW_FLUSH_PAUSE) {
            return None;
        }
        self.told = Some(now);
        Some((std::mem::take(&mut self.untold), std::mem::take(&mut self.longest)))
    }
}

impl FlushStats {
    pub(crate) fn count_entries(&self, entries: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
    pub(crate) fn count_flush(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.us_total.fetch_add(us, Ordering::Relaxed);
        if took >= SLOW_FLUSH
            && let Some((flushes, longest)) = self.slow.lock().note(took, Instant::now())
        {
            tracing::warn!(
                flushes,
                longest_ms = longest.as_millis() as u64,
                "the disk is slow to sync; writes wait for it"
            );
        }
        let bucket = FLUSH_BUCKETS_US.partition_point(|&bound| bound < us);
        if let Some(count) = self.histogram.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read_into(&self, stats: &mut StorageStats) {
        stats.flushes = self.flushes.load(Ordering::Relaxed);
        stats.flushed_entries = self.entries.load(Ordering::Relaxed);
        stats.flush_us_total = self.us_total.load(Ordering::Relaxed);
        for (to, from) in stats.flush_us_histogram.iter_mut().zip(&self.histogram) {
            *to = from.load(Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test")]
    fn slow_flushes_are_told_once_in_a_while_and_none_is_left_out() {
        let (mut slow, start) = (SlowFlushes::default(), Instant::now());
        let seconds = Duration::from_secs;
        assert_eq!(slow.note(seconds(1), start), Some((1, seconds(1))));
        assert_eq!(slow.note(seconds(3), start + seconds(1)), None);
        assert_eq!(slow.note(seconds(2), start + SLOW_FLUSH_PAUSE), Some((2, seconds(3))));
    }
}
