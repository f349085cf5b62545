//! A file's stamp (size, modification time, inode) and the hash of its content.
//!
//! Invariant: a hash and a stamp that are returned together belong to the same content.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use raft_store::types::ContentHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at a time while hashing; small enough for the second-level cache.
const HASH_BUFFER_BYTES: usize = 256 * 1024;
/// Attempts to hash a file that changes while it is read.
const HASH_ATTEMPTS_MAX: usize = 3;

/// What a file looked like when it was hashed. An equal stamp means that the file was not touched since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode; an editor that saves by renaming changes it even within one clock tick.
    pub inode: u64,
}

impl Stamp {
    /// The stamp in a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size: metadata.len(), mtime_ns, inode: metadata.ino() }
    }
}

/// SHA-256 of bytes in memory.
pub fn hash_bytes(bytes: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(bytes).into())
}

/// SHA-256 of a file, with the stamp that it had before and after it was read. Blocking.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_comes_with_its_stamp() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        std::fs::write(&path, b"abc").expect("write");
        let (hash, stamp) = hash_file(&path).expect("hashable");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((hash, stamp.size), (hash_bytes(b"abc"), 3));
        assert!(crate::files::free_bytes(dir.path()).is_some_and(|bytes| bytes > 0));
    }
}
