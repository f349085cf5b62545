//! A simulated disk: a [`LogDevice`] that loses unsynced data when it crashes, and fails on request.
//!
//! Invariant: after [`SimDisk::crash`] the device has exactly the synced batches, and the chosen number of the batches
//! that were applied after the last sync, in order. [`LogDevice`] promises no more, so a log that survives here relies
//! on no more than every device guarantees.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::device::{DeviceBatch, LogDevice, MetaKey};
use super::sim_files::{Choose, SimDirectory, SimFiles};

#[derive(Debug, Default, Clone)]
struct Contents {
    log: BTreeMap<u64, Vec<u8>>,
    meta: BTreeMap<MetaKey, Vec<u8>>,
}

impl Contents {
    fn apply(&mut self, batch: &DeviceBatch) {
        for (&index, record) in &batch.log {
            match record {
                Some(bytes) => self.log.insert(index, bytes.clone()),
                None => self.log.remove(&index),
            };
        }
        self.meta.extend(batch.meta.iter().map(|(&key, bytes)| (key, bytes.clone())));
    }
}

/// Which call fails next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// Applying a batch, as on a full disk; nothing of the batch is stored.
    Apply,
    /// Syncing, as on a failing disk; what was applied may or may not survive.
    Sync,
    /// Syncing panics, as sled's code may.
    SyncPanic,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Contents,
    visible: Contents,
    unsynced: Vec<DeviceBatch>,
    /// Grows with every crash. A device of an older epoch belongs to a dead process.
    epoch: u64,
    /// Which call fails next.
    fault: Option<SimFault>,
    /// While this is set, syncs wait.
    syncs_held: bool,
    syncs: u64,
    syncs_waiting: u64,
    files: SimFiles,
    pace: Pace,
}

/// How much simulated time one step of the disk takes, drawn from a seed.
#[derive(Debug, Default)]
struct Pace {
    shortest: Duration,
    longest: Duration,
    state: u64,
}

impl Pace {
    fn next(&mut self) -> Duration {
        let spread = u64::try_from(self.longest.saturating_sub(self.shortest).as_micros()).unwrap_or(0);
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        self.shortest + Duration::from_micros(bits % (spread + 1))
    }
}

/// The disk. It survives crashes; each simulated process opens its own device on it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    inner: Arc<(Mutex<Disk>, Condvar)>,
}

impl SimDisk {
    /// The device as a newly started process sees it.
    pub fn open(&self) -> Arc<dyn LogDevice> {
        let epoch = self.inner.0.lock().epoch;
        Arc::new(SimDevice { disk: self.clone(), epoch })
    }

    /// Cuts the power. Of the batches applied since the last sync, the first `keep` survive. Devices that were opened
    /// before fail from now on.
    pub fn crash(&self, keep: usize) {
        let (disk, wake) = &*self.inner;
        let mut disk = disk.lock();
        let unsynced = std::mem::take(&mut disk.unsynced);
        for batch in unsynced.iter().take(keep) {
            disk.durable.apply(batch);
        }
        disk.visible = disk.durable.clone();
        disk.epoch += 1;
        disk.fault = None;
        disk.syncs_held = false;
        wake.notify_all();
    }

    /// Cuts the power, and decides by chance what survives of everything that was not synced, files included.
    pub fn crash_by_chance(&self, choose: Choose<'_>) {
        let keep = choose(self.unsynced() as u64 + 1) as usize;
        self.inner.0.lock().files.crash(choose);
        self.crash(keep);
    }

    /// Sets how long a step takes from now on, between the bounds and drawn from `seed`.
    pub fn set_pace(&self, shortest: Duration, longest: Duration, seed: u64) {
        self.inner.0.lock().pace = Pace { shortest, longest: longest.max(shortest), state: seed };
    }

    /// The simulated time that the next step takes.
    pub(super) fn pause(&self) -> Duration {
        self.inner.0.lock().pace.next()
    }

    /// The files as a newly started process sees them.
    pub(super) fn files(&self) -> SimDirectory {
        SimDirectory::new(self.clone(), self.inner.0.lock().epoch)
    }

    /// Notes that all work on files so far has ended.
    pub(super) fn settle_files(&self) {
        self.inner.0.lock().files.settle();
    }

    pub(super) fn with_files<T>(&self, epoch: u64, work: impl FnOnce(&mut SimFiles) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.inner.0.lock();
        if disk.epoch != epoch {
            return Err(off());
        }
        work(&mut disk.files)
    }

    /// The number of batches that a crash could lose now.
    pub fn unsynced(&self) -> usize {
        self.inner.0.lock().unsynced.len()
    }

    /// Makes the next call of a kind fail.
    pub fn fail_next(&self, fault: SimFault) {
        self.inner.0.lock().fault = Some(fault);
    }

    /// Holds syncs until [`SimDisk::release_syncs`].
    pub fn hold_syncs(&self) {
        self.inner.0.lock().syncs_held = true;
    }

    /// Lets held syncs continue.
    pub fn release_syncs(&self) {
        let (disk, wake) = &*self.inner;
        disk.lock().syncs_held = false;
        wake.notify_all();
    }

    /// Blocks until a sync is held.
    pub fn wait_for_held_sync(&self) {
        let (disk, wake) = &*self.inner;
        let mut disk = disk.lock();
        wake.wait_while(&mut disk, |disk| disk.syncs_waiting == 0);
    }

    /// The number of syncs so far, failed ones included.
    pub fn syncs(&self) -> u64 {
        self.inner.0.lock().syncs
    }

    /// Changes a stored log record behind the log's back: `Some` replaces it, `None` removes it.
    pub fn tamper(&self, index: u64, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut disk = self.inner.0.lock();
        let changed = disk.durable.log.get(&index).cloned().and_then(change);
        let batch = DeviceBatch { log: [(index, changed)].into(), ..DeviceBatch::default() };
        disk.durable.apply(&batch);
        disk.visible.apply(&batch);
    }

    /// Changes a named record behind the log's back.
    pub fn tamper_meta(&self, key: MetaKey, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let mut disk = self.inner.0.lock();
        let changed = change(disk.durable.meta.get(&key).cloned().unwrap_or_default());
        disk.durable.meta.insert(key, changed.clone());
        disk.visible.meta.insert(key, changed);
    }

    /// Indexes of the log records that would survive a crash now.
    pub fn durable_indexes(&self) -> Vec<u64> {
        self.inner.0.lock().durable.log.keys().copied().collect()
    }
}

/// One process's view of a [`SimDisk`].
struct SimDevice {
    disk: SimDisk,
    epoch: u64,
}

impl SimDevice {
    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.inner.0.lock();
        self.check(&disk)?;
        work(&mut disk)
    }

    fn check(&self, disk: &Disk) -> io::Result<()> {
        if disk.epoch == self.epoch { Ok(()) } else { Err(off()) }
    }
}

fn off() -> io::Error {
    io::Error::other("the simulated machine is off")
}

fn injected(what: &str) -> io::Error {
    io::Error::other(format!("injected error: {what}"))
}

impl LogDevice for SimDevice {
    fn apply(&self, batch: DeviceBatch) -> io::Result<()> {
        self.with(|disk| {
            if disk.fault == Some(SimFault::Apply) {
                disk.fault = None;
                return Err(injected("no space left on device"));
            }
            disk.visible.apply(&batch);
            disk.unsynced.push(batch);
            Ok(())
        })
    }

    // Panics where a fault is injected, as sled itself may.
    fn sync(&self) -> io::Result<()> {
        let (disk, wake) = &*self.disk.inner;
        let mut disk = disk.lock();
        self.check(&disk)?;
        disk.syncs += 1;
        if disk.syncs_held {
            disk.syncs_waiting += 1;
            wake.notify_all();
            wake.wait_while(&mut disk, |disk| disk.syncs_held);
            disk.syncs_waiting -= 1;
            self.check(&disk)?;
        }
        match disk.fault {
            Some(SimFault::Sync) => {
                disk.fault = None;
                return Err(injected("input/output error"));
            }
            Some(SimFault::SyncPanic) => {
                disk.fault = None;
                drop(disk);
                panic!("injected panic");
            }
            Some(SimFault::Apply) | None => {}
        }
        for batch in std::mem::take(&mut disk.unsynced) {
            disk.durable.apply(&batch);
        }
        Ok(())
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        self.with(|disk| Ok(disk.visible.meta.get(&key).cloned()))
    }

    fn records(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.with(|disk| Ok(disk.visible.log.range(range).map(|(&index, bytes)| (index, bytes.clone())).collect()))
    }

    fn indexes(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<u64>> {
        self.with(|disk| Ok(disk.visible.log.range(range).map(|(&index, _)| index).take(limit).collect()))
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        self.with(|disk| Ok(disk.visible.log.values().map(|bytes| bytes.len() as u64).sum()))
    }
}
