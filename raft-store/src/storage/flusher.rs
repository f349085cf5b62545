//! Group commit: one queue, one thread (or one task in a simulation), and one durable flush for everything that waits.
//!
//! Invariants
//! * Appends, votes, truncations and purges reach the device in the order in which they were queued. Only lazy records
//!   wait for a later group, and they may be written before a record that is appended in it.
//! * An operation succeeds only after a sync that began after the operation was applied has succeeded.
//! * After the first error nothing is written, synced or acknowledged: everything that is queued then or later fails,
//!   and the [`FatalSignal`] is raised (W4). A failed sync is never repeated.
//! * A purge point is durable before the first record below it is deleted. The deletion proceeds in small steps between
//!   appends; if a crash interrupts it, the next opening finishes it.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::device::{DeviceBatch, LogDevice, MetaKey};
use super::error::FatalSignal;
use super::executor::Executor;
use super::group::{Before, Change, Group};
use super::mark::{MarkFile, Marked};
#[cfg(any(test, feature = "sim"))]
use super::sim::SimDisk;
use super::sled_device::panic_message;
use super::stats::FlushStats;

/// Operations that may be queued; the next caller waits for room.
pub const QUEUE_OPERATIONS_MAX: usize = 1_024;
/// Bytes of records that may be queued; the next caller waits for room.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of records in one group; further operations wait for the next flush.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Purged records that are deleted in one step between two groups. Queued operations wait for the step. With 512 full
/// entries a step took a quarter of a second, longer than a leader may go without confirmation by a majority.
pub const PURGE_STEP_RECORDS: usize = 32;

/// Called with the outcome of an operation, on the flusher's thread.
pub(crate) type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Operation {
    change: Change,
    done: Option<Completion>,
    _room: OwnedSemaphorePermit,
}

/// The sending side. Dropping it waits until the thread has finished what is queued.
pub(crate) struct Flusher {
    queue: Option<mpsc::Sender<Operation>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
    fatal: FatalSignal,
}

/// Called after each successful group with the index after the last record on the device.
pub(crate) type OnDevice = Box<dyn Fn(u64) + Send>;

/// What the device holds when the flusher starts.
pub(crate) struct OnDisk {
    pub(crate) device: Arc<dyn LogDevice>,
    /// Index after the last record.
    pub(crate) end: u64,
    pub(crate) held: Marked,
    pub(crate) mark: Option<MarkFile>,
}

impl Flusher {
    /// Starts the thread, or the task of a simulated machine.
    pub(crate) fn start(
        OnDisk { device, end, held, mark }: OnDisk,
        fatal: FatalSignal,
        stats: Arc<FlushStats>,
        on_device: OnDevice,
        executor: &Executor,
    ) -> io::Result<Self> {
        let (queue, receiver) = mpsc::channel(QUEUE_OPERATIONS_MAX);
        let worker = Worker {
            receiver,
            device,
            end,
            held,
            mark,
            purge_upto: None,
            lazy: BTreeMap::new(),
            fatal: fatal.clone(),
            stats,
            on_device,
        };
        let thread = match executor {
            Executor::Threads => {
                Some(std::thread::Builder::new().name("log-flusher".to_owned()).spawn(move || worker.run())?)
            }
            #[cfg(any(test, feature = "sim"))]
            Executor::Simulated(disk) => {
                tokio::spawn(worker.run_simulated(disk.clone()));
                None
            }
        };
        Ok(Self { queue: Some(queue), room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)), thread, fatal })
    }

    /// Queues a change; returns once it is in the queue. `done` is called on the flusher's thread, exactly once unless
    /// this returns an error.
    pub(crate) async fn submit(&self, change: Change, done: Option<Completion>) -> io::Result<()> {
        let failed = || self.fatal.as_io_error().unwrap_or_else(|| io::Error::other("the log is closed"));
        if let Some(error) = self.fatal.as_io_error() {
            return Err(error);
        }
        let bytes = u32::try_from(change.bytes().min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| failed())?;
        let queue = self.queue.as_ref().ok_or_else(failed)?;
        queue.send(Operation { change, done, _room: room }).await.map_err(|_| failed())
    }

    /// Operations that wait, and bytes of records that wait or are being written.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let operations = self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity());
        (operations as u64, QUEUE_BYTES_MAX.saturating_sub(self.room.available_permits()) as u64)
    }

    /// Queues a change and waits until it is durable.
    pub(crate) async fn submit_and_wait(&self, change: Change) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done: Completion = Box::new(move |result| {
            // This fails if the caller no longer waits, which does not matter to the disk.
            let _ = sender.send(result);
        });
        self.submit(change, Some(done)).await?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log's flusher stopped")))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.fatal.raise("the log's flusher panicked");
        }
    }
}

/// The callers that wait for a group.
struct Waiting {
    completions: Vec<Completion>,
    _rooms: Vec<OwnedSemaphorePermit>,
}

struct Worker {
    receiver: mpsc::Receiver<Operation>,
    device: Arc<dyn LogDevice>,
    /// Index after the last record on the device.
    end: u64,
    /// What the device holds durably.
    held: Marked,
    mark: Option<MarkFile>,
    /// Records up to and including this index are still to be deleted.
    purge_upto: Option<u64>,
    /// Named records to be written with the next flush.
    lazy: BTreeMap<MetaKey, Vec<u8>>,
    fatal: FatalSignal,
    stats: Arc<FlushStats>,
    on_device: OnDevice,
}

impl Worker {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let (changes, waiting) = self.drain(first);
            let begun = self.guarded(|worker| worker.begin(changes));
            self.end_group(begun, waiting);
        }
        let rest = std::mem::take(&mut self.lazy);
        if !rest.is_empty() {
            let batch = DeviceBatch { meta: rest, ..DeviceBatch::default() };
            self.guarded(|worker| worker.device.apply(batch).and_then(|()| worker.device.sync()));
        }
    }

    /// Like [`Worker::run`], with simulated time between writing and syncing, in which the machine may crash.
    #[cfg(any(test, feature = "sim"))]
    async fn run_simulated(mut self, disk: SimDisk) {
        loop {
            let first = match self.receiver.try_recv() {
                Ok(operation) => operation,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if self.purge_upto.is_some() => {
                    tokio::time::sleep(disk.pause()).await;
                    self.guarded(Self::purge_step);
                    continue;
                }
                Err(TryRecvError::Empty) => match self.receiver.recv().await {
                    Some(operation) => operation,
                    None => return,
                },
            };
            let (changes, waiting) = self.drain(first);
            let begun = self.guarded(|worker| worker.begin(changes));
            if matches!(begun, Some(Some(_))) {
                tokio::time::sleep(disk.pause()).await;
            }
            self.end_group(begun, waiting);
        }
    }

    /// The next operation. Purges step by step while there is none. `None` when the log is closed.
    fn next(&mut self) -> Option<Operation> {
        loop {
            match self.receiver.try_recv() {
                Ok(operation) => return Some(operation),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.purge_upto.is_some() => {
                    self.guarded(Self::purge_step);
                }
                Err(TryRecvError::Empty) => return self.receiver.blocking_recv(),
            }
        }
    }

    fn drain(&mut self, first: Operation) -> (Vec<Change>, Waiting) {
        let mut bytes = 0;
        let mut changes = Vec::new();
        let mut waiting = Waiting { completions: Vec::new(), _rooms: Vec::new() };
        let mut next = Some(first);
        while let Some(Operation { change, done, _room }) = next {
            bytes += change.bytes();
            changes.push(change);
            waiting.completions.extend(done);
            waiting._rooms.push(_room);
            next = if bytes < GROUP_BYTES_MAX { self.receiver.try_recv().ok() } else { None };
        }
        (changes, waiting)
    }

    /// Syncs what was begun, and tells all callers the outcome in order. `begun` is `None` if writing failed.
    fn end_group(&mut self, begun: Option<Option<Group>>, waiting: Waiting) {
        let durable = match begun {
            None => false,
            // Nothing needs a flush, but nothing succeeds once the storage has failed.
            Some(None) => self.fatal.get().is_none(),
            Some(Some(group)) => self.guarded(|worker| worker.finish(group)).is_some(),
        };
        for done in waiting.completions {
            let result = if durable {
                Ok(())
            } else {
                Err(self.fatal.as_io_error().unwrap_or_else(|| io::Error::other("storage failed")))
            };
            done(result);
        }
    }

    /// Runs a step unless the storage has failed. An error or a panic makes it fail.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> io::Result<T>) -> Option<T> {
        if self.fatal.get().is_some() {
            self.purge_upto = None;
            return None;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| step(self)));
        match outcome {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.fatal.raise(error.to_string()),
            Err(panic) => self.fatal.raise(panic_message(panic.as_ref())),
        }
        self.purge_upto = None;
        None
    }

    /// Writes a group without making it durable. `None` if nothing needs a flush.
    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
    fn begin(&mut self, changes: Vec<Change>) -> io::Result<Option<Group>> {
        let before = Before { end: self.end, held: self.held, purge_upto: self.purge_upto };
        let Some(mut group) = Group::of(changes, before, &mut self.lazy) else { return Ok(None) };
        if let Some(lowest) = group.truncated_to {
            self.set_mark(Marked { last: lowest, ..self.held }, true)?;
        }
        group.started = Instant::now();
        if !group.lazy.is_empty() {
            self.device.apply(std::mem::take(&mut group.lazy))?;
        }
        let batch = std::mem::take(&mut group.batch);
        if group.only_appends {
            // One by one: sled announces a batch in a write of its own, which costs a second sync.
            for record in batch.log {
                self.device.apply(DeviceBatch { log: [record].into(), ..DeviceBatch::default() })?;
            }
        } else {
            self.device.apply(batch)?;
        }
        Ok(Some(group))
    }

    /// Makes a written group durable and updates the state of the flusher.
    fn finish(&mut self, group: Group) -> io::Result<()> {
        let writing = group.started.elapsed();
        self.device.sync()?;
        self.stats.count_flush(writing, group.started.elapsed());
        let voted = group.held.vote != self.held.vote;
        self.set_mark(group.held, voted)?;
        self.stats.count_entries(group.entries, group.commands);
        self.held = group.held;
        self.end = group.end;
        self.purge_upto = group.purge_upto;
        (self.on_device)(group.end);
        Ok(())
    }

    fn set_mark(&mut self, marked: Marked, durable: bool) -> io::Result<()> {
        self.mark.as_mut().map_or(Ok(()), |mark| mark.write(marked, durable))
    }

    /// Deletes a few purged records. Not synced: the purge point is durable, so after a crash it is simply repeated.
    fn purge_step(&mut self) -> io::Result<()> {
        let Some(upto) = self.purge_upto else { return Ok(()) };
        if delete_records(self.device.as_ref(), upto)? < PURGE_STEP_RECORDS {
            self.purge_upto = None;
        }
        Ok(())
    }
}

/// Deletes up to [`PURGE_STEP_RECORDS`] records with indexes up to and including `upto`; returns how many.
pub(crate) fn delete_records(device: &dyn LogDevice, upto: u64) -> io::Result<usize> {
    let indexes = device.indexes(0..upto.saturating_add(1), PURGE_STEP_RECORDS)?;
    device.delete(&indexes)?;
    Ok(indexes.len())
}
