//! A partial file: written under a name of its own, moved into place only when its bytes are verified.
//!
//! Invariant: a partial file never shows under a final name; it is removed when it is dropped, and a crashed process's
//! leftover can be told from a live one's, because the live process holds a lock on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use raft_store::types::ContentHash;

use super::Stamp;

/// How partial files end.
pub const PART_SUFFIX: &str = ".part";
/// How earlier bytes that a publication may have to put back end.
pub const PREVIOUS_SUFFIX: &str = ".previous";

/// A file in the making.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    path: PathBuf,
}

impl PartFile {
    /// Creates an empty one in `dir`, which should be on the file system of the final place. Blocking.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let path = Self::fresh_path(dir, PART_SUFFIX);
        // Readable by others once it is in place, as any file the user would create; the process's umask decides.
        let file = File::options().read(true).write(true).create_new(true).mode(0o666).open(&path)?;
        file.lock()?;
        Ok(Self { file, path })
    }

    /// A second name for existing bytes, so that they outlive a replacement. Blocking.
    pub(crate) fn link(existing: &Path, dir: &Path) -> io::Result<Self> {
        let path = Self::fresh_path(dir, PREVIOUS_SUFFIX);
        fs::hard_link(existing, &path)?;
        let file = File::open(&path)?;
        let _ = file.try_lock(); // the editor may hold a lock of its own; then a crash leaves the link to the clean-up
        Ok(Self { file, path })
    }

    fn fresh_path(dir: &Path, suffix: &str) -> PathBuf {
        dir.join(format!(".raftshare-{:016x}{suffix}", rand::random::<u64>()))
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes at a position, in any order.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// A handle that writes from the current position on; for filling it front to back.
    pub fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Reads back from a position.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Reserves the final size, so that a full disk shows before the download and not at its end.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Flushes the bytes to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// What the file looks like; renaming does not change it.
    pub fn stamp(&self) -> io::Result<Stamp> {
        self.file.metadata().map(|metadata| Stamp::of(&metadata))
    }

    /// Moves it over `target`, replacing what is there.
    pub(crate) fn rename_over(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }

    /// Moves it to `target` only if nothing is there; otherwise gives itself back with `AlreadyExists`.
    pub(crate) fn rename_new(self, target: &Path) -> Result<(), (Self, io::Error)> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()), // dropping removes the first name
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err((self, error)),
            // A file system without hard links: a plain rename, after a look.
            Err(_) if fs::symlink_metadata(target).is_err() => {
                fs::rename(&self.path, target).map_err(|error| (self, error))
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After a rename there is nothing under this name; a name reused by somebody else has another inode.
        let ours = self.file.metadata().map(|metadata| metadata.ino()).ok();
        let there = fs::symlink_metadata(&self.path).map(|metadata| metadata.ino()).ok();
        if ours.is_some() && ours == there {
            let _ = fs::remove_file(&self.path); // a leftover is cleaned at the next start
        }
    }
}

/// Complete bytes with their hash, not yet in place.
#[derive(Debug)]
pub struct Staged {
    /// The bytes.
    pub part: PartFile,
    /// Their SHA-256, verified by whoever made this.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
}

/// Removes what crashed processes left in `dir`; earlier bytes of an unfinished publication go to `rescue`. Blocking.
///
/// Answers how many leftovers there were.
pub fn clean(dir: &Path, rescue: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let (part, previous) = (name.ends_with(PART_SUFFIX), name.ends_with(PREVIOUS_SUFFIX));
        let Ok(file) = File::open(&path) else { continue };
        if !(part || previous) || file.try_lock().is_err() {
            continue; // not ours, or its process lives
        }
        if previous {
            fs::rename(&path, rescue.join(name.trim_start_matches('.')))?;
        } else {
            fs::remove_file(&path)?;
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_part_disappears_and_a_renamed_one_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let part = PartFile::create(dir.path()).expect("create");
        part.write_at(b"xyz", 0).expect("write");
        drop(part);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
        let target = dir.path().join("final");
        let part = PartFile::create(dir.path()).expect("create");
        part.write_at(b"abc", 0).expect("write");
        part.rename_new(&target).expect("nothing is there");
        let part = PartFile::create(dir.path()).expect("create");
        let (part, error) = part.rename_new(&target).expect_err("something is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        drop(part);
        assert_eq!(fs::read(&target).expect("read"), b"abc");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn clean_up_removes_leftovers_but_not_what_is_in_use() {
        let dir = tempfile::tempdir().expect("temp dir");
        let rescue = tempfile::tempdir().expect("temp dir");
        let live = PartFile::create(dir.path()).expect("create");
        fs::write(dir.path().join(".raftshare-1.part"), "left by a crash").expect("write");
        fs::write(dir.path().join(".raftshare-2.previous"), "old bytes").expect("write");
        assert_eq!(clean(dir.path(), rescue.path()).expect("clean"), 2);
        assert!(live.path().exists());
        assert_eq!(fs::read(rescue.path().join("raftshare-2.previous")).expect("rescued"), b"old bytes");
    }
}
