//! Snapshot files: `<data>/snap/<term>-<index>.snap`.
//!
//! Invariants
//! * A file under its final name is complete and durable: it is written under another name, synced and renamed, and the
//!   directory is synced.
//! * What is read is what was written: a SHA-256 covers everything after the header.
//! * The newest file is the current snapshot. One older file is kept in case the newest is damaged.
//!
//! ```text
//!  magic "RSHARESN" | version u32 | meta bytes u32 | catalog bytes u64 | SHA-256 of meta and catalog | meta | catalog
//! ```
//! Numbers are little-endian; meta is postcard. Nodes send each other the whole file, header included, so that the
//! receiver can check it before it uses any of it. A state is written piece by piece, and the header last. Only a file
//! that is sent, received or loaded is in memory as a whole.

use std::io::{self, Cursor, SeekFrom, Write};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directory::{Directory, Fill, NewFile};
use super::error::StorageError;
use super::shared::{State, StateImage};
use super::{LogId, StoredMembership};
use crate::catalog::{Catalog, DecodeError};
use crate::checksum::Checksummed;
use crate::raft::SnapshotMeta;

const MAGIC: &[u8; 8] = b"RSHARESN";
/// The only snapshot file format so far.
pub(crate) const SNAPSHOT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 32;
/// The suffix of a file that is still being written.
const ASIDE: &str = ".tmp";
/// How many snapshot files are kept.
const FILES_KEPT: usize = 2;

/// The description of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMeta {
    last_log_id: Option<LogId>,
    membership: StoredMembership,
}

/// Writes a state as a whole file. The header is written last: until then the file does not begin like a snapshot.
pub(crate) fn write(image: &StateImage, file: &mut dyn NewFile) -> io::Result<()> {
    let meta = FileMeta { last_log_id: image.last_applied, membership: image.membership.clone() };
    let meta = postcard::to_stdvec(&meta).map_err(io::Error::other)?;
    file.write_all(&[0; HEADER_BYTES])?;
    let mut body = Checksummed::new(&mut *file);
    body.write_all(&meta)?;
    image.catalog.encode_to(&mut body)?;
    let (checksum, body_bytes) = body.finish();
    let meta_bytes = u32::try_from(meta.len()).map_err(io::Error::other)?;
    let header: [&[u8]; 5] = [
        MAGIC,
        &SNAPSHOT_VERSION.to_le_bytes(),
        &meta_bytes.to_le_bytes(),
        &(body_bytes - u64::from(meta_bytes)).to_le_bytes(),
        &checksum,
    ];
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header.concat())
}

/// Encodes the file in memory, for a state that nothing was applied to. Such a state is small and has no file name.
pub(crate) fn encode(image: &StateImage) -> io::Result<Bytes> {
    let mut file = Cursor::new(Vec::new());
    write(image, &mut file)?;
    Ok(file.into_inner().into())
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
    Ok(State { catalog, last_applied: meta.last_log_id, membership: meta.membership, ..State::default() })
}

/// Checks the bytes of a snapshot and reads its description. A snapshot from another node is also decoded before Raft
/// sees it, by [`super::SnapshotReceiver`].
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
    dir: Box<dyn Directory>,
    /// Serialises publishing: building and installing may overlap and write the same file. The second waits until the
    /// first is on disk.
    publishing: Mutex<()>,
}

/// A snapshot on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub(crate) name: String,
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl SnapshotFiles {
    /// Opens the directory, and removes files that a crash has left unfinished.
    pub(crate) fn open(dir: impl Directory) -> Result<Self, StorageError> {
        let files = Self { dir: Box::new(dir), publishing: Mutex::new(()) };
        for name in files.names()? {
            if name.ends_with(ASIDE) {
                files.dir.remove(&name).map_err(|source| files.failed("remove", &name, source))?;
            }
        }
        Ok(files)
    }

    fn failed(&self, what: &'static str, name: &str, source: io::Error) -> StorageError {
        StorageError::io(what, self.dir.path().join(name), source)
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        self.dir.names().map_err(|source| StorageError::io("list", self.dir.path(), source))
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        self.dir.sync_names().map_err(|source| StorageError::io("sync the directory", self.dir.path(), source))
    }

    fn read(&self, file: &SnapshotFile) -> Result<Vec<u8>, StorageError> {
        self.dir.read(&file.name).map_err(|source| self.failed("read", &file.name, source))
    }

    /// The path of a file, for messages.
    fn display(&self, file: &SnapshotFile) -> String {
        self.dir.path().join(&file.name).display().to_string()
    }

    /// All snapshots, newest first.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotFile>, StorageError> {
        let mut found = Vec::new();
        for name in self.names()? {
            found.extend(parse_name(&name).map(|(term, index)| SnapshotFile { name, term, index }));
        }
        found.sort_by_key(|file| std::cmp::Reverse((file.index, file.term)));
        Ok(found)
    }

    /// Loads the newest usable snapshot. `purged` is the last index that the log no longer has: the state up to there
    /// must come from a snapshot.
    pub(crate) fn load(&self, purged: Option<u64>) -> Result<State, StorageError> {
        let mut damaged = Vec::new();
        let mut first_error = None;
        for file in self.list()? {
            if purged.is_some_and(|purged| file.index < purged) {
                break;
            }
            match decode(&self.read(&file)?, &self.display(&file)) {
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
            // The log has its first entry, so everything can be applied again.
            (None, _) => {
                self.set_aside(&damaged)?;
                Ok(State::default())
            }
            (Some(_), Some(error)) => Err(error),
            (Some(purged), None) => Err(StorageError::damaged(
                format!("the snapshot directory {}", self.dir.path().display()),
                format!("the log begins after entry {purged}, and no snapshot covers what came before"),
            )),
        }
    }

    /// Renames damaged files: they stay for inspection but are neither used nor sent.
    fn set_aside(&self, damaged: &[SnapshotFile]) -> Result<(), StorageError> {
        for SnapshotFile { name, .. } in damaged {
            let renamed = self.dir.rename(name, &format!("{name}.damaged"));
            renamed.map_err(|source| self.failed("rename", name, source))?;
        }
        self.sync_names()
    }

    /// Publishes what `fill` writes as a snapshot, durably, and removes snapshots beyond those that are kept. If
    /// writing fails, the next opening removes the unfinished file. Blocks.
    pub(crate) fn publish(&self, last: LogId, fill: Fill<'_>) -> Result<SnapshotFile, StorageError> {
        let _one_at_a_time = self.publishing.lock();
        let name = format!("{}-{}.snap", term_of(&last), last.index);
        let aside = format!("{name}{ASIDE}");
        let written = self.dir.create(&aside, fill).and_then(|()| self.dir.rename(&aside, &name));
        written.map_err(|source| self.failed("write", &name, source))?;
        self.sync_names()?;
        for old in self.list()?.into_iter().skip(FILES_KEPT) {
            self.dir.remove(&old.name).map_err(|source| self.failed("remove", &old.name, source))?;
        }
        self.sync_names()?;
        Ok(SnapshotFile { name, term: term_of(&last), index: last.index })
    }

    /// Reads and checks the newest snapshot. Blocks.
    pub(crate) fn current(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        let newest = self.list()?.into_iter().next();
        newest.map(|newest| self.read_checked(&newest)).transpose()
    }

    /// Reads and checks a snapshot. Blocks.
    pub(crate) fn read_checked(&self, file: &SnapshotFile) -> Result<(SnapshotMeta, Bytes), StorageError> {
        let bytes = self.read(file)?;
        let (meta, _) = check(&bytes, &self.display(file))?;
        let meta = SnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.membership };
        Ok((meta, bytes.into()))
    }

    /// Index and size of the newest snapshot.
    pub(crate) fn newest_size(&self) -> Option<(u64, u64)> {
        let newest = self.list().ok()?.into_iter().next()?;
        Some((newest.index, self.dir.length(&newest.name).ok()?))
    }
}

fn term_of(log_id: &LogId) -> u64 {
    **log_id.committed_leader_id()
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (term, index) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((term.parse().ok()?, index.parse().ok()?))
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        io::Error::other(error)
    }
}
