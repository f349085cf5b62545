//! The interface between the log and its storage: a small synchronous key-value device.
//!
//! Invariant of every device: a batch is atomic, so after a crash all of it is there or nothing. Batches survive in the
//! order in which they were applied, so what survives is a prefix. Everything applied before a successful
//! [`LogDevice::sync`] survives loss of power.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// The largest record in bytes. sled keeps a value above a quarter of a segment (1 MiB) in a separate file that it
/// never syncs. Log entries stay far below (56 KiB of commands), so this refuses only what would be stored unsafely.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Names of the records that are not log entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetaKey {
    /// Term and candidate this node voted for.
    Vote,
    /// Last log id that was purged.
    Purged,
    /// Last log id known to be committed; may lag.
    Committed,
    /// Node, store and cluster id (C1).
    Identity,
    /// Starts of this directory, and recorded starts of others (C3).
    Starts,
}

impl MetaKey {
    /// The key on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Purged => "purged",
            Self::Committed => "committed",
            Self::Identity => "identity",
            Self::Starts => "starts",
        }
    }
}

/// Changes that become visible together and survive a crash together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceBatch {
    /// Log index → record; `None` removes it.
    pub log: BTreeMap<u64, Option<Vec<u8>>>,
    /// Named record → its new bytes.
    pub meta: BTreeMap<MetaKey, Vec<u8>>,
}

impl DeviceBatch {
    /// Whether it has no changes.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.meta.is_empty()
    }
}

/// The storage of the log. All calls may block; none is made while a lock is held.
pub trait LogDevice: Send + Sync + 'static {
    /// Applies a batch: readable at once, durable after the next [`LogDevice::sync`].
    fn apply(&self, batch: DeviceBatch) -> io::Result<()>;

    /// Deletes log records. This need not be atomic: a crash may leave any of them.
    fn delete(&self, indexes: &[u64]) -> io::Result<()> {
        let log: BTreeMap<_, _> = indexes.iter().map(|index| (*index, None)).collect();
        if log.is_empty() { Ok(()) } else { self.apply(DeviceBatch { log, ..DeviceBatch::default() }) }
    }

    /// Makes everything applied so far durable. After an error the device must not be written to again: the system may
    /// have dropped the dirty pages, so a second sync that succeeds proves nothing (W4).
    fn sync(&self) -> io::Result<()>;

    /// A named record.
    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>>;

    /// The log records in a range of indexes, ascending.
    fn records(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// The log indexes present in a range, ascending, at most `limit`.
    fn indexes(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<u64>>;

    /// Bytes that the log takes up on disk.
    fn bytes_on_disk(&self) -> io::Result<u64>;
}
