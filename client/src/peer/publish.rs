//! Publishes the user's own bytes: puts them in place, and takes them back if the index refuses.
//!
//! Invariant: the folder always has either the earlier bytes or recorded new ones. Refused bytes are kept as a conflict
//! copy. Everything here blocks.

use std::path::{Path, PathBuf};

use raft_store::types::{ContentHash, FencingToken, FileName, Version};

use super::error::FolderError;
use super::folder::{Disk, Folder};
use super::install::flush_parent;
use super::table::Copy;
use crate::files::{self, PartFile, Staged};

/// A running publication: the new bytes are in place, but the index has not accepted them yet.
#[derive(Debug)]
pub struct Publishing {
    /// The name.
    pub name: FileName,
    /// The copy to announce.
    pub copy: Copy,
    /// Conflict copy of other bytes of the user that were in the way.
    pub kept: Option<PathBuf>,
    /// The announced bytes that were there before.
    previous: Option<PartFile>,
    /// A task's copy that was pending there before.
    replaced: Option<Copy>,
    /// Whether the user edited the file in place. Then a roll-back leaves it alone.
    in_place: bool,
}

impl Folder {
    /// Stages bytes for a publication.
    pub fn stage_bytes(&self, bytes: &[u8]) -> Result<Staged, FolderError> {
        let tmp = self.tmp_dir();
        let part = PartFile::create(&tmp).map_err(|error| FolderError::io("create a file in", &tmp, error))?;
        let failed = |error| FolderError::io("write", part.path(), error);
        part.write_at(bytes, 0).map_err(failed)?;
        Ok(Staged { hash: files::hash_bytes(bytes), size: bytes.len() as u64, part })
    }

    /// Stages a copy of a file for a publication.
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
    /// Announce next. If the index accepts, call [`Folder::complete_publish`]; if it definitely refuses, call
    /// [`Folder::roll_back`]. If the outcome is unknown, call neither: the next registration settles it.
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
            // The bytes of a task are a version of the index, not the user's own.
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

    /// Second half: the index definitely refused. Moves the new bytes to a conflict copy, returns its path, and puts
    /// the earlier bytes back. An edit that the user made in place stays where it is (`None`).
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

    /// Records a published version whose bytes are already in place.
    ///
    /// # Errors
    /// [`FolderError::Changed`] if the bytes on disk are different ones.
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
