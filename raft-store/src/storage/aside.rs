//! Sets the contents of a data directory aside, so that the node starts again with an empty one (C3).
//!
//! Nothing is deleted: the contents move to `<data>/older-N`. A running node only requests this; the next start does it
//! before it opens anything.
//!
//! Invariant: a crash at any moment leaves either the old directory or a request that the next start completes.

use std::fs;
use std::path::{Path, PathBuf};

use super::durable;
use super::error::StorageError;

/// Parts of a data directory that belong together.
const PARTS: [&str; 4] = ["IDENTITY", "MARK", "log", "snap"];
/// Where the parts are while they move. If it exists, the move was requested.
const UNFINISHED: &str = "older.unfinished";
/// Names the cluster that the empty directory belongs to.
const REJOIN: &str = "REJOIN";

/// Requests that the next start sets the contents of `dir` aside, and continues as a member of `cluster` with an empty
/// directory. Blocks.
pub fn request(dir: &Path, cluster: u64) -> Result<(), StorageError> {
    durable::replace_file(&dir.join(REJOIN), &[format!("{cluster:016x}\n").as_bytes()])?;
    durable::create_directory(&dir.join(UNFINISHED))
}

/// Completes a requested move; returns where the old contents are now, if there was a request.
pub(super) fn finish(dir: &Path) -> Result<Option<PathBuf>, StorageError> {
    let unfinished = dir.join(UNFINISHED);
    if !unfinished.is_dir() {
        return Ok(None);
    }
    let rename =
        |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| StorageError::io("move aside", from, source));
    for part in PARTS {
        let from = dir.join(part);
        if from.exists() {
            rename(&from, &unfinished.join(part))?;
        }
    }
    durable::sync_directory(&unfinished)?;
    durable::sync_directory(dir)?;
    let mut number = 1;
    while dir.join(format!("older-{number}")).exists() {
        number += 1;
    }
    let aside = dir.join(format!("older-{number}"));
    rename(&unfinished, &aside)?;
    durable::sync_directory(dir)?;
    Ok(Some(aside))
}

/// The cluster that an empty directory belongs to, if contents were set aside here.
pub(super) fn cluster(dir: &Path) -> Option<u64> {
    u64::from_str_radix(fs::read_to_string(dir.join(REJOIN)).ok()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{OpenOptions, Storage};

    fn options(new_store_id: u64) -> OpenOptions {
        OpenOptions { node_id: 3, new_store_id }
    }

    /// C3: the old directory is kept, and the new one has another store id and the same cluster.
    #[tokio::test]
    async fn a_directory_set_aside_is_kept_and_its_node_starts_anew() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("data");
        let storage = Storage::open(&path, &options(7)).expect("opens");
        storage.identity.adopt_cluster(5).await.expect("adopts");
        request(&path, 5).expect("notes");
        drop(storage);
        let anew = Storage::open(&path, &options(8)).expect("opens anew").identity.get();
        assert_eq!((anew.node_id, anew.store_id, anew.cluster_id), (3, 8, Some(5)));
        for part in ["IDENTITY", "log", "snap"] {
            assert!(path.join("older-1").join(part).exists(), "{part} is kept");
        }
        let again = Storage::open(&path, &options(9)).expect("opens again").identity.get();
        assert_eq!(again.store_id, 8, "it is set aside once");
    }

    /// A crash between two steps of the move.
    #[tokio::test]
    async fn a_move_that_was_interrupted_is_finished() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("data");
        drop(Storage::open(&path, &options(7)).expect("opens"));
        request(&path, 5).expect("notes");
        fs::rename(path.join("log"), path.join(UNFINISHED).join("log")).expect("moves the first part");
        assert_eq!(Storage::open(&path, &options(8)).expect("opens anew").identity.get().store_id, 8);
        assert!(path.join("older-1/log").exists() && path.join("older-1/IDENTITY").exists());
    }
}
