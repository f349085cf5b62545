//! A group of changes that go to the device together: in the order in which they were queued, turned into one batch.
//!
//! Invariant: the batch has the effect of the changes carried out one after the other. A crash leaves all of it or
//! nothing; of append-only records it may leave a prefix.

use std::collections::BTreeMap;
use std::time::Instant;

use super::device::{DeviceBatch, MetaKey};
use super::mark::Marked;
use super::{LogId, Vote};

/// One write.
pub(crate) enum Change {
    /// Log records, ascending and without gaps; `last` is the last one's log id.
    Append { records: Vec<(u64, Vec<u8>)>, last: Option<LogId> },
    /// Removes every record at or above this index; `last` is what the log then ends with.
    TruncateFrom { from: u64, last: Option<LogId> },
    /// Stores the purge point, then removes every record up to and with it.
    Purge { record: Vec<u8>, upto: LogId },
    /// Stores a vote.
    Vote { record: Vec<u8>, vote: Vote },
    /// Stores a named record.
    Meta(MetaKey, Vec<u8>),
    /// Stores a named record with the next flush, before or together with what that is for; causes none itself.
    LazyMeta(MetaKey, Vec<u8>),
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { records, .. } => records.iter().map(|(_, record)| record.len()).sum(),
            Self::TruncateFrom { .. } => 0,
            Self::Purge { record, .. }
            | Self::Vote { record, .. }
            | Self::Meta(_, record)
            | Self::LazyMeta(_, record) => record.len(),
        }
    }
}

/// What the device holds before a group.
pub(super) struct Before {
    /// Index after the last record.
    pub(super) end: u64,
    /// What it holds durably.
    pub(super) held: Marked,
    /// Records up to and with this index wait to be deleted.
    pub(super) purge_upto: Option<u64>,
}

/// Changes that go to the device together.
pub(super) struct Group {
    /// Named records that go to the device before records that are only appended: together they would cost a second
    /// `fdatasync` (see [`super::sled_device`]). A crash may leave them without those records, and nothing else: what
    /// follows a truncation, or makes one, is one batch with them.
    pub(super) lazy: DeviceBatch,
    pub(super) batch: DeviceBatch,
    /// Nothing but records at the end of the log: they need not be there together, a prefix of them is a log as well.
    pub(super) only_appends: bool,
    /// Index after the last record, once the group is written.
    pub(super) end: u64,
    /// What the device then holds.
    pub(super) held: Marked,
    /// The lowest end of the log on the way there, if that is below what it holds now.
    pub(super) truncated_to: Option<Option<LogId>>,
    pub(super) purge_upto: Option<u64>,
    pub(super) entries: u64,
    /// When writing began.
    pub(super) started: Instant,
}

impl Group {
    /// Turns changes into one batch; a later change of the same record wins. `None` if nothing needs a flush. Named
    /// records that cause no flush themselves wait in `lazy` for the next one.
    pub(super) fn of(changes: Vec<Change>, before: Before, lazy: &mut BTreeMap<MetaKey, Vec<u8>>) -> Option<Self> {
        let mut group = Self {
            lazy: DeviceBatch::default(),
            batch: DeviceBatch::default(),
            only_appends: false,
            end: before.end,
            held: before.held,
            truncated_to: None,
            purge_upto: before.purge_upto,
            entries: 0,
            started: Instant::now(),
        };
        let mut needs_sync = false;
        for change in changes {
            needs_sync |= !matches!(change, Change::LazyMeta(..));
            group.add(change, before.held.last, lazy);
        }
        if !needs_sync {
            return None;
        }
        let appends = !group.batch.log.is_empty() && group.batch.log.values().all(Option::is_some);
        group.only_appends = appends && group.batch.meta.is_empty() && group.truncated_to.is_none();
        if group.only_appends {
            group.lazy.meta.append(lazy);
        } else {
            group.batch.meta.append(lazy);
        }
        Some(group)
    }

    fn add(&mut self, change: Change, last_before: Option<LogId>, lazy: &mut BTreeMap<MetaKey, Vec<u8>>) {
        match change {
            Change::Append { records, last } => {
                self.entries += records.len() as u64;
                for (index, record) in records {
                    self.end = index + 1;
                    self.batch.log.insert(index, Some(record));
                }
                self.held.last = last.or(self.held.last);
            }
            Change::TruncateFrom { from, last } => {
                // Removes from the device what is there, and from this batch what would have been.
                for index in from..self.end.max(from) {
                    self.batch.log.insert(index, None);
                }
                self.end = self.end.min(from);
                self.held.last = last;
                if self.truncated_to.is_none_or(|lowest| last < lowest) && last < last_before {
                    self.truncated_to = Some(last);
                }
            }
            Change::Purge { record, upto } => {
                self.batch.meta.insert(MetaKey::Purged, record);
                self.purge_upto = self.purge_upto.max(Some(upto.index));
                self.end = self.end.max(upto.index + 1);
                self.held.purged = Some(upto);
                if self.held.last.is_none_or(|last| last.index < upto.index) {
                    self.held.last = Some(upto);
                }
            }
            Change::Vote { record, vote } => {
                self.batch.meta.insert(MetaKey::Vote, record);
                self.held.vote = Some(vote);
            }
            Change::Meta(key, record) => {
                lazy.remove(&key);
                self.batch.meta.insert(key, record);
            }
            Change::LazyMeta(key, record) => {
                lazy.insert(key, record);
            }
        }
    }
}
