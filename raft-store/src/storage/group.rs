//! A group of changes that go to the device together: one batch, made of the changes in the order of the queue.
//!
//! Invariant: the batch has the effect of the changes made one after the other. A crash leaves all of it or nothing; if
//! it only appends records, a crash may leave a prefix.

use std::collections::BTreeMap;
use std::time::Instant;

use super::device::{DeviceBatch, MetaKey};
use super::mark::Marked;
use super::{LogId, Vote};

/// One write.
pub(crate) enum Change {
    /// Appends log records, ascending and without gaps; `last` is the log id of the last one, and `commands` how many
    /// commands they have.
    Append { records: Vec<(u64, Vec<u8>)>, last: Option<LogId>, commands: u64 },
    /// Removes every record at or above this index; `last` is the log id that the log then ends with.
    TruncateFrom { from: u64, last: Option<LogId> },
    /// Stores the purge point, then removes every record up to and including it.
    Purge { record: Vec<u8>, upto: LogId },
    /// Stores a vote.
    Vote { record: Vec<u8>, vote: Vote },
    /// Stores a named record.
    Meta(MetaKey, Vec<u8>),
    /// Stores a named record with the next flush, before or together with the records of that flush; causes none
    /// itself.
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
    /// What the device holds durably.
    pub(super) held: Marked,
    /// Records up to and including this index are still to be deleted.
    pub(super) purge_upto: Option<u64>,
}

/// Changes that go to the device together.
pub(super) struct Group {
    /// Named records that are written before records that are only appended: one batch of both would cost a second
    /// `fdatasync` (see [`super::sled_device`]). A crash may leave the former without the latter. In all other groups
    /// named records are part of the batch.
    pub(super) lazy: DeviceBatch,
    pub(super) batch: DeviceBatch,
    /// The group only appends records. They need not survive together: a prefix of them is a valid log.
    pub(super) only_appends: bool,
    /// Index after the last record, once the group is written.
    pub(super) end: u64,
    /// What the device holds then.
    pub(super) held: Marked,
    /// The lowest end of the log on the way there, if that is below its current end.
    pub(super) truncated_to: Option<Option<LogId>>,
    pub(super) purge_upto: Option<u64>,
    pub(super) entries: u64,
    /// Commands in these entries.
    pub(super) commands: u64,
    /// When writing began.
    pub(super) started: Instant,
}

impl Group {
    /// Merges changes into one batch; a later change of the same record wins. `None` if nothing needs a flush. Lazy
    /// records wait in `lazy` for the next flush.
    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
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
            commands: 0,
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
            Change::Append { records, last, commands } => {
                self.entries += records.len() as u64;
                self.commands += commands;
                for (index, record) in records {
                    self.end = index + 1;
                    self.batch.log.insert(index, Some(record));
                }
                self.held.last = last.or(self.held.last);
            }
            Change::TruncateFrom { from, last } => {
                // Remove what is on the device, and drop from this batch what would have been written.
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
