//! What is kept in memory of the log: its bounds, the vote, and a cache of its newest entries.
//!
//! Invariants: the cache is the end of the log, without gaps. It has at least all entries that are not on the device
//! yet, so an entry is readable from the moment it is appended. Beyond those it is bounded in bytes.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::entry::RaftEntry;

use super::{Entry, LogId, Vote};

/// Bytes of encoded entries that stay in memory although they are on the device; decoded they take several times as
/// much. This is half a second of a saturated log. For followers further behind, entries are read from the device.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The log as its users see it. The device lags behind by what is queued.
#[derive(Debug, Default)]
pub(crate) struct LogMemory {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    /// Index of the first entry; of the next one if the log is empty.
    pub(crate) first: u64,
    /// Changes with every truncation: a read that overlaps one is repeated.
    pub(crate) generation: u64,
    /// Newest entries with their encoded sizes.
    tail: VecDeque<(Entry, usize)>,
    tail_bytes: usize,
    /// Bytes of all entries that this process has pushed, including those found at opening.
    pushed_bytes: u64,
    /// All entries below this index are on the device.
    on_device: u64,
}

impl LogMemory {
    /// The state found at opening, with an empty cache.
    pub(crate) fn new(first: u64, purged: Option<LogId>, last: Option<LogId>) -> Self {
        let mut memory = Self { first, purged, last, ..Self::default() };
        memory.on_device = memory.end();
        memory
    }

    /// Index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.last.map_or(self.first, |last| last.index + 1).max(self.first)
    }

    /// Index of the first cached entry.
    pub(crate) fn tail_start(&self) -> u64 {
        self.end() - self.tail.len() as u64
    }

    /// Whether entries from `first` on continue the log. An empty log that was never purged may begin anywhere.
    pub(crate) fn continues_at(&self, first: u64) -> bool {
        first == self.end() || (self.last.is_none() && self.purged.is_none())
    }

    /// Adds an entry. The caller has checked that it continues the log.
    pub(crate) fn push(&mut self, entry: Entry, bytes: usize) {
        let log_id = entry.log_id();
        if self.last.is_none() {
            self.first = log_id.index;
        }
        self.last = Some(log_id);
        self.tail.push_back((entry, bytes));
        self.tail_bytes += bytes;
        self.pushed_bytes += bytes as u64;
    }

    /// Bytes of all entries pushed so far. Never falls.
    pub(crate) fn pushed_bytes(&self) -> u64 {
        self.pushed_bytes
    }

    /// Notes up to where the device has the entries, and drops entries beyond the cache's limit that the device has.
    pub(crate) fn set_on_device(&mut self, end: u64) {
        self.on_device = end;
        self.evict();
    }

    fn evict(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX
            && self.tail.front().is_some_and(|(entry, _)| entry.log_id().index < self.on_device)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.tail.pop_front() {
            self.tail_bytes -= bytes;
        }
    }

    /// Forgets all entries at or above `from`; `last` is the entry before, if it is known.
    pub(crate) fn truncate(&mut self, from: u64, last: Option<LogId>) {
        self.generation += 1;
        while self.tail.back().is_some_and(|(entry, _)| entry.log_id().index >= from) {
            if let Some((_, bytes)) = self.tail.pop_back() {
                self.tail_bytes -= bytes;
            }
        }
        self.last = last;
        self.on_device = self.on_device.min(from);
    }

    /// Forgets all entries up to and including `purged`.
    pub(crate) fn purge(&mut self, purged: LogId) {
        while self.tail.front().is_some_and(|(entry, _)| entry.log_id().index <= purged.index) {
            self.pop_front();
        }
        self.purged = Some(purged);
        self.first = purged.index + 1;
        if self.last.is_none_or(|last| last.index < self.first) {
            self.last = Some(purged);
        }
    }

    /// The part of `range` that the log has.
    pub(crate) fn clip(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.end()).max(start)
    }

    /// Cached entries of a range, with their sizes. The cache has the whole range.
    pub(crate) fn cached(&self, range: Range<u64>) -> impl Iterator<Item = &(Entry, usize)> {
        let start = self.tail_start();
        let offset =
            |index: u64| usize::try_from(index.saturating_sub(start)).unwrap_or(usize::MAX).min(self.tail.len());
        self.tail.range(offset(range.start)..offset(range.end).max(offset(range.start)))
    }

    /// The cached entry's log id.
    pub(crate) fn cached_log_id(&self, index: u64) -> Option<LogId> {
        self.cached(index..index + 1).next().map(|(entry, _)| entry.log_id())
    }
}
