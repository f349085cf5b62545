//! Counters and histograms of the storage for `/metrics` and `/stats`.
//!
//! Invariant: reading them never stops the storage. A flush costs one reading of the clock more than without them, and
//! an entry or a command none.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::histogram::{Histogram, Reading, micros, millis};

/// A flush that takes longer than this is slow: a leader may lose its majority because of it.
const SLOW_FLUSH: Duration = Duration::from_millis(500);
/// The shortest time between two log lines about slow flushes.
const SLOW_FLUSH_PAUSE: Duration = Duration::from_secs(10);

/// Bounds for the time to write the records of a flush: 10 µs to 1 s.
static WRITE_BOUNDS: [u64; 16] = micros([
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
]);
/// Bounds for the time to sync: 50 µs to 1 s.
static SYNC_BOUNDS: [u64; 14] =
    micros([50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000]);
/// Bounds for the entries of a flush.
static ENTRIES_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Bounds for the commands of a flush; a full entry has 256.
static COMMANDS_BOUNDS: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];
/// Bounds for the time to build, install or transfer a snapshot: 1 ms to 5 minutes.
static SNAPSHOT_TIME_BOUNDS: [u64; 12] =
    millis([1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000]);
/// Bounds for the bytes of a snapshot: 16 KiB to 16 GiB.
static SNAPSHOT_BYTES_BOUNDS: [u64; 11] =
    [1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30, 1 << 32, 1 << 34];

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
    /// Operations that wait for the log's flusher.
    pub queued_operations: u64,
    /// Bytes of records that wait for it, or that it is writing.
    pub queued_bytes: u64,
}

/// A reading of the storage's histograms; durations in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageHistograms {
    /// Time to write the records of a flush, before they are synced.
    pub writes: Reading,
    /// Time to sync them. Its count is the number of flushes.
    pub syncs: Reading,
    /// Entries made durable by a flush; flushes without any are not counted.
    pub flush_entries: Reading,
    /// Commands in them.
    pub flush_commands: Reading,
    /// Time and bytes of snapshots that were built.
    pub built: SnapshotReading,
    /// Time and bytes of snapshots that were installed.
    pub installed: SnapshotReading,
}

/// A reading of a [`SnapshotHistogram`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReading {
    /// Durations in nanoseconds.
    pub took: Reading,
    /// Bytes of the snapshots.
    pub bytes: Reading,
}

/// Durations and bytes of snapshots.
#[derive(Debug)]
pub struct SnapshotHistogram {
    took: Histogram,
    bytes: Histogram,
}

impl Default for SnapshotHistogram {
    fn default() -> Self {
        Self { took: Histogram::new(&SNAPSHOT_TIME_BOUNDS), bytes: Histogram::new(&SNAPSHOT_BYTES_BOUNDS) }
    }
}

impl SnapshotHistogram {
    /// Records one.
    pub fn record(&self, took: Duration, bytes: u64) {
        self.took.record_time(took);
        self.bytes.record(bytes);
    }

    /// What was recorded so far.
    pub fn read(&self) -> SnapshotReading {
        SnapshotReading { took: self.took.read(), bytes: self.bytes.read() }
    }
}

/// Snapshots that this node built and installed.
#[derive(Debug, Default)]
pub(crate) struct SnapshotStats {
    pub(crate) built: SnapshotHistogram,
    pub(crate) installed: SnapshotHistogram,
}

/// Histograms of the flusher.
#[derive(Debug)]
pub(crate) struct FlushStats {
    writes: Histogram,
    syncs: Histogram,
    entries: Histogram,
    commands: Histogram,
    slow: Mutex<SlowFlushes>,
}

impl Default for FlushStats {
    fn default() -> Self {
        Self {
            writes: Histogram::new(&WRITE_BOUNDS),
            syncs: Histogram::new(&SYNC_BOUNDS),
            entries: Histogram::new(&ENTRIES_BOUNDS),
            commands: Histogram::new(&COMMANDS_BOUNDS),
            slow: Mutex::default(),
        }
    }
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
    /// Counts what a flush made durable.
    pub(crate) fn count_entries(&self, entries: u64, commands: u64) {
        // Votes and purges are flushed as well.
        if entries > 0 {
            self.entries.record(entries);
            self.commands.record(commands);
        }
    }

    /// Counts a flush that took so long in all, `writing` of it before the sync.
    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
    pub(crate) fn count_flush(&self, writing: Duration, took: Duration) {
        self.writes.record_time(writing);
        self.syncs.record_time(took.saturating_sub(writing));
        if took >= SLOW_FLUSH
            && let Some((flushes, longest)) = self.slow.lock().note(took, Instant::now())
        {
            tracing::warn!(
                flushes,
                longest_ms = longest.as_millis() as u64,
                "the disk is slow to sync; writes wait for it"
            );
        }
    }

    pub(crate) fn read(&self, snapshots: &SnapshotStats) -> StorageHistograms {
        StorageHistograms {
            writes: self.writes.read(),
            syncs: self.syncs.read(),
            flush_entries: self.entries.read(),
            flush_commands: self.commands.read(),
            built: snapshots.built.read(),
            installed: snapshots.installed.read(),
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

    #[test]
    fn a_flush_without_entries_counts_as_a_flush_only() {
        let (stats, snapshots) = (FlushStats::default(), SnapshotStats::default());
        stats.count_flush(Duration::from_micros(20), Duration::from_micros(320));
        stats.count_entries(0, 0);
        stats.count_flush(Duration::from_micros(30), Duration::from_micros(130));
        stats.count_entries(2, 300);
        let read = stats.read(&snapshots);
        assert_eq!((read.writes.count(), read.writes.sum()), (2, 50_000));
        assert_eq!((read.syncs.count(), read.syncs.sum()), (2, 400_000));
        assert_eq!((read.flush_entries.count(), read.flush_entries.sum()), (1, 2));
        assert_eq!((read.flush_commands.count(), read.flush_commands.sum()), (1, 300));
    }
}
