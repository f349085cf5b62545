//! A shared folder: opening it, and turning names into paths. Its private state is in `.raftshare/`.
//!
//! ```text
//! .raftshare/identity.json   peer id and secret          files.jsonl   the table of known files
//!            serving         held by a running `serve`   lock, install.lock   short locks between processes
//!            leases.json     the command line's leases   tmp/  partial downloads   trash/  removed copies
//! ```
//! Invariants: nothing in a `.raftshare/` is ever shared, nor is a nested folder that is shared separately. No name
//! leads out of the folder, not even through links. State files are replaced atomically. Everything here blocks, so
//! async callers use `spawn_blocking`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use raft_store::types::{ContentHash, FileName, PeerId, STATE_FOLDER, is_state_folder};

use super::error::FolderError;
use super::identity::Identity;
use super::locks::lock_file;
use super::table::{Copy, Record, Table};
use crate::files::{self, Stamp};

/// Name of the private folder (F1).
pub const STATE_DIR: &str = STATE_FOLDER;
/// An open shared folder; share it in an `Arc`.
pub struct Folder {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    identity: RwLock<Identity>,
    pub(super) table: Table,
    /// Hashes of unannounced bytes, so that none is computed twice. At most one per file.
    hashes: Mutex<HashMap<FileName, (Stamp, ContentHash)>>,
    /// Files that a request to the index is announcing right now, with their hashes. At most those of one registration.
    announcing: Mutex<HashMap<FileName, ContentHash>>,
}

/// A guard: until it is dropped, its files count as being announced.
pub(super) struct Announcing<'a> {
    folder: &'a Folder,
    names: Vec<FileName>,
}

impl Drop for Announcing<'_> {
    fn drop(&mut self) {
        let mut announcing = self.folder.announcing.lock();
        for name in &self.names {
            announcing.remove(name);
        }
    }
}

/// What is on disk under a name, compared with what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// No file.
    Absent,
    /// Exactly the bytes that were last announced.
    Announced(Copy),
    /// Bytes that a task or a publication put in place, and that the index has not accepted yet.
    Pending(Copy),
    /// The user's own bytes, never announced.
    Other {
        /// Their hash.
        hash: ContentHash,
        /// The file's stamp.
        stamp: Stamp,
    },
}

impl Disk {
    /// Hash of the bytes, if there are any.
    pub fn hash(&self) -> Option<ContentHash> {
        match self {
            Disk::Absent => None,
            Disk::Announced(copy) | Disk::Pending(copy) => Some(copy.hash),
            Disk::Other { hash, .. } => Some(*hash),
        }
    }
}

impl Folder {
    /// Opens a folder. Creates it if it is missing, and makes it a shared folder if it is not one yet.
    ///
    /// `peer_id` is the peer id for a new folder; a folder that has another id is refused.
    pub fn open(dir: &Path, peer_id: Option<PeerId>) -> Result<Self, FolderError> {
        fs::create_dir_all(dir).map_err(|error| FolderError::io("create", dir, error))?;
        let root = fs::canonicalize(dir).map_err(|error| FolderError::io("open", dir, error))?;
        if root.components().any(|part| part.as_os_str().to_str().is_some_and(is_state_folder)) {
            return Err(FolderError::InState { path: root });
        }
        let state = root.join(STATE_DIR);
        for folder in [state.clone(), state.join("tmp"), state.join("trash")] {
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(FolderError::io("create", &folder, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let path = state.join("identity.json");
        let identity = match Identity::load(&path)? {
            Some(identity) => identity,
            None => Self::create_identity(&state, peer_id.clone())?,
        };
        if let Some(asked) = peer_id.filter(|asked| *asked != identity.peer_id) {
            return Err(FolderError::WrongPeer { path: root, has: identity.peer_id, asked });
        }
        let table = Table::open(&state)?;
        Ok(Self {
            root,
            state,
            identity: RwLock::new(identity),
            table,
            hashes: Mutex::default(),
            announcing: Mutex::default(),
        })
    }

    /// Two processes may open a new folder at once; under the lock both get the same id.
    fn create_identity(state: &Path, peer_id: Option<PeerId>) -> Result<Identity, FolderError> {
        let _guard = lock_file(&state.join("install.lock"))?;
        let path = state.join("identity.json");
        if let Some(identity) = Identity::load(&path)? {
            return Ok(identity);
        }
        let identity = Identity::new(peer_id);
        identity.store(&path)?;
        Ok(identity)
    }

    /// Opens a folder only if it is already shared.
    pub fn open_existing(dir: &Path) -> Result<Option<Self>, FolderError> {
        if dir.join(STATE_DIR).join("identity.json").exists() { Self::open(dir, None).map(Some) } else { Ok(None) }
    }

    /// The folder's absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of partial downloads.
    pub fn tmp_dir(&self) -> PathBuf {
        self.state.join("tmp")
    }

    /// Directory of removed copies.
    pub fn trash_dir(&self) -> PathBuf {
        self.state.join("trash")
    }

    /// File of the leases that the command line keeps; written with [`files::write_atomic`].
    pub fn leases_path(&self) -> PathBuf {
        self.state.join("leases.json")
    }

    /// The folder's identity, as last read.
    pub fn identity(&self) -> Identity {
        self.identity.read().clone()
    }

    /// The peer id; it never changes.
    pub fn peer_id(&self) -> PeerId {
        self.identity.read().peer_id.clone()
    }

    /// Reads the identity again, because another process may have registered.
    pub fn reload_identity(&self) -> Result<Identity, FolderError> {
        if let Some(identity) = Identity::load(&self.state.join("identity.json"))? {
            *self.identity.write() = identity;
        }
        Ok(self.identity())
    }

    /// Changes the secret, the incarnation or the address, durably.
    pub fn update_identity(&self, change: impl FnOnce(&mut Identity)) -> Result<Identity, FolderError> {
        let _guard = self.lock_installs()?;
        let mut identity = self.reload_identity()?;
        let before = identity.clone();
        change(&mut identity);
        if identity != before {
            identity.store(&self.state.join("identity.json"))?;
            *self.identity.write() = identity.clone();
        }
        Ok(identity)
    }

    /// Marks files as being announced: the index may send other peers here before its response arrives.
    pub(super) fn announcing<'a>(
        &self,
        files: impl IntoIterator<Item = (&'a FileName, ContentHash)>,
    ) -> Announcing<'_> {
        let files: Vec<(FileName, ContentHash)> = files.into_iter().map(|(name, hash)| (name.clone(), hash)).collect();
        let names = files.iter().map(|(name, _)| name.clone()).collect();
        self.announcing.lock().extend(files);
        Announcing { folder: self, names }
    }

    /// Whether these bytes are being announced under this name.
    pub(super) fn is_being_announced(&self, name: &FileName, hash: ContentHash) -> bool {
        self.announcing.lock().get(name) == Some(&hash)
    }

    /// Whether the folder is still there. An unmounted disk must not look like a thousand deletions.
    pub fn is_present(&self) -> bool {
        self.state.join("identity.json").exists()
    }

    /// The record of a name, including changes by other processes.
    pub fn record(&self, name: &FileName) -> Result<Record, FolderError> {
        self.table.refresh()?;
        Ok(self.table.get(name).unwrap_or_else(|| Record::new(name.clone())))
    }

    /// All records in name order, including changes by other processes.
    pub fn records(&self) -> Result<Vec<Record>, FolderError> {
        self.table.refresh()?;
        Ok(self.table.records())
    }

    /// The path of a name, whether or not the file exists.
    pub fn path_of(&self, name: &FileName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// The real path of an existing regular file; `None` if there is none.
    ///
    /// # Errors
    /// [`FolderError::Outside`] if a link leads out of the folder or into its state; [`FolderError::Nested`] if the
    /// name is in a nested folder that is shared separately.
    pub fn existing_path(&self, name: &FileName) -> Result<Option<PathBuf>, FolderError> {
        let path = self.path_of(name);
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(FolderError::io("open", &path, error)),
        };
        if !self.contains(&real) {
            return Err(FolderError::Outside { name: name.clone() });
        }
        self.refuse_nested(name, &path)?;
        if real != path {
            self.refuse_nested(name, &real)?;
        }
        Ok(real.is_file().then_some(real))
    }

    /// The outermost separately shared folder on the way to a path (F1).
    pub(super) fn nested_share(&self, path: &Path) -> Option<PathBuf> {
        let inner: Vec<&Path> = path.ancestors().skip(1).take_while(|above| *above != self.root).collect();
        inner.into_iter().rev().find(|dir| is_shared(dir)).map(Path::to_owned)
    }

    fn refuse_nested(&self, name: &FileName, path: &Path) -> Result<(), FolderError> {
        match self.nested_share(path) {
            Some(inner) => Err(FolderError::Nested { name: name.clone(), inner }),
            None => Ok(()),
        }
    }

    /// Whether a canonical path is in the shared part of the folder.
    pub(super) fn contains(&self, real: &Path) -> bool {
        let Ok(below) = real.strip_prefix(&self.root) else { return false };
        !below.components().any(|part| part.as_os_str().to_str().is_some_and(is_state_folder))
    }

    /// Creates the folders on the way to a name and returns its path.
    pub(super) fn prepare_parent(&self, name: &FileName) -> Result<PathBuf, FolderError> {
        let mut path = self.root.clone();
        let segments: Vec<&str> = name.as_str().split('/').collect();
        for segment in &segments[..segments.len() - 1] {
            let parent = path.clone();
            path.push(segment);
            match fs::create_dir(&path) {
                Ok(()) => files::sync_dir(&parent).map_err(|error| FolderError::io("flush", &parent, error))?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    let real = fs::canonicalize(&path).map_err(|error| FolderError::io("open", &path, error))?;
                    if !self.contains(&real) {
                        return Err(FolderError::Outside { name: name.clone() });
                    }
                    if !real.is_dir() {
                        return Err(FolderError::InTheWay { name: name.clone(), path });
                    }
                    if is_shared(&real) {
                        return Err(FolderError::Nested { name: name.clone(), inner: path });
                    }
                }
                Err(error) => return Err(FolderError::io("create", &path, error)),
            }
        }
        path.push(segments[segments.len() - 1]);
        Ok(path)
    }

    /// What is on disk under a name. Reads the bytes only if the stamp has changed.
    pub fn disk(&self, name: &FileName) -> Result<Disk, FolderError> {
        let record = self.record(name)?;
        self.disk_against(&record)
    }

    /// Like [`Folder::disk`], with a record that was read before.
    pub(super) fn disk_against(&self, record: &Record) -> Result<Disk, FolderError> {
        let Some(path) = self.existing_path(&record.name)? else { return Ok(Disk::Absent) };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(Disk::Absent),
            Err(error) => return Err(FolderError::io("open", &path, error)),
        };
        let stamp = Stamp::of(&metadata);
        if let Some(copy) = record.held.filter(|copy| copy.stamp == stamp) {
            return Ok(Disk::Announced(copy));
        }
        if let Some(copy) = record.pending.filter(|copy| copy.stamp == stamp) {
            return Ok(Disk::Pending(copy));
        }
        let (hash, stamp) = self.hash_cached(&record.name, &path, stamp)?;
        if let Some(copy) = record.held.filter(|copy| copy.hash == hash) {
            return Ok(Disk::Announced(Copy { stamp, ..copy }));
        }
        if let Some(copy) = record.pending.filter(|copy| copy.hash == hash) {
            return Ok(Disk::Pending(Copy { stamp, ..copy }));
        }
        Ok(Disk::Other { hash, stamp })
    }

    fn hash_cached(&self, name: &FileName, path: &Path, stamp: Stamp) -> Result<(ContentHash, Stamp), FolderError> {
        if let Some((seen, hash)) = self.hashes.lock().get(name)
            && *seen == stamp
        {
            return Ok((*hash, *seen));
        }
        let (hash, stamp) = files::hash_file(path).map_err(|error| FolderError::io("read", path, error))?;
        self.hashes.lock().insert(name.clone(), (stamp, hash));
        Ok((hash, stamp))
    }
}

/// Whether the file does not exist, or a folder on the way to it is a file.
pub(super) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Whether a folder is a shared folder.
pub(super) fn is_shared(dir: &Path) -> bool {
    dir.join(STATE_DIR).is_dir()
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
