//! The log behind openraft's interface: opening it, reading it, and writing named records.
//!
//! Invariants
//! * A read returns exactly those entries of its range that the log has, or an error; never a hole.
//! * A read sees the log at one moment: if a truncation overtakes it, it is repeated.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use openraft::entry::RaftEntry;
use parking_lot::Mutex;

use super::device::{LogDevice, MetaKey};
use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::flusher::{Flusher, OnDisk};
use super::group::Change;
use super::mark::{MarkFile, Marked};
use super::stats::{FlushStats, SnapshotStats, StorageHistograms, StorageStats};
use super::tail::LogMemory;
use super::{Entry, LogId, recovery};

/// How often a read is repeated because a truncation overtook it.
const READ_ATTEMPTS_MAX: usize = 8;

/// The part that the log, its readers and handles share. Dropping the last reference finishes what is queued.
pub(crate) struct LogShared {
    // The first field, so that the flusher stops before the device is dropped.
    pub(super) flusher: Flusher,
    device: Arc<dyn LogDevice>,
    pub(super) memory: Arc<Mutex<LogMemory>>,
    stats: Arc<FlushStats>,
    pub(super) fatal: FatalSignal,
    executor: Executor,
}

impl LogShared {
    /// Checks the log on the device, finishes an interrupted purge, and starts the flusher. Blocks.
    pub(crate) fn open(
        device: Arc<dyn LogDevice>,
        mut mark: Option<MarkFile>,
        fatal: FatalSignal,
        executor: Executor,
    ) -> Result<Arc<Self>, StorageError> {
        let memory = recovery::recover(device.as_ref(), mark.as_ref().map(MarkFile::current))?;
        let (end, found) = (memory.end(), Marked::of(&memory));
        if let Some(mark) = &mut mark {
            let written = mark.write(found, true);
            written.map_err(|source| StorageError::io("write", mark.path(), source))?;
        }
        let memory = Arc::new(Mutex::new(memory));
        let stats = Arc::new(FlushStats::default());
        let on_device = {
            let memory = Arc::clone(&memory);
            Box::new(move |end| memory.lock().set_on_device(end))
        };
        let held = OnDisk { device: Arc::clone(&device), end, held: found, mark };
        let flusher = Flusher::start(held, fatal.clone(), Arc::clone(&stats), on_device, &executor)
            .map_err(|source| StorageError::io("start the thread of", "the log", source))?;
        Ok(Arc::new(Self { flusher, device, memory, stats, fatal, executor }))
    }

    /// Whether this log has never held an entry or a vote.
    pub(crate) fn is_pristine(&self) -> bool {
        let memory = self.memory.lock();
        memory.last.is_none() && memory.vote.is_none()
    }

    /// Index of the last purged entry.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory.lock().purged
    }

    /// Stores a named record durably.
    pub(crate) async fn save_meta(&self, key: MetaKey, record: Vec<u8>) -> io::Result<()> {
        self.flusher.submit_and_wait(Change::Meta(key, record)).await
    }

    /// Stores a named record with the next flush, without causing one.
    pub(crate) async fn save_meta_lazily(&self, key: MetaKey, record: Vec<u8>) -> io::Result<()> {
        self.flusher.submit(Change::LazyMeta(key, record), None).await
    }

    /// Bytes of all entries appended so far, including those found at opening.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.memory.lock().pushed_bytes()
    }

    /// Fills in what the log knows. May read the disk.
    pub(crate) fn read_stats(&self, stats: &mut StorageStats) {
        {
            let memory = self.memory.lock();
            stats.log_first_index = memory.first;
            stats.log_entries = memory.end() - memory.first;
            stats.purged_index = memory.purged.map(|purged| purged.index);
        }
        stats.log_bytes = self.device.bytes_on_disk().unwrap_or_default();
        (stats.queued_operations, stats.queued_bytes) = self.flusher.queued();
    }

    /// What the flusher and the snapshots have recorded so far.
    pub(crate) fn histograms(&self, snapshots: &SnapshotStats) -> StorageHistograms {
        self.stats.read(snapshots)
    }

    /// The entries of `range` that the log has, up to `bytes_max` bytes but at least one entry.
    pub(super) async fn read(self: &Arc<Self>, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        for _ in 0..READ_ATTEMPTS_MAX {
            let (wanted, split, generation) = {
                let memory = self.memory.lock();
                let wanted = memory.clip(&range);
                let split = memory.tail_start().clamp(wanted.start, wanted.end);
                if split == wanted.start {
                    return Ok(limited(memory.cached(wanted).map(|(entry, bytes)| (entry.clone(), *bytes)), bytes_max));
                }
                (wanted, split, memory.generation)
            };
            let shared = Arc::clone(self);
            let old = self.executor.run(move || shared.read_device(wanted.start..split, bytes_max)).await??;
            let memory = self.memory.lock();
            if memory.generation != generation {
                continue;
            }
            // A purge may have overtaken the read. The records that it removed are missing at the start: not a hole.
            let wanted = memory.clip(&range);
            let mut next = wanted.start;
            let mut bytes = 0;
            let mut entries = Vec::new();
            for (entry, size) in old.into_iter().skip_while(|(entry, _)| entry.log_id().index < wanted.start) {
                if entry.log_id().index != next {
                    return Err(hole(next));
                }
                next += 1;
                bytes += size;
                entries.push(entry);
            }
            if bytes >= bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            if next < split.max(wanted.start) {
                return Err(hole(next));
            }
            if next < memory.tail_start().min(wanted.end) {
                // Entries have left the cache since the split was chosen: read again.
                continue;
            }
            let cached = memory.cached(next..wanted.end.max(next)).map(|(entry, bytes)| (entry.clone(), *bytes));
            let rest = bytes_max.saturating_sub(bytes);
            if rest > 0 {
                entries.extend(limited(cached, rest));
            }
            return Ok(entries);
        }
        Err(io::Error::other("the log was truncated again and again while it was read"))
    }

    fn read_device(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(Entry, usize)>> {
        const STEP: u64 = 256;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut start = range.start;
        while start < range.end && bytes < bytes_max {
            let end = range.end.min(start + STEP);
            for (index, record) in self.device.records(start..end)? {
                bytes += record.len();
                entries.push((recovery::decode_entry(index, &record).map_err(io::Error::other)?, record.len()));
                if bytes >= bytes_max {
                    break;
                }
            }
            start = end;
        }
        Ok(entries)
    }
}

fn limited(entries: impl Iterator<Item = (Entry, usize)>, bytes_max: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for (entry, size) in entries {
        taken.push(entry);
        bytes += size;
        if bytes >= bytes_max {
            break;
        }
    }
    taken
}

fn hole(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the log has no entry {index} although it should"))
}
