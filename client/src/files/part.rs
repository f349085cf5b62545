//! A part file: bytes under a temporary name, moved into place once they are verified.
//!
//! Invariants: an unverified file never has its final name, and dropping a part file removes it. A running process
//! holds a lock on its part files, so the leftovers of a crashed one can be told apart.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use raft_store::types::ContentHash;

use super::Stamp;

/// Suffix of part files.
pub const PART_SUFFIX: &str = ".part";
/// Suffix of earlier bytes that a refused publication puts back.
pub const PREVIOUS_SUFFIX: &str = ".previous";

/// A file that is being written.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    path: PathBuf,
}

impl PartFile {
    /// Creates an empty part file in `dir`, which should be on the same file system as the final path. Blocking.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let path = Self::fresh_path(dir, PART_SUFFIX);
        // Like any new file of the user, it is as readable as the umask allows.
        let file = File::options().read(true).write(true).create_new(true).mode(0o666).open(&path)?;
        file.lock()?;
        Ok(Self { file, path })
    }

    /// Gives existing bytes a second name, so that they survive being replaced. Blocking.
    pub(crate) fn link(existing: &Path, dir: &Path) -> io::Result<Self> {
        let path = Self::fresh_path(dir, PREVIOUS_SUFFIX);
        fs::hard_link(existing, &path)?;
        let file = File::open(&path)?;
        // An editor may hold its own lock. Then, after a crash, `clean` takes the link for a leftover.
        let _ = file.try_lock();
        Ok(Self { file, path })
    }

    fn fresh_path(dir: &Path, suffix: &str) -> PathBuf {
        dir.join(format!(".raftshare-{:016x}{suffix}", rand::random::<u64>()))
    }

    /// Its current path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes at an offset; the order of writes does not matter.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// A handle for writing front to back.
    pub fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Reads back from an offset.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Sets the final size.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Flushes the bytes to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The file's stamp, which renaming does not change.
    pub fn stamp(&self) -> io::Result<Stamp> {
        self.file.metadata().map(|metadata| Stamp::of(&metadata))
    }

    /// Moves it to `target` and replaces what is there.
    pub(crate) fn rename_over(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }

    /// Moves it to `target` if nothing is there; otherwise returns it with `AlreadyExists`.
    pub(crate) fn rename_new(self, target: &Path) -> Result<(), (Self, io::Error)> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()), // dropping removes the temporary name
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err((self, error)),
            // The file system has no hard links: check, then rename.
            Err(_) if fs::symlink_metadata(target).is_err() => {
                fs::rename(&self.path, target).map_err(|error| (self, error))
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After a rename the name is free; if somebody has reused it, the inode differs.
        let ours = self.file.metadata().map(|metadata| metadata.ino()).ok();
        let there = fs::symlink_metadata(&self.path).map(|metadata| metadata.ino()).ok();
        if ours.is_some() && ours == there {
            let _ = fs::remove_file(&self.path); // the next start removes leftovers
        }
    }
}

/// Complete bytes with their hash, ready to be moved into place.
#[derive(Debug)]
pub struct Staged {
    /// The bytes.
    pub part: PartFile,
    /// Their SHA-256, already verified.
    pub hash: ContentHash,
    /// Their size.
    pub size: u64,
}

/// Removes the leftovers of crashed processes from `dir`, and moves the earlier bytes of unfinished publications to
/// `rescue`. Returns the number of leftovers. Blocking.
pub fn clean(dir: &Path, rescue: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let (part, previous) = (name.ends_with(PART_SUFFIX), name.ends_with(PREVIOUS_SUFFIX));
        let Ok(file) = File::open(&path) else { continue };
        if !(part || previous) || file.try_lock().is_err() {
            continue; // not a part file, or its process is still running
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
