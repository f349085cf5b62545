//! Puts bytes in place, and takes them away, without ever losing what was there.
//!
//! Everything happens under the folder's install lock: look again, note what is about to be put in place, move. So a
//! crash at any point leaves either the old bytes or noted new ones. Invariants: nothing but bytes that were announced
//! is ever replaced; the user's own bytes go to a conflict copy first, also when they appear in the very last moment; a
//! final name always has complete, verified bytes. Everything here blocks.

use std::path::{Path, PathBuf};

use raft_store::types::{ContentHash, FencingToken, FileName, Version};

use super::conflict;
use super::error::FolderError;
use super::folder::{Disk, Folder};
use super::rules::{Order, Refusal, Verdict, decide};
use super::table::Copy;
use crate::files::{self, PartFile, Staged, Stamp};

/// What became of a task's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// They are in place, or were already; announce them now, then [`Folder::accept`].
    Ready {
        /// The copy to announce.
        copy: Copy,
        /// Where the user's own bytes went, if there were any.
        kept: Option<PathBuf>,
    },
    /// The rules forbid it (F8, L8).
    Refused(Refusal),
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// Moved into the trash.
    Trashed(PathBuf),
    /// The user's own bytes were moved to a conflict copy.
    SetAside(PathBuf),
    /// There was nothing.
    NothingThere,
    /// The rules forbid it (F8, L8).
    Refused(Refusal),
}

/// A publication under way: the new bytes are in place, the index has not said yes yet.
#[derive(Debug)]
pub struct Publishing {
    /// The name.
    pub name: FileName,
    /// What is to be announced.
    pub copy: Copy,
    /// Where other bytes of the user went that were in the way.
    pub kept: Option<PathBuf>,
    /// The announced bytes that were there before.
    previous: Option<PartFile>,
    /// What was pending there before: a task's copy that the index had not accepted yet.
    replaced: Option<Copy>,
    /// Whether the user had edited the file in place: then taking back means leaving it alone.
    in_place: bool,
}

impl Folder {
    /// What a task may do now; for looking before fetching. [`Folder::install`] decides again under the lock.
    pub fn decide(&self, name: &FileName, order: Order) -> Result<Verdict, FolderError> {
        let record = self.record(name)?;
        Ok(decide(&record, &self.disk_against(&record)?, order))
    }

    /// Puts the bytes of a `REPLICATE` or `UPDATE` task in place (F8, L8).
    ///
    /// # Errors
    /// I/O errors, a full disk, or [`FolderError::Changed`] if the file changes faster than it can be looked at.
    pub fn install(&self, staged: Staged, name: &FileName, order: Order) -> Result<Placed, FolderError> {
        let failed = |error| FolderError::io("write", staged.part.path(), error);
        staged.part.sync().map_err(failed)?;
        let stamp = staged.part.stamp().map_err(failed)?;
        let copy = Copy { version: order.version, hash: staged.hash, stamp, fence: order.fence };
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        match decide(&record, &disk, order) {
            Verdict::Fetch => {}
            Verdict::Adopt => return self.adopt_locked(name, &disk, order),
            Verdict::Refuse(refusal) => return Ok(Placed::Refused(refusal)),
            Verdict::Trash | Verdict::SetAside | Verdict::NothingThere => {
                return Ok(Placed::Refused(Refusal::NoHash)); // a removal has no bytes to install
            }
        }
        let path = self.prepare_parent(name)?;
        self.table.update(name, |record| {
            record.saw(0, copy.fence);
            (record.pending, record.pending_own) = (Some(copy), false);
        })?;
        let replaceable = match disk {
            Disk::Announced(old) => Some(old),
            Disk::Pending(old) if !record.pending_own => Some(old),
            Disk::Absent | Disk::Pending(_) | Disk::Other { .. } => None,
        };
        let kept = match replaceable {
            Some(old) => self.replace(staged.part, &path, old)?.1,
            None => {
                let kept = if disk == Disk::Absent { None } else { Some(self.set_aside(name, &path)?) };
                self.create(staged.part, name, &path)?;
                kept
            }
        };
        Ok(Placed::Ready { copy, kept })
    }

    /// The bytes of a task are here already (F8): note them as pending, so that they can be announced.
    pub fn adopt(&self, name: &FileName, order: Order) -> Result<Placed, FolderError> {
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        match decide(&record, &disk, order) {
            Verdict::Adopt => self.adopt_locked(name, &disk, order),
            Verdict::Refuse(refusal) => Ok(Placed::Refused(refusal)),
            Verdict::Fetch | Verdict::Trash | Verdict::SetAside | Verdict::NothingThere => {
                Err(FolderError::Changed { name: name.clone() })
            }
        }
    }

    fn adopt_locked(&self, name: &FileName, disk: &Disk, order: Order) -> Result<Placed, FolderError> {
        let (hash, stamp) = match disk {
            Disk::Announced(copy) | Disk::Pending(copy) => (copy.hash, copy.stamp),
            Disk::Other { hash, stamp } => (*hash, *stamp),
            Disk::Absent => return Err(FolderError::Changed { name: name.clone() }),
        };
        let copy = Copy { version: order.version, hash, stamp, fence: order.fence };
        self.table.update(name, |record| {
            record.saw(0, copy.fence);
            (record.pending, record.pending_own) = (Some(copy), false);
        })?;
        Ok(Placed::Ready { copy, kept: None })
    }

    /// The index accepted the copy: this peer is its holder from now on.
    pub fn accept(&self, name: &FileName, copy: Copy) -> Result<(), FolderError> {
        self.table.update(name, |record| record.hold(copy)).map(drop)
    }

    /// The index does not count this peer as a holder (any more). Version and fencing token stay remembered.
    pub fn drop_holding(&self, name: &FileName) -> Result<(), FolderError> {
        let drop_it = |record: &mut super::table::Record| {
            record.held = None;
            record.no_longer_pending();
        };
        self.table.update(name, drop_it).map(drop)
    }

    /// Whether the user's edit that a look found is still what is there. A publication or a task may have put the file
    /// in place between the look at the table and the look at the disk; then it is no edit, and its holding must stay.
    pub(super) fn is_still_edited(&self, name: &FileName, stamp: Stamp) -> Result<bool, FolderError> {
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        Ok(record.pending.is_none() && matches!(disk, Disk::Other { stamp: now, .. } if now == stamp))
    }

    /// The index dropped the holding of a copy. Answers whether a newer copy is here, or being put in place, which the
    /// index may have dropped with it: then it has to be announced again.
    pub(super) fn withdrawn(&self, name: &FileName, copy: Option<Copy>) -> Result<bool, FolderError> {
        let drop_it = |record: &mut super::table::Record| {
            if record.held == copy {
                record.held = None;
                if !record.pending_own {
                    record.no_longer_pending();
                }
            }
        };
        let record = self.table.update(name, drop_it)?;
        Ok(record.held.is_some() || record.pending_own)
    }

    /// Executes a `REMOVE` task (F7, F8, L8). The holding itself is dropped by the caller, once the index knows.
    pub fn remove(&self, name: &FileName, order: Order) -> Result<Removed, FolderError> {
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        let removed = match decide(&record, &disk, order) {
            Verdict::Trash => Removed::Trashed(self.move_to_trash(name)?),
            Verdict::SetAside => Removed::SetAside(self.set_aside(name, &self.path_of(name))?),
            Verdict::NothingThere => Removed::NothingThere,
            Verdict::Refuse(refusal) => return Ok(Removed::Refused(refusal)),
            Verdict::Fetch | Verdict::Adopt => return Ok(Removed::Refused(Refusal::NoHash)),
        };
        self.table.update(name, |record| record.saw(order.version, order.fence))?;
        Ok(removed)
    }

    /// Moves the user's own copy into the trash (`raftshare rm`), whatever its bytes are. `None` if there is none.
    pub fn trash(&self, name: &FileName) -> Result<Option<PathBuf>, FolderError> {
        let _guard = self.lock_installs()?;
        if self.existing_path(name)?.is_none() { Ok(None) } else { self.move_to_trash(name).map(Some) }
    }

    /// Moves the bytes under a name to a conflict copy next to it (F4). `None` if there are none.
    pub fn keep_as_conflict(&self, name: &FileName) -> Result<Option<PathBuf>, FolderError> {
        let _guard = self.lock_installs()?;
        if self.existing_path(name)?.is_none() {
            return Ok(None);
        }
        self.set_aside(name, &self.path_of(name)).map(Some)
    }

    fn set_aside(&self, name: &FileName, path: &Path) -> Result<PathBuf, FolderError> {
        let target = conflict::free_path(path, &self.peer_id())
            .ok_or_else(|| FolderError::InTheWay { name: name.clone(), path: path.to_owned() })?;
        move_and_flush(path, &target)?;
        Ok(target)
    }

    fn move_to_trash(&self, name: &FileName) -> Result<PathBuf, FolderError> {
        let path = self.path_of(name);
        let target = self.trash_dir().join(format!("{}-{:08x}", conflict::unix_seconds(), rand::random::<u32>()));
        // The whole relative path is kept below, so that a copy can be put back where it was.
        let target = target.join(name.as_str());
        let parent = target.parent().unwrap_or(&target);
        std::fs::create_dir_all(parent).map_err(|error| FolderError::io("create", parent, error))?;
        move_and_flush(&path, &target)?;
        Ok(target)
    }

    /// Puts a part where nothing is.
    fn create(&self, part: PartFile, name: &FileName, path: &Path) -> Result<(), FolderError> {
        part.rename_new(path).map_err(|(_, error)| match error.kind() {
            std::io::ErrorKind::AlreadyExists if path.is_dir() => {
                FolderError::InTheWay { name: name.clone(), path: path.to_owned() }
            }
            std::io::ErrorKind::AlreadyExists => FolderError::Changed { name: name.clone() },
            _ => FolderError::io("create", path, error),
        })?;
        flush_parent(path)
    }

    /// Puts a part where announced bytes are. If the user changed them in the last moment, they go to a conflict copy.
    fn replace(
        &self,
        part: PartFile,
        path: &Path,
        old: Copy,
    ) -> Result<(Option<PartFile>, Option<PathBuf>), FolderError> {
        let failed = |error| FolderError::io("replace", path, error);
        let previous = PartFile::link(path, &self.tmp_dir()).ok(); // a file system may have no hard links
        part.rename_over(path).map_err(failed)?;
        flush_parent(path)?;
        let Some(previous) = previous else { return Ok((None, None)) };
        if previous.stamp().map_err(failed)? == old.stamp {
            return Ok((Some(previous), None));
        }
        let kept =
            conflict::free_path(path, &self.peer_id()).ok_or_else(|| failed(std::io::Error::other("no free name")))?;
        previous.rename_over(&kept).map_err(failed)?;
        Ok((None, Some(kept)))
    }

    /// Stages bytes of the user's own for a publication.
    pub fn stage_bytes(&self, bytes: &[u8]) -> Result<Staged, FolderError> {
        let tmp = self.tmp_dir();
        let part = PartFile::create(&tmp).map_err(|error| FolderError::io("create a file in", &tmp, error))?;
        let failed = |error| FolderError::io("write", part.path(), error);
        part.write_at(bytes, 0).map_err(failed)?;
        Ok(Staged { hash: files::hash_bytes(bytes), size: bytes.len() as u64, part })
    }

    /// Stages a copy of any file of the user's for a publication.
    pub fn stage_file(&self, from: &Path) -> Result<Staged, FolderError> {
        let tmp = self.tmp_dir();
        let part = PartFile::create(&tmp).map_err(|error| FolderError::io("create a file in", &tmp, error))?;
        let mut source = std::fs::File::open(from).map_err(|error| FolderError::io("open", from, error))?;
        let mut target = part.writer().map_err(|error| FolderError::io("write", part.path(), error))?;
        std::io::copy(&mut source, &mut target).map_err(|error| FolderError::io("copy", from, error))?;
        let (hash, stamp) =
            files::hash_file(part.path()).map_err(|error| FolderError::io("read", part.path(), error))?;
        Ok(Staged { part, hash, size: stamp.size })
    }

    /// First half of a publication: puts the new bytes in place, to be announced as `version` under a lease.
    ///
    /// Then announce, and finish with [`Folder::complete_publish`] if it was accepted or [`Folder::roll_back`] if it
    /// was definitely refused. While the outcome is unknown do neither: the next registration settles it.
    pub fn begin_publish(
        &self,
        staged: Staged,
        name: &FileName,
        version: Version,
        fence: FencingToken,
    ) -> Result<Publishing, FolderError> {
        let failed = |error| FolderError::io("write", staged.part.path(), error);
        staged.part.sync().map_err(failed)?;
        let stamp = staged.part.stamp().map_err(failed)?;
        let copy = Copy { version, hash: staged.hash, stamp, fence };
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        let path = self.prepare_parent(name)?;
        self.table.update(name, |record| (record.pending, record.pending_own) = (Some(copy), true))?;
        let replaced = record.pending.filter(|pending| !record.pending_own && disk == Disk::Pending(*pending));
        let in_place = disk.hash() == Some(staged.hash);
        let (previous, kept) = match disk {
            Disk::Absent => {
                self.create(staged.part, name, &path)?;
                (None, None)
            }
            Disk::Announced(old) => self.replace(staged.part, &path, old)?,
            Disk::Pending(_) | Disk::Other { .. } if in_place => {
                staged.part.rename_over(&path).map_err(|error| FolderError::io("replace", &path, error))?;
                flush_parent(&path)?;
                (None, None)
            }
            // Bytes of a task: a version of the index, not the user's.
            Disk::Pending(old) if replaced.is_some() => self.replace(staged.part, &path, old)?,
            Disk::Pending(_) | Disk::Other { .. } => {
                let kept = self.set_aside(name, &path)?;
                self.create(staged.part, name, &path)?;
                (None, Some(kept))
            }
        };
        Ok(Publishing { name: name.clone(), copy, kept, previous, replaced, in_place })
    }

    /// Second half: the index accepted the publication.
    pub fn complete_publish(
        &self,
        publishing: Publishing,
        version: Version,
        fence: Option<FencingToken>,
    ) -> Result<(), FolderError> {
        let copy = Copy { version, fence: fence.unwrap_or(publishing.copy.fence), ..publishing.copy };
        self.accept(&publishing.name, copy)
    }

    /// Second half: the index definitely refused. The new bytes go to a conflict copy, whose path is answered, and the
    /// earlier ones come back; an edit that the user made in place stays where it is (`None`).
    pub fn roll_back(&self, publishing: Publishing) -> Result<Option<PathBuf>, FolderError> {
        let Publishing { name, copy, previous, replaced, in_place, .. } = publishing;
        let _guard = self.lock_installs()?;
        let disk = self.disk_against(&self.record(&name)?)?;
        self.table.update(&name, |record| (record.pending, record.pending_own) = (replaced, false))?;
        if in_place || disk.hash() != Some(copy.hash) {
            return Ok(None);
        }
        let path = self.path_of(&name);
        let kept = self.set_aside(&name, &path)?;
        if let Some(previous) = previous {
            self.create(previous, &name, &path)?;
        }
        Ok(Some(kept))
    }

    /// Records a version that was published with bytes already in place.
    ///
    /// # Errors
    /// [`FolderError::Changed`] if the bytes on disk are not (or no longer) those.
    pub fn record_published(
        &self,
        name: &FileName,
        version: Version,
        hash: ContentHash,
        fence: FencingToken,
    ) -> Result<(), FolderError> {
        let stamp = match self.disk(name)? {
            Disk::Announced(copy) | Disk::Pending(copy) if copy.hash == hash => copy.stamp,
            Disk::Other { hash: found, stamp } if found == hash => stamp,
            _ => return Err(FolderError::Changed { name: name.clone() }),
        };
        self.accept(name, Copy { version, hash, stamp, fence })
    }
}

fn move_and_flush(from: &Path, to: &Path) -> Result<(), FolderError> {
    std::fs::rename(from, to).map_err(|error| FolderError::io("move", from, error))?;
    flush_parent(to)?;
    flush_parent(from)
}

fn flush_parent(path: &Path) -> Result<(), FolderError> {
    let parent = path.parent().unwrap_or(path);
    files::sync_dir(parent).map_err(|error| FolderError::io("flush", parent, error))
}
