//! Snapshot files: `<data>/snap/<term>-<index>.snap`.
//!
//! Invariants
//! * A file under its final name is complete and durable: written aside, synced, renamed, directory synced.
//! * What is read is what was written: a SHA-256 covers everything behind the header's fixed part.
//! * The newest file is the current snapshot; one older file is kept for the case that the newest is damaged.
//!
//! ```text
//!  magic "RSHARESN" | version u32 | meta bytes u32 | catalog bytes u64 | SHA-256 of meta and catalog | meta | catalog
//! ```
//! Numbers are little-endian; meta is postcard. Between nodes the file travels as it is, header included, so that the
//! receiver checks what it got before it uses any of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StorageError;
use super::shared::State;
use super::{LogId, StoredMembership, durable};
use crate::catalog::{Catalog, DecodeError};
use crate::raft::SnapshotMeta;

const MAGIC: &[u8; 8] = b"RSHARESN";
/// The only snapshot file format there is so far.
pub(crate) const SNAPSHOT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 32;
/// Snapshot files kept.
const FILES_KEPT: usize = 2;

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMeta {
    last_log_id: Option<LogId>,
    membership: StoredMembership,
}

/// The whole file that holds a state.
pub(crate) fn encode(state: &State) -> Result<Bytes, StorageError> {
    let meta = FileMeta { last_log_id: state.last_applied, membership: state.membership.clone() };
    let meta = postcard::to_stdvec(&meta).map_err(|error| StorageError::damaged("a snapshot", error.to_string()))?;
    let catalog = state.catalog.encode();
    let mut file = Vec::with_capacity(HEADER_BYTES + meta.len() + catalog.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
    file.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend_from_slice(&(catalog.len() as u64).to_le_bytes());
    file.extend_from_slice(&Sha256::new().chain_update(&meta).chain_update(&catalog).finalize());
    file.extend_from_slice(&meta);
    file.extend_from_slice(&catalog);
    Ok(file.into())
}

/// Reads and checks a whole file.
pub(crate) fn decode(file: &[u8], name: &str) -> Result<State, StorageError> {
    let (meta, catalog) = check(file, name)?;
    let catalog = Catalog::decode(catalog).map_err(|error| match error {
        DecodeError::UnknownVersion { found, known } => StorageError::UnknownVersion {
            what: format!("the catalog in {name}"),
            found: found.into(),
            known: known.into(),
        },
        DecodeError::Damaged(detail) => StorageError::damaged(name, detail),
    })?;
    Ok(State { catalog, last_applied: meta.last_log_id, membership: meta.membership })
}

/// Checks a snapshot that came from another node, and reads what it says about itself. A transport calls it before it
/// hands the bytes to Raft: Raft takes a snapshot that does not install for a failure of this node's own storage.
pub fn check_snapshot(file: &[u8]) -> Result<SnapshotMeta, StorageError> {
    let (meta, _) = check(file, "the received snapshot")?;
    Ok(SnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.membership })
}

fn check<'a>(file: &'a [u8], name: &str) -> Result<(FileMeta, &'a [u8]), StorageError> {
    let short = || StorageError::damaged(name, "it is cut off");
    let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(short)?;
    if magic != MAGIC {
        return Err(StorageError::damaged(name, "it does not begin like a snapshot"));
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let version = u32::from_le_bytes(*version);
    if version != SNAPSHOT_VERSION {
        return Err(StorageError::UnknownVersion { what: name.to_owned(), found: version, known: SNAPSHOT_VERSION });
    }
    let (meta_bytes, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (catalog_bytes, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (checksum, body) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let meta_bytes = usize::try_from(u32::from_le_bytes(*meta_bytes)).map_err(|_| short())?;
    let catalog_bytes = usize::try_from(u64::from_le_bytes(*catalog_bytes)).map_err(|_| short())?;
    if meta_bytes.checked_add(catalog_bytes) != Some(body.len()) {
        return Err(StorageError::damaged(name, "its length is not the one that its header states"));
    }
    if Sha256::digest(body).as_slice() != checksum {
        return Err(StorageError::damaged(name, "its checksum does not match its bytes"));
    }
    let (meta, catalog) = body.split_at_checked(meta_bytes).ok_or_else(short)?;
    let meta = postcard::from_bytes(meta)
        .map_err(|error| StorageError::damaged(name, format!("its description does not decode ({error})")))?;
    Ok((meta, catalog))
}

/// The directory of snapshot files.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    dir: PathBuf,
    /// Serialises publishing: building and installing may overlap.
    publishing: Mutex<()>,
    /// The data directory's lock, kept for as long as a file may be written.
    _lock: Option<Arc<File>>,
}

/// A snapshot on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl SnapshotFiles {
    /// Opens or creates the directory, and removes what a crash left half written.
    pub(crate) fn open(dir: &Path, lock: Option<Arc<File>>) -> Result<Self, StorageError> {
        durable::create_directory(dir)?;
        let files = Self { dir: dir.to_path_buf(), publishing: Mutex::new(()), _lock: lock };
        for entry in fs::read_dir(dir).map_err(|source| StorageError::io("list", dir, source))? {
            let path = entry.map_err(|source| StorageError::io("list", dir, source))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(|source| StorageError::io("remove", &path, source))?;
            }
        }
        Ok(files)
    }

    /// All snapshots, newest first.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotFile>, StorageError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|source| StorageError::io("list", &self.dir, source))? {
            let path = entry.map_err(|source| StorageError::io("list", &self.dir, source))?.path();
            found.extend(parse_name(&path).map(|(term, index)| SnapshotFile { path, term, index }));
        }
        found.sort_by_key(|file| std::cmp::Reverse((file.index, file.term)));
        Ok(found)
    }

    /// Finds the newest usable snapshot. `purged` is the last index the log no longer has: the state up to there has to
    /// come from a snapshot.
    pub(crate) fn load(&self, purged: Option<u64>) -> Result<State, StorageError> {
        let mut damaged = Vec::new();
        let mut first_error = None;
        for file in self.list()? {
            if purged.is_some_and(|purged| file.index < purged) {
                break;
            }
            let name = file.path.display().to_string();
            let bytes = fs::read(&file.path).map_err(|source| StorageError::io("read", &file.path, source))?;
            match decode(&bytes, &name) {
                Ok(state) => {
                    self.set_aside(&damaged)?;
                    return Ok(state);
                }
                Err(error @ StorageError::Damaged { .. }) => {
                    tracing::error!("{error}");
                    damaged.push(file);
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match (purged, first_error) {
            // The log reaches back to its first entry, so that everything can be applied again.
            (None, _) => {
                self.set_aside(&damaged)?;
                Ok(State::default())
            }
            (Some(_), Some(error)) => Err(error),
            (Some(purged), None) => Err(StorageError::damaged(
                format!("the snapshot directory {}", self.dir.display()),
                format!("the log begins after entry {purged}, and no snapshot covers what came before"),
            )),
        }
    }

    /// Renames damaged files so that they stay for inspection but are neither used nor sent again.
    fn set_aside(&self, damaged: &[SnapshotFile]) -> Result<(), StorageError> {
        for file in damaged {
            let mut aside = file.path.clone().into_os_string();
            aside.push(".damaged");
            fs::rename(&file.path, &aside).map_err(|source| StorageError::io("rename", &file.path, source))?;
        }
        durable::sync_directory(&self.dir)
    }

    /// Writes a snapshot durably, then removes those that are too many. Blocks.
    pub(crate) fn publish(&self, last: LogId, file: &[u8]) -> Result<(), StorageError> {
        let _one_at_a_time = self.publishing.lock();
        let path = self.dir.join(format!("{}-{}.snap", term_of(&last), last.index));
        durable::replace_file(&path, &[file])?;
        for old in self.list()?.into_iter().skip(FILES_KEPT) {
            fs::remove_file(&old.path).map_err(|source| StorageError::io("remove", &old.path, source))?;
        }
        durable::sync_directory(&self.dir)
    }

    /// The newest snapshot, checked. Blocks.
    pub(crate) fn current(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        let Some(newest) = self.list()?.into_iter().next() else { return Ok(None) };
        let bytes = fs::read(&newest.path).map_err(|source| StorageError::io("read", &newest.path, source))?;
        let (meta, _) = check(&bytes, &newest.path.display().to_string())?;
        let meta = SnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.membership };
        Ok(Some((meta, bytes.into())))
    }

    /// Index and size of the newest snapshot.
    pub(crate) fn newest_size(&self) -> Option<(u64, u64)> {
        let newest = self.list().ok()?.into_iter().next()?;
        let bytes = fs::metadata(&newest.path).ok()?.len();
        Some((newest.index, bytes))
    }
}

fn term_of(log_id: &LogId) -> u64 {
    **log_id.committed_leader_id()
}

fn parse_name(path: &Path) -> Option<(u64, u64)> {
    let (term, index) = path.file_name()?.to_str()?.strip_suffix(".snap")?.split_once('-')?;
    Some((term.parse().ok()?, index.parse().ok()?))
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        io::Error::other(error)
    }
}
