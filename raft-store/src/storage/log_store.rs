//! openraft's log, on a [`LogDevice`].
//!
//! Invariants
//! * An entry is readable as soon as `append` returns, and acknowledged only when it is durable (W1).
//! * The log has no holes: an append that would leave one is refused.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::device::{LogDevice, MetaKey, RECORD_BYTES_MAX};
use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::flusher::Completion;
use super::group::Change;
use super::log::LogShared;
use super::{Entry, LogId, Vote, codec};
use crate::raft::TypeConfig;

/// The most bytes of entries that one read for replication returns; one entry is always returned.
pub const READ_BYTES_MAX: usize = 1024 * 1024;
/// Most records need no more bytes than this besides their commands.
const ENVELOPE_BYTES: usize = 64;

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
