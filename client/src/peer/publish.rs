//! Publishing the user's own bytes: into place first, then to the index, and back if it refuses.
//!
//! Invariant: at every moment the folder has the earlier bytes or noted new ones; what a refusal takes back is kept as a
//! conflict copy. Everything here blocks.

use std::path::{Path, PathBuf};

use raft_store::types::{ContentHash, FencingToken, FileName, Version};

use super::error::FolderError;
use super::folder::{Disk, Folder};
use super::install::flush_parent;
use super::table::Copy;
use crate::files::{self, PartFile, Staged};

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
