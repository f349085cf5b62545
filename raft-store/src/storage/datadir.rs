//! The data directory: its lock, its identity, and the checks before anything in it is used (C1, C3, D3).
//!
//! Invariants
//! * At most one process has a directory open.
//! * `IDENTITY` is written after the log's own identity record is durable. A directory with `IDENTITY` but without that
//!   record has lost its log, and with it the node's vote. It is refused, and never treated as an empty one (C3).
//! * The cluster id is set once. It may be replaced only before the node has voted or stored an entry.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::device::{DeviceBatch, LogDevice, MetaKey};
use super::directory::FileDirectory;
use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::log::LogShared;
use super::mark::MarkFile;
#[cfg(any(test, feature = "sim"))]
use super::sim::SimDisk;
use super::sled_device::SledDevice;
use super::snapshot::SnapshotFiles;
use super::starts::{Starts, StartsHandle};
use super::{aside, codec, durable, recovery};
use crate::types::NodeId;

/// The version of the directory's layout.
const LAYOUT_VERSION: u32 = 1;
const LAYOUT_WORD: &str = "raftshare-data";

/// Who opens a directory.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The node's id.
    pub node_id: NodeId,
    /// A random number; becomes the store id of a new directory (C1). This crate draws no random numbers (D2).
    pub new_store_id: u64,
}

/// The identity of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node it belongs to.
    pub node_id: NodeId,
    /// Drawn when the directory was created; tells it from a later directory of the same node id (C3).
    pub store_id: u64,
    /// The cluster it is a member of, once known.
    pub cluster_id: Option<u64>,
}

/// Reads and completes the identity. Cheap to clone.
#[derive(Clone)]
pub struct IdentityHandle {
    log: Arc<LogShared>,
    current: Arc<Mutex<Identity>>,
    /// One adoption at a time, so that two of them cannot both find the id unset.
    adopting: Arc<tokio::sync::Mutex<()>>,
    _lock: Option<Arc<File>>,
}

impl IdentityHandle {
    fn new(log: Arc<LogShared>, identity: Identity, lock: Option<Arc<File>>) -> Self {
        Self { log, current: Arc::new(Mutex::new(identity)), adopting: Arc::default(), _lock: lock }
    }

    /// The current identity.
    pub fn get(&self) -> Identity {
        *self.current.lock()
    }

    /// Records durably that the directory belongs to a member of `cluster_id`. Possible once; again only while the node
    /// has neither voted nor stored an entry (C1).
    pub async fn adopt_cluster(&self, cluster_id: u64) -> Result<(), StorageError> {
        let _one_at_a_time = self.adopting.lock().await;
        let mut identity = self.get();
        match identity.cluster_id {
            Some(found) if found == cluster_id => return Ok(()),
            Some(found) if !self.log.is_pristine() => {
                return Err(StorageError::OtherCluster { found, wanted: cluster_id });
            }
            Some(_) | None => {}
        }
        identity.cluster_id = Some(cluster_id);
        let record = encode(&identity)?;
        let saved = self.log.save_meta(MetaKey::Identity, record).await;
        saved.map_err(|error| StorageError::Failed(error.to_string()))?;
        *self.current.lock() = identity;
        Ok(())
    }
}

/// A locked directory.
pub(crate) struct DataDir {
    dir: PathBuf,
    lock: Arc<File>,
    /// What `IDENTITY` says, if it exists.
    stated: Option<(NodeId, u64)>,
}

impl DataDir {
    /// Creates the directory if needed, locks it, and checks its owner.
    pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Self, StorageError> {
        durable::create_directory(dir)?;
        let lock = lock(dir)?;
        aside::finish(dir)?;
        let stated = read_identity_file(dir)?;
        if let Some((found, _)) = stated
            && found != options.node_id
        {
            return Err(StorageError::OtherNode { dir: dir.to_path_buf(), found, wanted: options.node_id });
        }
        Ok(Self { dir: dir.to_path_buf(), lock: Arc::new(lock), stated })
    }

    pub(crate) fn open_snapshots(&self) -> Result<SnapshotFiles, StorageError> {
        SnapshotFiles::open(FileDirectory::open(&self.dir.join("snap"), Some(Arc::clone(&self.lock)))?)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Opens the log, and creates or checks the identity.
    pub(crate) fn open_log(
        &self,
        options: &OpenOptions,
        fatal: &FatalSignal,
    ) -> Result<(Arc<LogShared>, IdentityHandle, StartsHandle), StorageError> {
        let path = self.log();
        if self.stated.is_some() && !path.join("db").is_file() {
            return Err(self.lost_log());
        }
        durable::create_directory(&path)?;
        let device: Arc<dyn LogDevice> = Arc::new(SledDevice::open(&path)?);
        let identity = self.identity(device.as_ref(), options)?;
        let starts: Option<Starts> = recovery::read_meta(device.as_ref(), MetaKey::Starts)?;
        let mark = MarkFile::open(&self.dir.join("MARK"))?;
        let log = LogShared::open(device, Some(mark), fatal.clone(), Executor::Threads)?;
        let handle = IdentityHandle::new(Arc::clone(&log), identity, Some(Arc::clone(&self.lock)));
        let starts = StartsHandle::new(Arc::clone(&log), starts.unwrap_or_default());
        Ok((log, handle, starts))
    }

    fn identity(&self, device: &dyn LogDevice, options: &OpenOptions) -> Result<Identity, StorageError> {
        let recorded: Option<Identity> = recovery::read_meta(device, MetaKey::Identity)?;
        let identity = match (recorded, self.stated) {
            (None, Some(_)) => return Err(self.lost_log()),
            (Some(recorded), Some((_, store_id))) if recorded.store_id != store_id => {
                return Err(StorageError::damaged(
                    format!("the data directory {}", self.dir.display()),
                    format!("its log has store id {:016x}, its IDENTITY file says {store_id:016x}", recorded.store_id),
                ));
            }
            (Some(recorded), _) if recorded.node_id != options.node_id => {
                return Err(StorageError::OtherNode {
                    dir: self.dir.clone(),
                    found: recorded.node_id,
                    wanted: options.node_id,
                });
            }
            (Some(recorded), Some(_)) => return Ok(recorded),
            // The process died between the two steps of creating the directory.
            (Some(recorded), None) => recorded,
            (None, None) => make_identity(device, options, aside::cluster(&self.dir), &self.dir)?,
        };
        let text =
            format!("{LAYOUT_WORD} {LAYOUT_VERSION}\nnode {}\nstore {:016x}\n", identity.node_id, identity.store_id);
        durable::replace_file(&self.dir.join("IDENTITY"), &[text.as_bytes()])?;
        Ok(identity)
    }

    fn lost_log(&self) -> StorageError {
        StorageError::damaged(
            format!("the data directory {}", self.dir.display()),
            "its log is gone, and with it what this node voted for",
        )
    }
}

/// Opens the log of a simulated machine, which has a disk but no data directory.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn open_simulated(
    disk: &SimDisk,
    options: &OpenOptions,
    fatal: &FatalSignal,
) -> Result<(Arc<LogShared>, IdentityHandle, StartsHandle), StorageError> {
    let device = disk.open();
    let identity = match recovery::read_meta(device.as_ref(), MetaKey::Identity)? {
        Some(recorded) => recorded,
        None => make_identity(device.as_ref(), options, None, Path::new("the simulated disk"))?,
    };
    let starts: Option<Starts> = recovery::read_meta(device.as_ref(), MetaKey::Starts)?;
    let log = LogShared::open(device, None, fatal.clone(), Executor::Simulated(disk.clone()))?;
    let handle = IdentityHandle::new(Arc::clone(&log), identity, None);
    let starts = StartsHandle::new(Arc::clone(&log), starts.unwrap_or_default());
    Ok((log, handle, starts))
}

fn make_identity(
    device: &dyn LogDevice,
    options: &OpenOptions,
    cluster_id: Option<u64>,
    place: &Path,
) -> Result<Identity, StorageError> {
    let identity = Identity { node_id: options.node_id, store_id: options.new_store_id, cluster_id };
    let meta = [(MetaKey::Identity, encode(&identity)?)].into();
    let made = device.apply(DeviceBatch { meta, ..DeviceBatch::default() }).and_then(|()| device.sync());
    made.map_err(|source| StorageError::io("write to the log in", place, source))?;
    Ok(identity)
}

fn encode(identity: &Identity) -> Result<Vec<u8>, StorageError> {
    codec::encode(identity).map_err(|error| StorageError::damaged("the identity", error.to_string()))
}

fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| StorageError::io("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(StorageError::io("lock", &path, source)),
    }
}

fn read_identity_file(dir: &Path) -> Result<Option<(NodeId, u64)>, StorageError> {
    let path = dir.join("IDENTITY");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::io("read", &path, source)),
    };
    let name = || path.display().to_string();
    let unreadable = || StorageError::damaged(name(), "it is not an identity file of raftshare");
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
    let mut lines = text.lines();
    let layout = lines.next().and_then(|line| line.strip_prefix(LAYOUT_WORD)).ok_or_else(unreadable)?;
    let found: u32 = layout.trim().parse().map_err(|_| unreadable())?;
    if found != LAYOUT_VERSION {
        return Err(StorageError::UnknownVersion { what: name(), found, known: LAYOUT_VERSION });
    }
    let node = lines.next().and_then(|line| line.strip_prefix("node ")).and_then(|id| id.parse().ok());
    let store =
        lines.next().and_then(|line| line.strip_prefix("store ")).and_then(|id| u64::from_str_radix(id, 16).ok());
    node.zip(store).map(Some).ok_or_else(unreadable)
}
