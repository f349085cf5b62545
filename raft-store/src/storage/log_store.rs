//! openraft's log, on a [`LogDevice`].
//!
//! Invariants
//! * An entry is readable as soon as `append` returns, and acknowledged only when it is durable (W1).
//! * A read returns exactly those entries of its range that the log has, or an error; never a hole.
//! * The log has no holes: an append that would leave one is refused.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use super::device::{LogDevice, MetaKey, RECORD_BYTES_MAX};
use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::flusher::{Completion, Flusher, OnDisk};
use super::group::Change;
use super::mark::{MarkFile, Marked};
use super::stats::{FlushStats, SnapshotStats, StorageHistograms, StorageStats};
use super::tail::LogMemory;
use super::{Entry, LogId, Vote, codec, recovery};
use crate::raft::TypeConfig;

/// The most bytes of entries that one read for replication returns; one entry is always returned.
pub const READ_BYTES_MAX: usize = 1024 * 1024;
/// Most records need no more bytes than this besides their commands.
const ENVELOPE_BYTES: usize = 64;
/// How often a read is repeated because a truncation overtook it.
const READ_ATTEMPTS_MAX: usize = 8;

/// The part that the log, its readers and handles share. Dropping the last reference finishes what is queued.
pub(crate) struct LogShared {
    // The first field, so that the flusher stops before the device is dropped.
    flusher: Flusher,
    device: Arc<dyn LogDevice>,
    memory: Arc<Mutex<LogMemory>>,
    stats: Arc<FlushStats>,
    fatal: FatalSignal,
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
    async fn read(self: &Arc<Self>, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
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

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

/// The log; goes to `Raft::new`. There is one per data directory.
pub struct LogStore {
    shared: Arc<LogShared>,
}

impl LogStore {
    pub(crate) fn new(shared: Arc<LogShared>) -> Self {
        Self { shared }
    }

    /// A log on any device, without a data directory or an identity; for tests. Blocks.
    pub fn on_device(device: Arc<dyn LogDevice>, fatal: FatalSignal) -> Result<Self, StorageError> {
        Ok(Self::new(LogShared::open(device, None, fatal, Executor::Threads)?))
    }

    #[cfg(test)]
    pub(crate) fn into_shared(self) -> Arc<LogShared> {
        self.shared
    }

    /// The log id before `from`.
    async fn log_id_before(&self, from: u64) -> io::Result<Option<LogId>> {
        let (first, purged, cached) = {
            let memory = self.shared.memory.lock();
            let cached = from.checked_sub(1).and_then(|index| memory.cached_log_id(index));
            (memory.first, memory.purged, cached)
        };
        if from <= first {
            return Ok(purged);
        }
        match cached {
            Some(log_id) => Ok(Some(log_id)),
            None => Ok(self.shared.read(from - 1..from, usize::MAX).await?.first().map(RaftEntry::log_id)),
        }
    }
}

impl LogStore {
    /// Reads this log.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }
}

/// Reads the log. openraft creates one for each of its tasks.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<LogShared>,
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(bounds(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(start..end.max(start), READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let memory = self.shared.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let record = codec::encode(vote).map_err(io::Error::other)?;
        self.shared.flusher.submit_and_wait(Change::Vote { record, vote: *vote }).await?;
        self.shared.memory.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.memory.lock().committed = committed;
        let record = codec::encode(&committed).map_err(io::Error::other)?;
        self.shared.flusher.submit(Change::LazyMeta(MetaKey::Committed, record), None).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        if let Some(error) = self.shared.fatal.as_io_error() {
            return Err(error);
        }
        let mut records = Vec::new();
        let mut encoded = Vec::new();
        let mut commands = 0;
        for entry in entries {
            let commands_bytes = match &entry.payload {
                EntryPayload::Normal(proposal) => {
                    commands += proposal.batch().commands.len() as u64;
                    proposal.bytes()
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => 0,
            };
            let record = codec::encode_sized(&entry, commands_bytes + ENVELOPE_BYTES).map_err(io::Error::other)?;
            if record.len() > RECORD_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("log entry {} has {} bytes; the limit is {RECORD_BYTES_MAX}", entry.log_id(), record.len()),
                ));
            }
            encoded.push((entry.log_id().index, record.len()));
            records.push((entry, record));
        }
        let gap = encoded.windows(2).any(|pair| matches!(pair, [(one, _), (two, _)] if one + 1 != *two));
        let (records, last) = {
            let mut memory = self.shared.memory.lock();
            if let Some((first, _)) = encoded.first()
                && (gap || !memory.continues_at(*first))
            {
                let message = format!(
                    "entries from index {first} on do not continue the log, which ends before {}",
                    memory.end()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            let mut changes = Vec::with_capacity(records.len());
            for (entry, record) in records {
                let index = entry.log_id().index;
                memory.push(entry, record.len());
                changes.push((index, record));
            }
            (changes, memory.last)
        };
        let done: Completion = Box::new(move |result| callback.io_completed(result));
        self.shared.flusher.submit(Change::Append { records, last, commands }, Some(done)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index + 1);
        if from >= self.shared.memory.lock().end() {
            return Ok(());
        }
        let last = self.log_id_before(from).await?;
        let from = {
            let mut memory = self.shared.memory.lock();
            let from = from.max(memory.first);
            memory.truncate(from, last);
            from
        };
        self.shared.flusher.submit_and_wait(Change::TruncateFrom { from, last }).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        if self.shared.memory.lock().purged.is_some_and(|purged| purged.index >= log_id.index) {
            return Ok(());
        }
        let record = codec::encode(&log_id).map_err(io::Error::other)?;
        // Readers learn of it first: records may be deleted before this call returns, which must not look like a hole.
        self.shared.memory.lock().purge(log_id);
        // The purge is not awaited: Raft's main loop, heartbeats included, would wait behind the current flush. If a
        // crash undoes the purge, it only leaves entries that a snapshot covers. The queue keeps it before later
        // appends.
        self.shared.flusher.submit(Change::Purge { record, upto: log_id }, None).await
    }
}
