//! Snapshot files: built, installed, damaged, too many; and the feed across an installation.

use std::fs;
use std::path::PathBuf;

use futures::stream;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use tempfile::TempDir;

use super::*;
use crate::storage::{FeedItem, OpenOptions, StateMachine, Storage};

const OPTIONS: OpenOptions = OpenOptions { node_id: 1, new_store_id: 1 };

async fn apply(machine: &mut StateMachine, entries: Vec<Entry>) {
    let items: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    machine.apply(stream::iter(items)).await.unwrap();
}

async fn build(machine: &mut StateMachine) -> crate::raft::Snapshot {
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

fn snapshots(dir: &TempDir) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.path().join("snap")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn flip_a_byte(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A directory with snapshots at 9 and 19, and the log from 10 on or from 20 on.
async fn two_snapshots(purge_upto: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    append(&mut storage.log_store, entries(1, 0..25)).await;
    apply(&mut storage.state_machine, entries(1, 0..10)).await;
    build(&mut storage.state_machine).await;
    apply(&mut storage.state_machine, entries(1, 10..20)).await;
    build(&mut storage.state_machine).await;
    storage.log_store.purge(log_id(1, purge_upto)).await.unwrap();
    dir
}

#[tokio::test]
async fn a_restart_begins_at_the_newest_snapshot() {
    let dir = two_snapshots(9).await;
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    assert_eq!(storage.state_machine.applied_state().await.unwrap().0, Some(log_id(1, 19)));
    assert_eq!(storage.state.applied_index(), Some(19));
    let stats = storage.stats.read();
    assert_eq!((stats.snapshot_index, stats.log_first_index, stats.log_entries), (Some(19), 10, 15));
    apply(&mut storage.state_machine, entries(1, 20..25)).await;
    build(&mut storage.state_machine).await;
    let names: Vec<_> = snapshots(&dir).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["1-19.snap", "1-24.snap"], "the two newest are kept");
}

#[tokio::test]
async fn a_damaged_snapshot_gives_way_to_the_older_one_while_the_log_reaches_back() {
    let dir = two_snapshots(9).await;
    flip_a_byte(&snapshots(&dir)[0]);
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    assert_eq!(storage.state_machine.applied_state().await.unwrap().0, Some(log_id(1, 9)));
    let current = storage.state_machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta.last_log_id, Some(log_id(1, 9)), "the damaged one is not sent to anybody");
    assert!(dir.path().join("snap/1-19.snap.damaged").is_file(), "it is kept for inspection");
}

#[tokio::test]
async fn a_damaged_snapshot_that_the_log_needs_is_an_error() {
    let dir = two_snapshots(15).await;
    flip_a_byte(&dir.path().join("snap/1-19.snap"));
    let error = Storage::open(dir.path(), &OPTIONS).err().expect("refused").to_string();
    assert!(error.contains("1-19.snap") && error.contains("checksum") && error.contains("rejoin"), "{error}");
    let again = Storage::open(dir.path(), &OPTIONS).err().expect("refused again").to_string();
    assert!(again.contains("1-19.snap"), "the second refusal names the file as well: {again}");
}

#[tokio::test]
async fn snapshots_that_are_gone_are_an_error() {
    let dir = two_snapshots(15).await;
    fs::remove_file(dir.path().join("snap/1-19.snap")).unwrap();
    let error = Storage::open(dir.path(), &OPTIONS).err().expect("refused").to_string();
    assert!(error.contains("begins after entry 15") && error.contains("no snapshot"), "{error}");
}

#[tokio::test]
async fn an_unknown_snapshot_format_is_refused_and_left_alone() {
    let dir = two_snapshots(9).await;
    let path = dir.path().join("snap/1-19.snap");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, &bytes).unwrap();
    let error = Storage::open(dir.path(), &OPTIONS).err().expect("refused");
    assert!(matches!(error, StorageError::UnknownVersion { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn half_written_files_are_cleared_away() {
    let dir = two_snapshots(9).await;
    fs::write(dir.path().join("snap/1-30.snap.tmp"), b"half").unwrap();
    let storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    assert_eq!(storage.state.applied_index(), Some(19));
    assert_eq!(snapshots(&dir).len(), 2);
}

#[tokio::test]
async fn an_installed_snapshot_survives_and_reaches_the_feed() {
    let dir = two_snapshots(9).await;
    let mut sender = Storage::open(dir.path(), &OPTIONS).unwrap();
    let snapshot = sender.state_machine.get_current_snapshot().await.unwrap().unwrap();

    let target = TempDir::new().unwrap();
    let mut receiver = Storage::open(target.path(), &OPTIONS).unwrap();
    let (before, mut feed) = receiver.state.subscribe(|view| view.last_applied());
    assert_eq!(before, None);
    apply(&mut receiver.state_machine, entries(1, 0..2)).await;
    receiver.state_machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
    apply(&mut receiver.state_machine, entries(1, 20..21)).await;
    let seen: Vec<_> = feed.drain(100).into_iter().collect();
    let applied = |item: &FeedItem| match item {
        FeedItem::Applied(entry) => Some(entry.log_index),
        _ => None,
    };
    assert_eq!(seen.iter().filter_map(applied).collect::<Vec<_>>(), [0, 1, 20]);
    assert_eq!(seen[2], FeedItem::Replaced { upto: Some(log_id(1, 19)) });
    drop(receiver);
    let receiver = Storage::open(target.path(), &OPTIONS).unwrap();
    assert_eq!(receiver.state.applied_index(), Some(19));
}

#[tokio::test]
async fn a_snapshot_damaged_on_the_way_is_not_installed() {
    let dir = two_snapshots(9).await;
    let mut sender = Storage::open(dir.path(), &OPTIONS).unwrap();
    let snapshot = sender.state_machine.get_current_snapshot().await.unwrap().unwrap();
    let mut bytes = snapshot.snapshot.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let target = TempDir::new().unwrap();
    let mut receiver = Storage::open(target.path(), &OPTIONS).unwrap();
    receiver.state_machine.install_snapshot(&snapshot.meta, bytes.into()).await.expect_err("damaged");
    assert_eq!(receiver.state.applied_index(), None);
    assert!(snapshots(&target).is_empty());
}

#[tokio::test]
async fn a_slow_follower_of_the_feed_is_told() {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    let ((), mut feed) = storage.state.subscribe(|_| ());
    let many = crate::storage::FEED_ENTRIES_MAX as u64 + 10;
    let blanks = (0..many).map(|index| Entry { log_id: log_id(1, index), payload: openraft::EntryPayload::Blank });
    apply(&mut storage.state_machine, blanks.collect()).await;
    assert!(matches!(feed.next().await, FeedItem::Lagged { missed } if missed >= 10));
    storage.state.wait_applied(many - 1).await;
    assert_eq!(*storage.state.applied().borrow(), Some(log_id(1, many - 1)));
}
