//! Snapshot files: building, installing, damage, cleaning up, full disks; and the feed across an installation.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use tempfile::TempDir;

use super::*;
use crate::catalog::Command;
use crate::catalog::tests::fixtures;
use crate::storage::directory::{Directory, FileDirectory, Fill, NewFile};
use crate::storage::executor::Executor;
use crate::storage::snapshot::{self, SnapshotFiles};
use crate::storage::{FeedItem, OpenOptions, SharedState, StateMachine, Storage};

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
    assert_eq!(current.meta.last_log_id, Some(log_id(1, 9)), "the damaged snapshot is never sent");
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
    let mut bytes = snapshot.snapshot.bytes().await.unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let target = TempDir::new().unwrap();
    let mut receiver = Storage::open(target.path(), &OPTIONS).unwrap();
    receiver.state_machine.install_snapshot(&snapshot.meta, Bytes::from(bytes).into()).await.expect_err("damaged");
    assert_eq!(receiver.state.applied_index(), None);
    assert!(snapshots(&target).is_empty());
}

/// N2: a snapshot from another node never causes a storage error, whatever is wrong with it.
#[tokio::test]
async fn a_snapshot_that_cannot_be_used_is_refused_before_raft_sees_it() {
    let dir = two_snapshots(9).await;
    let mut sender = Storage::open(dir.path(), &OPTIONS).unwrap();
    let sent = sender.state_machine.get_current_snapshot().await.unwrap().unwrap();
    let bytes = sent.snapshot.bytes().await.unwrap();
    let target = TempDir::new().unwrap();
    let mut receiver = Storage::open(target.path(), &OPTIONS).unwrap();
    for at in [0, 8, 12, 16, 24, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        let refused = receiver.snapshot_receiver.receive(damaged.into()).await;
        assert!(refused.is_err(), "byte {at} was flipped");
    }
    // A correct checksum over a catalog of a later format, as an upgraded leader would send it.
    let mut later = bytes.to_vec();
    let meta_bytes = u32::from_le_bytes(later[12..16].try_into().unwrap()) as usize;
    later[56 + meta_bytes] = 99;
    let checksum = <sha2::Sha256 as sha2::Digest>::digest(&later[56..]);
    later[24..56].copy_from_slice(&checksum);
    receiver.snapshot_receiver.receive(later.into()).await.expect_err("a later format");
    assert!(receiver.fatal.as_io_error().is_none(), "none of this is a failure of the disk");

    let (meta, snapshot) = receiver.snapshot_receiver.receive(bytes).await.expect("whole");
    assert_eq!(meta, sent.meta);
    receiver.state_machine.install_snapshot(&meta, snapshot).await.unwrap();
    assert_eq!(receiver.state.applied_index(), meta.last_log_id.map(|last| last.index));
}

/// An entry after which the catalog takes most of a megabyte. A small entry after it does not change the length.
fn large_entry(index: u64) -> Entry {
    let command = Command { key: None, op: fixtures::register("p", fixtures::files(3_000, |_| 200)) };
    let batch = Batch { stamp: Some(Stamp { term: 1, at: 500 }), commands: vec![command] };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(batch.into()) }
}

#[tokio::test]
async fn a_built_file_holds_what_one_encoding_gives() {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    apply(&mut storage.state_machine, vec![large_entry(0)]).await;
    let built = build(&mut storage.state_machine).await;
    let file = fs::read(dir.path().join("snap/1-0.snap")).unwrap();

    let view = storage.state.read();
    let meta = postcard::to_stdvec(&(view.last_applied(), view.membership())).unwrap();
    let catalog = postcard::to_extend(&view.catalog().image(), vec![3]).unwrap();
    assert!(catalog.len() > 600_000, "several pieces: {} bytes", catalog.len());
    let body = [meta.as_slice(), &catalog].concat();
    let mut wanted = b"RSHARESN\x01\0\0\0".to_vec();
    wanted.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    wanted.extend_from_slice(&(catalog.len() as u64).to_le_bytes());
    wanted.extend_from_slice(&<sha2::Sha256 as sha2::Digest>::digest(&body));
    wanted.extend_from_slice(&body);
    assert!(file == wanted, "the file differs from its encoding in one piece");
    let state = snapshot::decode(&file, "the file").unwrap();
    assert_eq!(state.catalog.digest(), view.digest());
    drop(view);
    assert!(built.snapshot.bytes().await.unwrap() == file, "what was built is what is in the file");
}

#[tokio::test]
async fn a_built_snapshot_can_be_read_until_newer_ones_take_its_place() {
    let dir = TempDir::new().unwrap();
    let mut storage = Storage::open(dir.path(), &OPTIONS).unwrap();
    let nothing = build(&mut storage.state_machine).await;
    let nothing = snapshot::decode(&nothing.snapshot.bytes().await.unwrap(), "of nothing").unwrap();
    assert_eq!(
        (nothing.last_applied, snapshots(&dir).len()),
        (None, 0),
        "without an entry there is no name for a file"
    );
    let mut built = Vec::new();
    for index in 0..3 {
        apply(&mut storage.state_machine, entries(1, index..index + 1)).await;
        built.push(build(&mut storage.state_machine).await.snapshot);
    }
    let [oldest, older, newest] = built.try_into().expect("three");
    assert!(older.bytes().await.is_ok() && newest.bytes().await.is_ok());
    let error = oldest.bytes().await.expect_err("two are kept").to_string();
    assert!(error.contains("cannot read") && error.contains("1-0.snap"), "{error}");
    assert!(storage.fatal.get().is_none(), "that is not a failure of the disk");
}

/// A directory in which every file has room for a limited number of bytes.
#[derive(Debug)]
struct FullDirectory {
    inner: FileDirectory,
    room: usize,
}

/// A file with limited room. Overwriting takes room as well.
struct FullFile<'a> {
    file: &'a mut dyn NewFile,
    left: usize,
}

impl Write for FullFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for FullFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Directory for FullDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.inner.read(name)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.inner.length(name)
    }

    fn create(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
        self.inner.create(name, &|file| fill(&mut FullFile { file, left: self.room }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner.sync_names()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_fails_the_build_and_leaves_the_older_snapshot() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("snap");
    let names = || snapshots(&dir).iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    let on = |room| {
        let directory = FullDirectory { inner: FileDirectory::open(&path, None).unwrap(), room };
        let files = Arc::new(SnapshotFiles::open(directory).unwrap());
        let (shared, fatal) = (SharedState::new(files.load(None).unwrap()), FatalSignal::default());
        (StateMachine::new(shared, files, fatal.clone(), Executor::Threads), fatal)
    };
    let (mut machine, _) = on(usize::MAX);
    apply(&mut machine, vec![large_entry(0)]).await;
    build(&mut machine).await;
    let bytes = fs::metadata(path.join("1-0.snap")).unwrap().len() as usize;
    // The disk fills up at once, at the header's place, in the metadata, in the catalog's second piece, in the header.
    for room in [0, 10, 60, 300_000, bytes, bytes + 10] {
        let (mut machine, fatal) = on(room);
        apply(&mut machine, entries(1, 1..2)).await;
        let error = machine.get_snapshot_builder().await.build_snapshot().await.expect_err("the disk is full");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
        assert!(
            matches!(inner, Some(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull),
            "{room} bytes: {error}"
        );
        assert!(
            fatal.get().is_some_and(|why| why.contains("cannot write") && why.contains("1-1.snap")),
            "{room} bytes"
        );
        assert_eq!(names(), ["1-0.snap", "1-1.snap.tmp"], "{room} bytes");
        assert_eq!(fs::metadata(path.join("1-1.snap.tmp")).unwrap().len() as usize, room.min(bytes), "{room} bytes");
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta.last_log_id, Some(log_id(1, 0)));
        let (machine, _) = on(usize::MAX);
        assert_eq!(names(), ["1-0.snap"], "the next opening removes the unfinished file");
        drop(machine);
    }
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
