//! File-system primitives of a shared folder: atomic writes, stamps, hashing, free space.
//!
//! Invariant: what these functions report as written is on disk (file and directory flushed), and a hash they return
//! belongs to exactly the stamp they return with it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use raft_store::types::ContentHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at a time while hashing; small enough to stay in the second-level cache.
const HASH_BUFFER_BYTES: usize = 256 * 1024;
/// Times a file that changes while it is being hashed is read again before the change is reported.
const HASH_ATTEMPTS_MAX: usize = 3;

/// What a file looked like when it was hashed. Two equal stamps mean "not touched since", without reading the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode: editors that save by renaming change it even within one tick of the clock.
    pub inode: u64,
}

impl Stamp {
    /// Reads the stamp out of metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size: metadata.len(), mtime_ns, inode: metadata.ino() }
    }
}

/// SHA-256 of bytes in memory.
pub fn hash_bytes(bytes: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(bytes).into())
}

/// SHA-256 of a file, with the stamp it had before and after reading. Blocking.
///
/// # Errors
/// I/O errors, and `ErrorKind::Interrupted` if the file kept changing while it was read.
pub fn hash_file(path: &Path) -> io::Result<(ContentHash, Stamp)> {
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    for _ in 0..HASH_ATTEMPTS_MAX {
        let mut file = File::open(path)?;
        let before = Stamp::of(&file.metadata()?);
        let mut hasher = Sha256::new();
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        if Stamp::of(&file.metadata()?) == before {
            return Ok((ContentHash(hasher.finalize().into()), before));
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "the file is being written to"))
}

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
#[allow(unsafe_code)] // statvfs has no wrapper in the standard library
pub fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a NUL-terminated string and `answer` a writable statvfs; both live through the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) };
    if code != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    let answer = unsafe { answer.assume_init() };
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

    #[test]
    fn a_hash_comes_with_its_stamp() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        fs::write(&path, b"abc").expect("write");
        let (hash, stamp) = hash_file(&path).expect("hashable");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((hash, stamp.size), (hash_bytes(b"abc"), 3));
        assert!(free_bytes(dir.path()).is_some_and(|bytes| bytes > 0));
    }
}
