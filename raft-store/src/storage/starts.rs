//! What a data directory remembers about starts: the number of its own newest start, and the newest start of each other
//! member's directory that this node has seen (C3, C5).
//!
//! This detects older copies of a directory. A copy starts with a number that the other members have already seen, or
//! its log ends before entries that it acknowledged in earlier starts.
//!
//! Invariants
//! * A start is durable before it is announced. Its number stays the same until a majority has recorded it, however
//!   often the process restarts: an older copy cannot overtake its original by restarting.
//! * A recorded start is durable before the record is confirmed. A recorded number never falls.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::device::MetaKey;
use super::log::LogShared;
use super::{LogId, codec};

/// Directories of other members that are remembered. The one not heard of for longest is forgotten first.
pub const STORES_MAX: usize = 256;

/// One start of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartId {
    /// Grows by one with every start after one that a majority has recorded.
    pub number: u64,
    /// Drawn at random with the number: if two copies start, they have the same number but different nonces.
    pub nonce: u64,
}

/// What is known about another member's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStore {
    /// Its newest recorded start.
    pub start: Option<StartId>,
    /// Identifies the process of that start: a random number.
    pub boot: u64,
    /// The address that this process announced.
    pub address: String,
    /// The highest committed entry that it acknowledged to this node as leader. Its log must never lose that entry.
    acknowledged: Option<Acknowledged>,
    /// The same for earlier processes.
    acknowledged_before: Option<LogId>,
    /// Grows with every change: finds the directory not heard of for longest.
    touched: u64,
}

/// An entry that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    upto: LogId,
    /// The process that acknowledged it.
    boot: u64,
}

impl KnownStore {
    /// The highest entry that earlier processes acknowledged: the log of this process must have it. What the process
    /// itself has acknowledged proves nothing, because its announcement may be older and arrive later.
    pub fn acknowledged_before(&self, boot: u64) -> Option<LogId> {
        let last = self.acknowledged.filter(|last| last.boot != boot).map(|last| last.upto);
        last.max(self.acknowledged_before)
    }
}

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starts {
    /// The newest start of this directory.
    pub own: StartId,
    /// Whether a majority has recorded that start.
    pub confirmed: bool,
    /// Log index of the membership by which this node learned that it was removed (C6).
    pub removed: Option<u64>,
    /// Log index at which this node's state differed from the majority's; unset once it has that state (N3).
    pub diverged: Option<u64>,
    stores: BTreeMap<u64, KnownStore>,
}

impl Starts {
    /// What is known about a directory.
    pub fn store(&self, store: u64) -> Option<&KnownStore> {
        self.stores.get(&store)
    }

    /// Everything that is known about directories.
    pub fn stores(&self) -> impl Iterator<Item = (u64, &KnownStore)> {
        self.stores.iter().map(|(store, known)| (*store, known))
    }

    /// Records a start, unless a newer one is known.
    pub fn record(&mut self, store: u64, start: StartId, boot: u64, address: &str) {
        let known = self.touch(store);
        if known.start.is_none_or(|known| known.number <= start.number) {
            known.start = Some(start);
            known.boot = boot;
            address.clone_into(&mut known.address);
        }
    }

    /// Whether an acknowledged entry is higher than the highest known one.
    pub fn is_news(&self, store: u64, upto: LogId) -> bool {
        let known = self.store(store).and_then(|known| known.acknowledged);
        known.is_none_or(|known| known.upto < upto)
    }

    /// Records that a process acknowledged a committed entry for a directory.
    pub fn acknowledge(&mut self, store: u64, upto: LogId, boot: u64) {
        if !self.is_news(store, upto) {
            return;
        }
        let known = self.touch(store);
        let before = known.acknowledged.replace(Acknowledged { upto, boot });
        if let Some(before) = before.filter(|before| before.boot != boot) {
            known.acknowledged_before = Some(before.upto);
        }
    }

    fn touch(&mut self, store: u64) -> &mut KnownStore {
        let newest = self.stores.values().map(|known| known.touched).max().unwrap_or(0);
        if !self.stores.contains_key(&store) && self.stores.len() >= STORES_MAX {
            let oldest = self.stores.iter().min_by_key(|(_, known)| known.touched).map(|(store, _)| *store);
            oldest.map(|store| self.stores.remove(&store));
        }
        let known = self.stores.entry(store).or_default();
        known.touched = newest + 1;
        known
    }
}

/// Reads and changes what is remembered. Cheap to clone.
#[derive(Clone)]
pub struct StartsHandle {
    log: Arc<LogShared>,
    current: Arc<Mutex<Starts>>,
    /// Writes go to the log's queue in the order of the changes.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl StartsHandle {
    pub(crate) fn new(log: Arc<LogShared>, found: Starts) -> Self {
        Self { log, current: Arc::new(Mutex::new(found)), writing: Arc::default() }
    }

    /// Reads what is remembered.
    pub fn read<T>(&self, look: impl FnOnce(&Starts) -> T) -> T {
        look(&self.current.lock())
    }

    /// Begins this process's start, durably: the next number if a majority has recorded the last start, and otherwise
    /// that start again. This crate draws no random numbers (D2), so the caller gives the nonce of a new start.
    pub async fn begin(&self, nonce: u64) -> io::Result<StartId> {
        if self.read(|starts| !starts.confirmed && starts.own.number > 0) {
            return Ok(self.read(|starts| starts.own));
        }
        self.update(|starts| {
            starts.own = StartId { number: starts.own.number + 1, nonce };
            starts.confirmed = false;
            starts.own
        })
        .await
    }

    /// Changes what is remembered; durable once this returns.
    pub async fn update<T>(&self, change: impl FnOnce(&mut Starts) -> T) -> io::Result<T> {
        let _in_order = self.writing.lock().await;
        let (value, record) = self.change(change);
        self.log.save_meta(MetaKey::Starts, record?).await?;
        Ok(value)
    }

    /// Changes what is remembered without a flush of its own; durable with the log's next flush.
    pub async fn note<T>(&self, change: impl FnOnce(&mut Starts) -> T) -> io::Result<T> {
        let _in_order = self.writing.lock().await;
        let (value, record) = self.change(change);
        self.log.save_meta_lazily(MetaKey::Starts, record?).await?;
        Ok(value)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Starts) -> T) -> (T, io::Result<Vec<u8>>) {
        let mut current = self.current.lock();
        let value = change(&mut current);
        (value, codec::encode(&*current).map_err(io::Error::other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{OpenOptions, SimDisk, Storage};

    fn start(number: u64) -> StartId {
        StartId { number, nonce: number * 10 }
    }

    #[test]
    fn a_recorded_number_never_falls_and_the_table_has_a_limit() {
        let mut starts = Starts::default();
        starts.record(1, start(3), 1, "a:1");
        starts.record(1, start(2), 2, "b:1");
        assert_eq!(starts.store(1).map(|known| (known.start, known.address.as_str())), Some((Some(start(3)), "a:1")));
        for store in 2..=STORES_MAX as u64 + 1 {
            starts.record(store, start(1), 3, "c:1");
        }
        assert_eq!(starts.stores().count(), STORES_MAX);
        assert!(starts.store(1).is_none(), "the one that was not heard of for longest goes first");
    }

    #[test]
    fn what_a_process_acknowledges_is_owed_by_others_only() {
        let upto = |index| LogId { leader_id: openraft::vote::leader_id_std::CommittedLeaderId::new(1), index };
        let owed = |starts: &Starts, boot| starts.store(1).and_then(|known| known.acknowledged_before(boot));
        let mut starts = Starts::default();
        starts.acknowledge(1, upto(10), 4);
        starts.acknowledge(1, upto(20), 4);
        assert_eq!((owed(&starts, 4), owed(&starts, 5)), (None, Some(upto(20))));
        starts.acknowledge(1, upto(15), 5);
        assert_eq!(owed(&starts, 5), Some(upto(20)), "less than before is no news");
        starts.acknowledge(1, upto(30), 5);
        assert_eq!((owed(&starts, 5), owed(&starts, 6)), (Some(upto(20)), Some(upto(30))));
    }

    #[tokio::test]
    async fn what_was_recorded_survives_a_crash() {
        let disk = SimDisk::default();
        let options = OpenOptions { node_id: 1, new_store_id: 7 };
        let storage = Storage::open_simulated(&disk, &options).expect("opens");
        let first = StartId { number: 1, nonce: 11 };
        assert_eq!(storage.starts.begin(11).await.expect("durable"), first);
        storage.starts.update(|starts| starts.record(9, start(4), 5, "a:1")).await.expect("durable");
        disk.crash(0);
        let storage = Storage::open_simulated(&disk, &options).expect("opens again");
        assert_eq!(storage.starts.begin(12).await.expect("durable"), first, "no majority has recorded it");
        storage.starts.update(|starts| starts.confirmed = true).await.expect("durable");
        disk.crash(0);
        let storage = Storage::open_simulated(&disk, &options).expect("opens again");
        assert_eq!(storage.starts.begin(13).await.expect("durable"), StartId { number: 2, nonce: 13 });
        let known = storage.starts.read(|starts| starts.store(9).cloned()).expect("recorded");
        assert_eq!((known.start, known.address.as_str()), (Some(start(4)), "a:1"));
    }
}
