//! Puts bytes in place and removes them, without losing what was there.
//!
//! Every change happens under the folder's install lock in three steps: check again, record what is about to be put in
//! place, move. A crash at any point leaves either the old bytes or recorded new ones.
//!
//! Invariants: only announced bytes are ever replaced. The user's own bytes first go to a conflict copy, even if they
//! appear at the last moment. A final name always has complete, verified bytes. Everything here blocks.

use std::path::{Path, PathBuf};

use raft_store::types::FileName;

use super::conflict;
use super::error::FolderError;
use super::folder::{Disk, Folder};
use super::rules::{Order, Refusal, Verdict, decide};
use super::table::Copy;
use crate::files::{self, PartFile, Staged, Stamp};

/// What happened to the bytes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// They are in place. Announce them now, then call [`Folder::accept`].
    Ready {
        /// The copy to announce.
        copy: Copy,
        /// Conflict copy of the user's own bytes, if there were any.
        kept: Option<PathBuf>,
    },
    /// The rules forbid the task (F8, L8).
    Refused(Refusal),
}

/// What happened to a file that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It was moved to the trash.
    Trashed(PathBuf),
    /// The user's own bytes were moved to a conflict copy.
    SetAside(PathBuf),
    /// There was no file.
    NothingThere,
    /// The rules forbid the task (F8, L8).
    Refused(Refusal),
}

impl Folder {
    /// What a task may do now, to be asked before fetching. [`Folder::install`] decides again under the lock.
    pub fn decide(&self, name: &FileName, order: Order) -> Result<Verdict, FolderError> {
        let record = self.record(name)?;
        Ok(decide(&record, &self.disk_against(&record)?, order))
    }

    /// Puts the bytes of a `REPLICATE` or `UPDATE` task in place (F8, L8).
    ///
    /// # Errors
    /// I/O errors, a full disk, or [`FolderError::Changed`] if the file keeps changing.
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

    /// Records bytes that are already here as pending, so that they can be announced (F8).
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

    /// Records that the index accepted the copy: this peer is now a holder.
    pub fn accept(&self, name: &FileName, copy: Copy) -> Result<(), FolderError> {
        self.table.update(name, |record| record.hold(copy)).map(drop)
    }

    /// Records that the index does not count this peer as a holder. The version and the fencing token are kept.
    pub fn drop_holding(&self, name: &FileName) -> Result<(), FolderError> {
        let drop_it = |record: &mut super::table::Record| {
            record.held = None;
            record.no_longer_pending();
        };
        self.table.update(name, drop_it).map(drop)
    }

    /// Whether an edit that a scan found is still there. A publication or a task may have put the file in place after
    /// the scan read the table and before it read the disk. Then it is not an edit, and its holding must stay.
    pub(super) fn is_still_edited(&self, name: &FileName, stamp: Stamp) -> Result<bool, FolderError> {
        let _guard = self.lock_installs()?;
        let record = self.record(name)?;
        let disk = self.disk_against(&record)?;
        Ok(record.pending.is_none() && matches!(disk, Disk::Other { stamp: now, .. } if now == stamp))
    }

    /// Records that the index dropped a holding. Returns whether a newer copy is here or being put in place. The index
    /// may have dropped that one as well, so it has to be announced again.
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

    /// Executes a `REMOVE` task (F7, F8, L8). The caller drops the holding once the index knows.
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

    /// Moves the copy to the trash (`raftshare rm`), whatever its bytes are. `None` if there is no copy.
    pub fn trash(&self, name: &FileName) -> Result<Option<PathBuf>, FolderError> {
        let _guard = self.lock_installs()?;
        if self.existing_path(name)?.is_none() { Ok(None) } else { self.move_to_trash(name).map(Some) }
    }

    /// Moves the bytes under a name to a conflict copy next to it (F4). `None` if there is no file.
    pub fn keep_as_conflict(&self, name: &FileName) -> Result<Option<PathBuf>, FolderError> {
        let _guard = self.lock_installs()?;
        if self.existing_path(name)?.is_none() {
            return Ok(None);
        }
        self.set_aside(name, &self.path_of(name)).map(Some)
    }

    pub(super) fn set_aside(&self, name: &FileName, path: &Path) -> Result<PathBuf, FolderError> {
        let target = conflict::free_path(path, &self.peer_id())
            .ok_or_else(|| FolderError::InTheWay { name: name.clone(), path: path.to_owned() })?;
        move_and_flush(path, &target)?;
        Ok(target)
    }

    fn move_to_trash(&self, name: &FileName) -> Result<PathBuf, FolderError> {
        let path = self.path_of(name);
        let target = self.trash_dir().join(format!("{}-{:08x}", conflict::unix_seconds(), rand::random::<u32>()));
        // The relative path is kept, so that a copy can be put back where it was.
        let target = target.join(name.as_str());
        let parent = target.parent().unwrap_or(&target);
        std::fs::create_dir_all(parent).map_err(|error| FolderError::io("create", parent, error))?;
        move_and_flush(&path, &target)?;
        Ok(target)
    }

    /// Moves a part file to a path where nothing is.
    pub(super) fn create(&self, part: PartFile, name: &FileName, path: &Path) -> Result<(), FolderError> {
        part.rename_new(path).map_err(|(_, error)| match error.kind() {
            std::io::ErrorKind::AlreadyExists if path.is_dir() => {
                FolderError::InTheWay { name: name.clone(), path: path.to_owned() }
            }
            std::io::ErrorKind::AlreadyExists => FolderError::Changed { name: name.clone() },
            _ => FolderError::io("create", path, error),
        })?;
        flush_parent(path)
    }

    /// Moves a part file over announced bytes. If the user has just changed them, they go to a conflict copy.
    pub(super) fn replace(
        &self,
        part: PartFile,
        path: &Path,
        old: Copy,
    ) -> Result<(Option<PartFile>, Option<PathBuf>), FolderError> {
        let failed = |error| FolderError::io("replace", path, error);
        let previous = PartFile::link(path, &self.tmp_dir()).ok(); // the file system may have no hard links
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
}

fn move_and_flush(from: &Path, to: &Path) -> Result<(), FolderError> {
    std::fs::rename(from, to).map_err(|error| FolderError::io("move", from, error))?;
    flush_parent(to)?;
    flush_parent(from)
}

pub(super) fn flush_parent(path: &Path) -> Result<(), FolderError> {
    let parent = path.parent().unwrap_or(path);
    files::sync_dir(parent).map_err(|error| FolderError::io("flush", parent, error))
}
