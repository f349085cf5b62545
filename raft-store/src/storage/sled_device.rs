//! The production [`LogDevice`]: sled 0.34.7, made durable.
//!
//! Invariant: when [`LogDevice::sync`] returns, an `fdatasync` issued after the last write has succeeded. sled's own
//! flush ends in `sync_file_range`, which flushes neither the drive's cache nor the file's size; see
//! [`super::durable`].
//!
//! * Segments have 4 MiB: sled would put a value above a quarter of a segment into a separate file that it never syncs.
//! * Empty placeholder records are inserted ahead of the tail, so that pages are split while they are empty (see
//!   [`SledDevice::prepare`]).
//! * There is no background flush: the log's flusher decides when to flush, once for a whole group.
//! * Checkpoints that a crash has cut off are removed: sled would take them for complete ones and then report damage.
//! * Every file is synced after opening: sled itself does not sync its settings.
//! * Opening is guarded: sled panics on some torn files instead of returning an error.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sled::transaction::{TransactionError, Transactional};

use super::device::{DeviceBatch, LogDevice, MetaKey, RECORD_BYTES_MAX};
use super::durable;
use super::error::StorageError;

/// Bytes per sled segment.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// Counts how often the database was opened, so that there is something to write.
const OPENED: &str = "opened";
/// Bytes of pages that sled keeps in memory.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Records that sled puts into one page before it splits the page.
const PAGE_RECORDS_MAX: u64 = 16;
/// Placeholders that are inserted at a time, and how many of them have to be left ahead of a new record. See
/// [`SledDevice::prepare`].
const PREPARED: u64 = 4 * PAGE_RECORDS_MAX;
const PREPARED_AHEAD: u64 = PAGE_RECORDS_MAX + 1;

/// How long opening waits for the lock of the files, and the pause between two attempts.
const LOCK_WITHIN: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

const _: () = assert!(RECORD_BYTES_MAX <= SEGMENT_BYTES / 8);

/// A sled database with the trees `log` (u64 big-endian index → record) and `meta` (name → record).
pub struct SledDevice {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    /// Below this index there are placeholders or records, except where they were removed again.
    prepared: AtomicU64,
    /// The greatest index that was written since the log was opened; 0 if it is not known.
    last: AtomicU64,
    /// sled's data file, if sled's own syncs are not real ones.
    own_sync: Option<File>,
}

impl SledDevice {
    /// Opens or creates the database in `dir`, and makes its directory entries durable.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        let shown = format!("the log in {}", dir.display());
        remove_unfinished_checkpoints(dir)?;
        let opened = patiently(|| -> sled::Result<_> {
            let db = sled::Config::new()
                .path(dir)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()?;
            let log = db.open_tree("log")?;
            let meta = db.open_tree("meta")?;
            Ok((db, log, meta))
        });
        let (db, log, meta) = match opened {
            Ok(Ok(trees)) => trees,
            Ok(Err(sled::Error::Io(source))) if is_locked(&source) => {
                return Err(StorageError::InUse { dir: dir.to_path_buf() });
            }
            Ok(Err(sled::Error::Io(source))) => return Err(StorageError::io("open the log in", dir, source)),
            Ok(Err(error)) => return Err(StorageError::damaged(shown, error.to_string())),
            Err(panic) => return Err(StorageError::damaged(shown, format!("sled gave up reading it ({panic})"))),
        };
        let mut device = Self { db, log, meta, prepared: AtomicU64::new(0), last: AtomicU64::new(0), own_sync: None };
        device.choose_sync(dir)?;
        // sled writes its settings once and never syncs them. If they are torn, it cannot open its own database.
        let settings = dir.join("conf");
        let synced = File::open(&settings).and_then(|file| file.sync_all());
        synced.map_err(|source| StorageError::io("sync", &settings, source))?;
        durable::sync_directory(dir)?;
        Ok(device)
    }

    /// Finds out whether sled's syncs are redirected in this program. Also makes everything that was found durable:
    /// Raft treats what is read now as stored, even what a killed process has left in the page cache.
    fn choose_sync(&mut self, dir: &Path) -> Result<(), StorageError> {
        let path = sled_file(dir);
        let before = durable::redirected_syncs();
        let write = || -> sled::Result<()> {
            // The value differs from the last one: sled does not write a value that is there already.
            let before =
                self.meta.get(OPENED)?.and_then(|count| count.as_ref().try_into().ok().map(u64::from_be_bytes));
            self.meta.insert(OPENED, &before.unwrap_or(0).wrapping_add(1).to_be_bytes())?;
            self.db.flush().map(drop)
        };
        write().map_err(|error| StorageError::io("write to", &path, to_io(error)))?;
        let file = File::options().write(true).open(&path).map_err(|source| StorageError::io("open", &path, source))?;
        file.sync_all().map_err(|source| StorageError::io("sync", &path, source))?;
        if durable::redirected_syncs() == before {
            // Not Linux, or sled is linked to the C library's function: sync after each flush ourselves.
            self.own_sync = Some(file);
        }
        Ok(())
    }

    /// Applies a single change, which is atomic by itself. sled would announce a batch in a write of its own, which
    /// costs a second `fdatasync` per flush.
    fn apply_one(&self, batch: &DeviceBatch) -> sled::Result<()> {
        for (index, record) in &batch.log {
            match record {
                Some(bytes) => {
                    self.prepare(*index)?;
                    self.log.insert(index.to_be_bytes(), bytes.as_slice())?;
                    self.last.fetch_max(*index, Ordering::Relaxed);
                }
                None => self.delete_one(*index)?,
            }
        }
        for (key, bytes) in &batch.meta {
            self.meta.insert(key.name(), bytes.as_slice())?;
        }
        Ok(())
    }

    /// Inserts placeholders, which are records without bytes, for this record and the next ones. Readers never see
    /// them.
    ///
    /// sled splits a full page and rewrites it; at the end of a log that is after every eighth record. With
    /// placeholders, pages are split while their records are still empty.
    fn prepare(&self, index: u64) -> sled::Result<()> {
        let prepared = self.prepared.load(Ordering::Relaxed);
        if index + PREPARED_AHEAD <= prepared {
            return Ok(());
        }
        let end = index + PREPARED;
        for place in prepared.clamp(index, end)..end {
            // An existing record stays.
            let _ = self.log.compare_and_swap(place.to_be_bytes(), None as Option<&[u8]>, Some(&[][..]))?;
        }
        self.prepared.store(end, Ordering::Relaxed);
        Ok(())
    }

    fn delete_one(&self, index: u64) -> sled::Result<()> {
        self.log.remove(index.to_be_bytes())?;
        self.places_after(index)?.into_iter().try_for_each(|place| self.log.remove(place).map(drop))
    }

    /// The placeholders after a record that is removed, if it is the last one: nobody will need them there.
    fn places_after(&self, index: u64) -> sled::Result<Vec<sled::IVec>> {
        if index < self.last.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        // The last record is not known now.
        self.last.store(0, Ordering::Relaxed);
        let following = self.log.range((index + 1).to_be_bytes()..).take_while(|item| item.is_err() || is_place(item));
        let places: Vec<sled::IVec> = following.map(|item| Ok(item?.0)).collect::<sled::Result<_>>()?;
        if !places.is_empty() {
            self.prepared.store(0, Ordering::Relaxed);
        }
        Ok(places)
    }
}

impl LogDevice for SledDevice {
    fn apply(&self, batch: DeviceBatch) -> io::Result<()> {
        if let Some(bytes) = batch.log.values().flatten().find(|bytes| bytes.len() > RECORD_BYTES_MAX) {
            return Err(too_large(bytes.len()));
        }
        if batch.log.len() + batch.meta.len() == 1 {
            return self.apply_one(&batch).map_err(to_io);
        }
        let mut log = sled::Batch::default();
        if let Some((last, None)) = batch.log.last_key_value() {
            self.places_after(*last).map_err(to_io)?.into_iter().for_each(|place| log.remove(place));
        }
        for (index, record) in &batch.log {
            match record {
                Some(bytes) => {
                    self.last.fetch_max(*index, Ordering::Relaxed);
                    log.insert(&index.to_be_bytes(), bytes.as_slice());
                }
                None => log.remove(&index.to_be_bytes()),
            }
        }
        let mut meta = sled::Batch::default();
        for (key, bytes) in &batch.meta {
            meta.insert(key.name(), bytes.as_slice());
        }
        match (batch.log.is_empty(), batch.meta.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => self.log.apply_batch(log).map_err(to_io),
            (true, false) => self.meta.apply_batch(meta).map_err(to_io),
            (false, false) => (&self.log, &self.meta)
                .transaction(|(log_tree, meta_tree)| {
                    log_tree.apply_batch(&log)?;
                    meta_tree.apply_batch(&meta)?;
                    Ok(())
                })
                .map_err(|error: TransactionError<()>| match error {
                    TransactionError::Abort(()) => io::Error::other("sled aborted a transaction"),
                    TransactionError::Storage(error) => to_io(error),
                }),
        }
    }

    /// One by one: sled would announce a batch in a write of its own.
    fn delete(&self, indexes: &[u64]) -> io::Result<()> {
        indexes.iter().try_for_each(|index| self.delete_one(*index)).map_err(to_io)
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        self.own_sync.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        Ok(self.meta.get(key.name()).map_err(to_io)?.map(|bytes| bytes.to_vec()))
    }

    fn records(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.log
            .range(range.start.to_be_bytes()..range.end.to_be_bytes())
            .filter(|item| !is_place(item))
            .map(|item| item.map_err(to_io).and_then(|(key, value)| Ok((index_of(&key)?, value.to_vec()))))
            .collect()
    }

    fn indexes(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<u64>> {
        self.log
            .range(range.start.to_be_bytes()..range.end.to_be_bytes())
            .filter(|item| !is_place(item))
            .take(limit)
            .map(|item| item.map_err(to_io).and_then(|(key, _)| index_of(&key)))
            .collect()
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        self.db.size_on_disk().map_err(to_io)
    }
}

/// Removes unfinished checkpoints. While it opens, sled writes a checkpoint of its page table to
/// `snap.<position>.generating` and renames it. If the process dies in between, every later opening takes the
/// unfinished file for the newest checkpoint and fails. A checkpoint only saves reading: without it, sled reads its log
/// from the previous checkpoint or from the beginning.
fn remove_unfinished_checkpoints(dir: &Path) -> Result<(), StorageError> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(|source| StorageError::io("list", dir, source))? {
        let path = entry.map_err(|source| StorageError::io("list", dir, source))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(|source| StorageError::io("remove", &path, source))?;
        }
    }
    Ok(())
}

/// Whether an item is a placeholder; every record has bytes.
fn is_place(item: &sled::Result<(sled::IVec, sled::IVec)>) -> bool {
    item.as_ref().is_ok_and(|(_, bytes)| bytes.is_empty())
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let bytes =
        key.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a log key is not 8 bytes long"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn too_large(len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a log record of {len} bytes is above the limit of {RECORD_BYTES_MAX}"),
    )
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Opens the database as soon as its lock is free. If this process has just dropped the same database, sled's threads
/// hold the lock for a moment, even after the last flush has returned.
#[expect(clippy::disallowed_methods, reason = "waits on the thread that opens the log, before anything is served")]
fn patiently<T>(open: impl Fn() -> sled::Result<T>) -> Result<sled::Result<T>, String> {
    let began = Instant::now();
    loop {
        match quietly(&open) {
            Ok(Err(sled::Error::Io(error))) if is_locked(&error) && began.elapsed() < LOCK_WITHIN => {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Runs `open`, turning a panic into its message.
fn quietly<T>(open: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(open)).map_err(|panic| panic_message(panic.as_ref()))
}

/// The text of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Where sled keeps its pages, for tests that damage them.
pub fn sled_file(log_dir: &Path) -> PathBuf {
    log_dir.join("db")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_checkpoint_does_not_keep_the_log_from_opening() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let batch = DeviceBatch { log: [(7, Some(vec![1, 2, 3]))].into(), ..DeviceBatch::default() };
        let device = SledDevice::open(dir.path()).expect("a new log");
        device.apply(batch).and_then(|()| device.sync()).expect("stored");
        drop(device);
        fs::write(dir.path().join("snap.00000000000FFFFF.generating"), b"half of it").expect("written");
        let device = SledDevice::open(dir.path()).expect("it opens");
        assert_eq!(device.records(0..10).expect("readable"), [(7, vec![1, 2, 3])]);
    }

    fn append(device: &SledDevice, index: u64, record: &[u8]) {
        let log = [(index, Some(record.to_vec()))].into();
        device.apply(DeviceBatch { log, ..DeviceBatch::default() }).expect("applied");
    }

    fn remove(device: &SledDevice, range: Range<u64>) {
        let log = range.map(|index| (index, None)).collect();
        device.apply(DeviceBatch { log, ..DeviceBatch::default() }).expect("applied");
    }

    fn indexes(device: &SledDevice) -> Vec<u64> {
        let indexes = device.indexes(0..u64::MAX, 10_000).expect("readable");
        let records = device.records(0..u64::MAX).expect("readable");
        assert!(records.iter().map(|(index, _)| index).eq(&indexes), "one is shown and the other is not");
        indexes
    }

    #[test]
    fn nobody_sees_the_places_of_records_to_come() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let device = SledDevice::open(dir.path()).expect("a new log");
        (5..100).for_each(|index| append(&device, index, b"first"));
        assert!(indexes(&device).into_iter().eq(5..100));
        assert!(device.log.len() > 95 + PREPARED_AHEAD as usize - 1, "placeholders are ready");
        // Truncated records are written again.
        remove(&device, 90..100);
        assert!(indexes(&device).into_iter().eq(5..90));
        assert_eq!(device.log.len(), 85, "the placeholders after it are removed with it");
        (90..95).for_each(|index| append(&device, index, b"second"));
        device.sync().expect("synced");
        drop(device);
        let device = SledDevice::open(dir.path()).expect("it opens");
        assert!(indexes(&device).into_iter().eq(5..95));
        append(&device, 95, b"third");
        let read: Vec<Vec<u8>> =
            device.records(89..96).expect("readable").into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(read, [&b"first"[..], b"second", b"second", b"second", b"second", b"second", b"third"]);
        // A purge leaves the placeholders until it reaches the last record.
        device.delete(&(5..90).collect::<Vec<_>>()).expect("deleted");
        assert!(indexes(&device).into_iter().eq(90..96));
        assert!(device.log.len() > 6 + PREPARED_AHEAD as usize - 1);
        device.delete(&(90..96).collect::<Vec<_>>()).expect("deleted");
        assert_eq!((indexes(&device).len(), device.log.len()), (0, 0));
    }

    #[test]
    fn a_record_that_is_appended_is_written_once() {
        const RECORDS: u64 = 400;
        let (dir, record) = (tempfile::TempDir::new().expect("a temporary directory"), vec![7; 32 * 1024]);
        let device = SledDevice::open(dir.path()).expect("a new log");
        for index in 1..=RECORDS {
            append(&device, index, &record);
            device.sync().expect("synced");
        }
        let (written, stored) = (device.bytes_on_disk().expect("known"), RECORDS * record.len() as u64);
        assert!(
            written < stored * 3 / 2,
            "{written} bytes for {stored}: pages were cut when they were full of records"
        );
    }

    #[test]
    fn a_log_that_is_about_to_be_free_is_waited_for() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let device = SledDevice::open(dir.path()).expect("a new log");
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| SledDevice::open(dir.path()));
            drop(device);
            opening.join().expect("no panic").expect("it opens once it is free");
        });
        let _held = SledDevice::open(dir.path()).expect("free again");
        assert!(matches!(SledDevice::open(dir.path()), Err(StorageError::InUse { .. })));
    }

    #[test]
    fn a_log_that_was_there_is_synced_by_sled_as_well() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        for opening in 1..4 {
            let device = SledDevice::open(dir.path()).expect("a log");
            assert!(device.own_sync.is_none(), "opening {opening} did not notice the redirection");
        }
    }

    #[test]
    fn every_flush_is_a_real_sync() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let device = SledDevice::open(dir.path()).expect("a new log");
        assert!(device.own_sync.is_none(), "sled is bound to the C library's sync_file_range");
        let before = durable::redirected_syncs();
        for index in 0..10 {
            let log = [(index, Some(vec![1, 2, 3]))].into();
            device.apply(DeviceBatch { log, ..DeviceBatch::default() }).expect("applied");
            device.sync().expect("synced");
        }
        assert!(durable::redirected_syncs() >= before + 10);
    }
}
