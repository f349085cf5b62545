//! Everything between Raft and the disk: the log, the snapshots, and the data directory's identity.
//!
//! ```text
//!  <data>/LOCK        locked while a process uses the directory
//!  <data>/IDENTITY    whose directory this is, and its format (C1, D3)
//!  <data>/MARK        how far the log was acknowledged
//!  <data>/log/        sled: tree `log` (index → record), tree `meta` (vote, purge point, committed, identity, starts)
//!  <data>/older-N/    earlier contents that were set aside; REJOIN names the cluster to return to
//!  <data>/snap/       <term>-<index>.snap
//! ```
//! Invariant: what was acknowledged to Raft is on the disk (W1). After the first storage error nothing is acknowledged
//! (W4).

mod aside;
mod codec;
mod datadir;
mod device;
mod directory;
mod durable;
mod error;
mod executor;
mod feed;
mod flusher;
mod group;
mod log;
mod log_store;
mod mark;
mod recovery;
mod repair;
mod shared;
#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(any(test, feature = "sim"))]
mod sim_files;
mod sled_device;
mod snapshot;
mod starts;
mod state_machine;
mod stats;
mod tail;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use aside::request as request_set_aside;
pub use datadir::{Identity, IdentityHandle, OpenOptions};
pub use device::{DeviceBatch, LogDevice, MetaKey, RECORD_BYTES_MAX};
pub use error::{FatalSignal, StorageError};
pub use feed::{AppliedEntry, FEED_ENTRIES_MAX, Feed, FeedItem};
pub use flusher::{GROUP_BYTES_MAX, PURGE_STEP_RECORDS, QUEUE_BYTES_MAX, QUEUE_OPERATIONS_MAX};
pub use log_store::{LogReader, LogStore, READ_BYTES_MAX};
pub use repair::{Repair, RepairError};
pub use shared::{DigestImage, DigestWork, SharedState, StateView};
#[cfg(any(test, feature = "sim"))]
pub use sim::{SimDisk, SimFault};
#[cfg(any(test, feature = "sim"))]
pub use sim_files::Choose;
pub use sled_device::{SledDevice, sled_file};
pub use snapshot::check_snapshot;
pub use starts::{KnownStore, STORES_MAX, StartId, Starts, StartsHandle};
pub use state_machine::{SnapshotBuilder, SnapshotData, SnapshotReceiver, StateMachine};
pub use stats::{SnapshotHistogram, SnapshotReading, StorageHistograms, StorageStats};
pub use tail::TAIL_BYTES_MAX;

pub use crate::raft::{Entry, LogId, StoredMembership, Vote};
pub use executor::Executor;

/// An opened data directory. The log store and the state machine go to `Raft::new`; the node keeps the other parts.
pub struct Storage {
    /// The log.
    pub log_store: LogStore,
    /// The catalog and its snapshots.
    pub state_machine: StateMachine,
    /// Checks and decodes snapshots that other nodes send.
    pub snapshot_receiver: SnapshotReceiver,
    /// The catalog for readers.
    pub state: SharedState,
    /// Replaces the catalog when it differs from that of other members (N3).
    pub repair: Repair,
    /// The identity of the directory.
    pub identity: IdentityHandle,
    /// The starts of this directory and of those of other members (C3).
    pub starts: StartsHandle,
    /// Raised by the first storage error; the node then has to exit (W4).
    pub fatal: FatalSignal,
    /// Counters of the storage.
    pub stats: StatsHandle,
    /// Runs blocking work and long computations.
    pub executor: Executor,
}

impl Storage {
    /// Opens or creates a data directory. Blocks while it reads the log and the newest snapshot.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Self, StorageError> {
        let fatal = FatalSignal::default();
        let datadir = datadir::DataDir::open(dir, options)?;
        let files = Arc::new(datadir.open_snapshots()?);
        let (log, identity, starts) = datadir.open_log(options, &fatal)?;
        Self::assemble(log, identity, starts, files, fatal, Executor::Threads)
    }

    /// Opens the disk of a simulated machine. All work on it is done by tasks of the current runtime.
    #[cfg(any(test, feature = "sim"))]
    pub fn open_simulated(disk: &SimDisk, options: &OpenOptions) -> Result<Self, StorageError> {
        let fatal = FatalSignal::default();
        let files = Arc::new(snapshot::SnapshotFiles::open(disk.files())?);
        let (log, identity, starts) = datadir::open_simulated(disk, options, &fatal)?;
        disk.settle_files();
        Self::assemble(log, identity, starts, files, fatal, Executor::Simulated(disk.clone()))
    }

    fn assemble(
        log: Arc<log::LogShared>,
        identity: IdentityHandle,
        starts: StartsHandle,
        files: Arc<snapshot::SnapshotFiles>,
        fatal: FatalSignal,
        executor: Executor,
    ) -> Result<Self, StorageError> {
        let loaded = files.load(log.purged().map(|purged| purged.index))?;
        let state = SharedState::new(loaded);
        let snapshot_receiver = SnapshotReceiver::new(executor.clone());
        let state_machine = StateMachine::new(state.clone(), Arc::clone(&files), fatal.clone(), executor.clone());
        let log_store = LogStore::new(Arc::clone(&log));
        let repair =
            Repair::new(state.clone(), Arc::clone(&files), log_store.reader(), fatal.clone(), executor.clone());
        let stats = StatsHandle { log, files, snapshots: state_machine.stats() };
        Ok(Self {
            log_store,
            state_machine,
            snapshot_receiver,
            state,
            repair,
            identity,
            starts,
            fatal,
            stats,
            executor,
        })
    }
}

/// Reads the storage's counters. Cheap to clone.
#[derive(Clone)]
pub struct StatsHandle {
    log: Arc<log::LogShared>,
    files: Arc<snapshot::SnapshotFiles>,
    snapshots: Arc<stats::SnapshotStats>,
}

impl StatsHandle {
    /// Bytes of all entries that this process has appended or found when it opened the log. Never falls.
    pub fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    /// Bytes of the newest snapshot; 0 without one. Reads the directory.
    pub fn snapshot_bytes(&self) -> u64 {
        self.files.newest_size().map_or(0, |(_, bytes)| bytes)
    }

    /// The current histograms.
    pub fn histograms(&self) -> StorageHistograms {
        self.log.histograms(&self.snapshots)
    }

    /// The current counters. Reads the directory: call it off the async threads if that matters.
    pub fn read(&self) -> StorageStats {
        let mut stats = StorageStats::default();
        self.log.read_stats(&mut stats);
        if let Some((index, bytes)) = self.files.newest_size() {
            stats.snapshot_index = Some(index);
            stats.snapshot_bytes = bytes;
        }
        stats
    }
}
