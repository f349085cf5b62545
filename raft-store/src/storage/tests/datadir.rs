//! The data directory: who may open it, and what it refuses.

use std::fs;

use openraft::storage::RaftLogReader;
use tempfile::TempDir;

use super::*;
use crate::storage::{OpenOptions, Storage};

const OPTIONS: OpenOptions = OpenOptions { node_id: 3, new_store_id: 0xabcd };

fn refused(dir: &TempDir, options: &OpenOptions) -> StorageError {
    Storage::open(dir.path(), options).err().expect("the directory is refused")
}

#[tokio::test]
async fn the_identity_stays() {
    let dir = TempDir::new().unwrap();
    let storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    assert_eq!(storage.identity.get().store_id, 0xabcd);
    storage.identity.adopt_cluster(77).await.unwrap();
    drop(storage);
    let again = OpenOptions { new_store_id: 0x1111, ..OPTIONS };
    let mut storage = Storage::open(dir.path(), &again).unwrap();
    let identity = storage.identity.get();
    assert_eq!((identity.node_id, identity.store_id, identity.cluster_id), (3, 0xabcd, Some(77)));
    // The node has not voted yet: a bootstrap that failed may be repeated.
    storage.identity.adopt_cluster(78).await.unwrap();
    storage.log_store.save_vote(&vote(1)).await.unwrap();
    storage.identity.adopt_cluster(78).await.expect("the same cluster is no change");
    let error = storage.identity.adopt_cluster(79).await.unwrap_err();
    assert!(matches!(error, StorageError::OtherCluster { found: 78, wanted: 79 }), "{error}");
    drop(storage);
    assert_eq!(Storage::open(dir.path(), &OPTIONS).unwrap().identity.get().cluster_id, Some(78));
}

#[tokio::test]
async fn a_directory_has_one_user() {
    let dir = TempDir::new().unwrap();
    let storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    assert!(matches!(refused(&dir, &OPTIONS), StorageError::InUse { .. }));
    // The last part that is still alive keeps the lock.
    let Storage { identity, log_store, state_machine, stats, repair, starts, .. } = storage;
    drop((log_store, state_machine, stats, repair, starts));
    assert!(matches!(refused(&dir, &OPTIONS), StorageError::InUse { .. }));
    drop(identity);
    Storage::open(dir.path(), &OPTIONS).expect("free again");
}

#[tokio::test]
async fn every_part_keeps_the_directory_locked() {
    let dir = TempDir::new().unwrap();
    let storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    let Storage { log_store, state_machine, stats, identity, repair, starts, .. } = storage;
    drop((log_store, stats, identity, repair, starts));
    assert!(matches!(refused(&dir, &OPTIONS), StorageError::InUse { .. }), "snapshots could still be written");
    drop(state_machine);
    Storage::open(dir.path(), &OPTIONS).expect("free again");
}

#[tokio::test]
async fn another_node_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(Storage::open(dir.path(), &OPTIONS).unwrap());
    let error = refused(&dir, &OpenOptions { node_id: 4, ..OPTIONS });
    assert!(matches!(error, StorageError::OtherNode { found: 3, wanted: 4, .. }), "{error}");
    fs::remove_file(dir.path().join("IDENTITY")).unwrap();
    let error = refused(&dir, &OpenOptions { node_id: 4, ..OPTIONS });
    assert!(matches!(error, StorageError::OtherNode { found: 3, wanted: 4, .. }), "{error}");
}

#[tokio::test]
async fn a_lost_log_is_no_empty_log() {
    let dir = TempDir::new().unwrap();
    drop(Storage::open(dir.path(), &OPTIONS).unwrap());
    let log = dir.path().join("log");
    // As after a power failure that lost the files but kept the directory.
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() { fs::remove_file(path).unwrap() } else { fs::remove_dir_all(path).unwrap() }
    }
    let error = refused(&dir, &OPTIONS).to_string();
    assert!(error.contains("its log is gone") && error.contains("rejoin"), "{error}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 0, "nothing was created in its place");
}

#[tokio::test]
async fn a_half_made_directory_is_finished() {
    let dir = TempDir::new().unwrap();
    drop(Storage::open(dir.path(), &OPTIONS).unwrap());
    fs::remove_file(dir.path().join("IDENTITY")).unwrap();
    let again = OpenOptions { new_store_id: 0x1111, ..OPTIONS };
    assert_eq!(Storage::open(dir.path(), &again).unwrap().identity.get().store_id, 0xabcd);
    assert!(dir.path().join("IDENTITY").is_file());
}

#[tokio::test]
async fn an_unknown_layout_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(Storage::open(dir.path(), &OPTIONS).unwrap());
    let path = dir.path().join("IDENTITY");
    let text = fs::read_to_string(&path).unwrap().replace("raftshare-data 1", "raftshare-data 2");
    fs::write(&path, &text).unwrap();
    assert!(matches!(refused(&dir, &OPTIONS), StorageError::UnknownVersion { found: 2, known: 1, .. }));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn an_identity_that_is_no_text_is_damage() {
    let dir = TempDir::new().unwrap();
    drop(Storage::open(dir.path(), &OPTIONS).unwrap());
    fs::write(dir.path().join("IDENTITY"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(refused(&dir, &OPTIONS), StorageError::Damaged { .. }));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// sled takes damage for the torn end of its last write, and silently returns to an earlier state.
#[tokio::test]
async fn damage_in_the_log_file_never_passes_for_an_older_log() {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    for index in 0..100 {
        append(&mut storage.log_store, entries(1, index..index + 1)).await;
    }
    storage.log_store.save_vote(&vote(2)).await.unwrap();
    drop(storage);
    let size = fs::metadata(crate::storage::sled_file(&dir.path().join("log"))).unwrap().len() as usize;
    let mut refusals = 0;
    for at in (0..size.min(40_000)).step_by(997) {
        let damaged = TempDir::new().unwrap();
        copy(dir.path(), damaged.path());
        let path = crate::storage::sled_file(&damaged.path().join("log"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, &bytes).unwrap();
        match Storage::open(damaged.path(), &OPTIONS) {
            // The damage hit unused bytes: then everything has to be there.
            Ok(mut storage) => {
                assert!(indexes(&mut storage.log_store).await.into_iter().eq(0..100), "damage at {at}");
                let found = storage.log_store.get_log_reader().await.read_vote().await.unwrap();
                assert_eq!(found, Some(vote(2)), "damage at {at}");
            }
            Err(_) => refusals += 1,
        }
    }
    assert!(refusals > 0, "no damage was noticed");
}

#[tokio::test]
async fn the_mark_follows_truncations_and_purges() {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    let log = &mut storage.log_store;
    append(log, entries(1, 0..50)).await;
    log.truncate_after(Some(log_id(1, 20))).await.unwrap();
    drop(storage);
    let mut storage = Storage::open(dir.path(), &OPTIONS).expect("a shorter log by truncation");
    let log = &mut storage.log_store;
    append(log, entries(2, 21..22)).await;
    log.truncate_after(None).await.unwrap();
    drop(storage);
    drop(Storage::open(dir.path(), &OPTIONS).expect("an empty log by truncation"));
}

#[tokio::test]
async fn a_log_behind_its_mark_is_refused() {
    let dir = TempDir::new().unwrap();
    let older = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    append(&mut storage.log_store, entries(1, 0..50)).await;
    drop(storage);
    copy(&dir.path().join("log"), older.path());
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    append(&mut storage.log_store, entries(1, 50..51)).await;
    drop(storage);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    copy(older.path(), &dir.path().join("log"));
    let error = refused(&dir, &OPTIONS).to_string();
    assert!(error.contains("entry 50 was acknowledged and is missing") && error.contains("rejoin"), "{error}");
}
