//! Makes files, directory entries, renames and sled's writes survive loss of power.
//!
//! Invariant: a function here returns success only after the kernel has reported that the data is on the disk.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::StorageError;

/// Makes the entries of a directory durable: files that were created, renamed or removed in it.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| StorageError::io("sync the directory", dir, source))
}

/// Creates a directory if it does not exist, and makes its entry in its parent durable.
pub(crate) fn create_directory(dir: &Path) -> Result<(), StorageError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(|source| StorageError::io("create", dir, source))?;
    }
    // Even if it existed: the process that created it may have died before this sync.
    for ancestor in dir.ancestors().skip(1).take(2).filter(|path| path.is_dir()) {
        unless_forbidden(sync_directory(ancestor))?;
    }
    Ok(())
}

/// Ignores that this user may not open the parent: then somebody else has created the directory for this user.
fn unless_forbidden(synced: Result<(), StorageError>) -> Result<(), StorageError> {
    match synced {
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Replaces the contents of `path` by `parts` atomically: a crash leaves the old file or the new one.
pub(crate) fn replace_file(path: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let fill = |file: &mut SyncedFile| parts.iter().try_for_each(|part| file.write_all(part));
    let write = || create_file(temporary, fill).and_then(|()| fs::rename(temporary, path));
    write().map_err(|source| StorageError::io("write", path, source))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Bytes of a large file that are synced at a time. The log's own syncs, which writers wait for, queue behind each.
const SYNC_PIECE_BYTES: usize = 4 * 1_024 * 1_024;

/// Creates or overwrites a file with what `fill` writes, and makes its bytes durable, but not its name. After an error
/// there may be a file with some of the bytes.
pub(crate) fn create_file(path: &Path, fill: impl FnOnce(&mut SyncedFile) -> io::Result<()>) -> io::Result<()> {
    let mut file = SyncedFile { file: File::create(path)?, unsynced: 0 };
    fill(&mut file)?;
    file.file.sync_all()
}

/// A file that is synced after every [`SYNC_PIECE_BYTES`] written to it; [`create_file`] does the rest.
#[derive(Debug)]
pub(crate) struct SyncedFile {
    file: File,
    /// Bytes written since the last sync.
    unsynced: usize,
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..SYNC_PIECE_BYTES - self.unsynced).unwrap_or(bytes);
        let written = self.file.write(piece)?;
        self.unsynced += written;
        if self.unsynced == SYNC_PIECE_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for SyncedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The number of calls of our [`sync_file_range`].
static REDIRECTED: AtomicU64 = AtomicU64::new(0);

/// How many of sled's syncs this process has turned into real ones so far.
pub(crate) fn redirected_syncs() -> u64 {
    REDIRECTED.load(Ordering::Relaxed)
}

/// Replaces the C library's function of this name in every program that links this crate, and does more than is asked
/// for: `fdatasync`.
///
/// sled 0.34 ends every write with `sync_file_range`. That call writes the data pages and waits for them, but flushes
/// neither the drive's cache nor the file's size and extents, so after loss of power the file has holes or is empty.
/// The power-cut test finds this: with unmodified sled, 9 of 30 cuts lost acknowledged votes or entries. It finds
/// nothing with either remedy, an `fdatasync` of our own after each flush or this function. This one is used because
/// sled also relies on its inner syncs for *order*: it overwrites a freed segment once the copies of its contents are
/// "stable", and a later sync cannot guarantee that. It also saves one of two system calls per flush.
///
/// It calls libc and not rustix: sled reads errors from `errno`, which rustix does not set.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "exports a symbol, and makes a system call on a descriptor that this crate does not own")]
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(
    descriptor: libc::c_int,
    _offset: libc::off64_t,
    _bytes: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    REDIRECTED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a plain system call. A bad descriptor gives an error, which sled reads from errno.
    unsafe { libc::fdatasync(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_that_may_not_be_opened_holds_up_nothing_but_a_broken_one_does() {
        let failed = |kind| unless_forbidden(Err(StorageError::io("sync", Path::new("/a"), io::Error::from(kind))));
        assert!(failed(io::ErrorKind::PermissionDenied).is_ok());
        assert!(failed(io::ErrorKind::StorageFull).is_err() && failed(io::ErrorKind::NotFound).is_err());
        assert!(unless_forbidden(Ok(())).is_ok());
    }
}
