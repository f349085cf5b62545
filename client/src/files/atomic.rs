//! Writing to a shared folder so that a crash leaves nothing half-done.
//!
//! Invariant: what these functions report as written is on disk (file and directory flushed).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `bytes` so that a crash leaves the old or the new content, never a mixture. Blocking.
///
/// The file is readable by its owner only: the folder's state holds secrets.
///
/// # Errors
/// I/O errors; the old content is then untouched and the temporary file removed.
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
        let _ = fs::remove_file(&temporary); // best effort: the first error is the one to report
    }
    written?;
    sync_dir(parent)
}

/// Makes renames and creations inside a folder survive a power loss. Blocking.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Bytes that an unprivileged process may still write to the file system of `path`; `None` if it cannot be told.
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
