//! Making files, directory entries and renames survive loss of power.
//!
//! Invariant: a function here returns success only after the kernel has.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::error::StorageError;

/// Makes the entries of a directory durable: files created in, renamed into or removed from it.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| StorageError::io("sync the directory", dir, source))
}

/// Creates a directory, and makes its entry in its parent durable. Fine if it exists.
pub(crate) fn create_directory(dir: &Path) -> Result<(), StorageError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(|source| StorageError::io("create", dir, source))?;
    }
    // Also when it existed: the process that made it may have died before this sync.
    for ancestor in dir.ancestors().skip(1).take(2).filter(|path| path.is_dir()) {
        sync_directory(ancestor)?;
    }
    Ok(())
}

/// Puts `parts` into `path` as a whole: a crash leaves the old file or the new one.
pub(crate) fn replace_file(path: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().map_err(|source| StorageError::io("write", path, source))?;
    path.parent().map_or(Ok(()), sync_directory)
}
