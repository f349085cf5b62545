//! Writes that survive a crash.
//!
//! Invariant: when a function here returns, the file and its directory have been flushed to disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `bytes` atomically: after a crash the file has the old or the new content. Blocking.
///
/// Only the owner can read the file, because the folder's state holds secrets.
///
/// # Errors
/// I/O errors. The old content is then untouched, and the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("the path has no parent folder"))?;
    let temporary = parent.join(format!(".{:016x}.new", rand::random::<u64>()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // best effort: the first error is the one reported
    }
    written?;
    sync_dir(parent)
}

/// Flushes a directory, so that renames and new files in it survive a power loss. Blocking.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Free bytes for unprivileged processes on the file system of `path`; `None` if the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let answer = rustix::fs::statvfs(path).ok()?;
    Some(answer.f_bavail.saturating_mul(answer.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state");
        write_atomic(&path, b"old").expect("first write");
        write_atomic(&path, b"new").expect("second write");
        assert_eq!(fs::read(&path).expect("readable"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("listable").count(), 1);
    }
}
