//! Fetches ranges from several sources at once: executes the plan, and writes and hashes what arrives.
//!
//! A source that is lost is replaced: the holders are looked up again at once, and every few seconds anyway. Chunks
//! that are complete stay, whoever sent them.
//!
//! Invariants: one writer thread writes each chunk once and whole. If a chunk is fetched twice (end game), the first
//! complete fetch counts. Memory is limited to the connections times the chunk size, plus a short queue to the writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, OptionFuture};
use raft_store::types::ContentHash;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::holders::{self, Holders};
use super::plan::{Action, ChunkId, Outcome, Plan, Progress, SourceId, chunk_bytes};
use super::source::SourceError;
use super::{DownloadError, Failed, Fetched, Job, SourceProgress};
use crate::files::{PartFile, Staged};

/// How often speed is checked and progress reported.
const TICK: Duration = Duration::from_millis(100);
/// Complete chunks that may wait for the writer.
const WRITE_QUEUE: usize = 2;

/// Most sources of one download; further ones are ignored.
const SOURCES_KNOWN_MAX: usize = 256;

type Chunk = Result<Vec<u8>, SourceError>;

/// A running fetch.
struct Running {
    abort: AbortHandle,
    received: Arc<AtomicU64>,
    /// When the current speed measurement began, and the bytes received by then.
    window: (Instant, u64),
}

/// Fetches a file of known size and compares its hash with the announced one.
pub(super) async fn fetch(job: &Job<'_>, size: u64) -> Result<Fetched, Failed> {
    let part = job.new_part(Some(size)).map_err(Failed::Final)?;
    part.set_len(size).map_err(|error| Failed::Final(DownloadError::io(part.path(), error)))?;
    let (chunks, writer) = Writer::start(part);
    let mut executor = Executor::new(job, size, chunks);
    let result = executor.run().await;
    let sources = executor.shares();
    drop(executor); // closes the queue and aborts running fetches
    let written = writer.await.map_err(|error| {
        Failed::Final(DownloadError::Io { path: job.tmp.to_owned(), source: std::io::Error::other(error) })
    })?;
    // A disk error explains every other failure, so it comes first.
    let (part, hash) = written.map_err(Failed::Final)?;
    result?;
    job.report(size, Some(size), sources.clone());
    if hash != job.request.hash {
        return Err(Failed::Mismatch(sources.into_iter().map(|share| share.source).collect()));
    }
    Ok(Fetched { staged: Staged { part, hash, size }, sources, suspects: Vec::new() })
}

struct Executor<'a> {
    job: &'a Job<'a>,
    /// Base URLs of all sources so far, in the plan's order.
    sources: Vec<String>,
    /// The lookup of the holders that is under way.
    looking: Option<BoxFuture<'static, Option<Holders>>>,
    look_at: Instant,
    look_pause: Duration,
    /// When the last chunk was completed, or the download began.
    last_chunk: Instant,
    size: u64,
    chunk_bytes: u64,
    plan: Plan,
    tasks: JoinSet<(ChunkId, SourceId, Chunk)>,
    running: HashMap<(ChunkId, SourceId), Running>,
    chunks: mpsc::Sender<(u64, Vec<u8>)>,
    /// Bytes of complete chunks, per source.
    bytes: Vec<u64>,
    reasons: BTreeMap<SourceId, SourceError>,
    /// Bytes last reported as received.
    reported: u64,
}

impl<'a> Executor<'a> {
    fn new(job: &'a Job<'a>, size: u64, chunks: mpsc::Sender<(u64, Vec<u8>)>) -> Self {
        let chunk_bytes = chunk_bytes(size);
        let count = usize::try_from(size.div_ceil(chunk_bytes)).unwrap_or(usize::MAX);
        let plan = Plan::new(count, job.sources.len());
        let bytes = vec![0; job.sources.len()];
        let (tasks, running, reasons) = (JoinSet::new(), HashMap::new(), BTreeMap::new());
        let now = Instant::now();
        Self {
            job,
            sources: job.sources.clone(),
            looking: None,
            look_at: now + holders::LOOK_EVERY,
            look_pause: holders::PAUSE_MIN,
            last_chunk: now,
            size,
            chunk_bytes,
            plan,
            tasks,
            running,
            chunks,
            bytes,
            reasons,
            reported: 0,
        }
    }

    /// How much each source sent, of complete chunks.
    fn shares(&self) -> Vec<SourceProgress> {
        let share = |(source, bytes): (&String, &u64)| SourceProgress { source: source.clone(), bytes: *bytes };
        self.sources.iter().zip(&self.bytes).filter(|(_, bytes)| **bytes > 0).map(share).collect()
    }

    async fn run(&mut self) -> Result<(), Failed> {
        let mut tick = tokio::time::interval(TICK);
        let actions = self.plan.assign();
        self.execute(actions);
        loop {
            match self.plan.progress() {
                Progress::Running => {}
                Progress::Finished => return Ok(()),
                Progress::Stuck if self.may_wait() => {}
                Progress::Stuck => {
                    let sources = &self.sources;
                    let reasons = self.reasons.iter().map(|(source, error)| (sources[*source].clone(), error.clone()));
                    return Err(Failed::Sources(reasons.collect()));
                }
            }
            tokio::select! {
                Some(joined) = self.tasks.join_next() => {
                    // An aborted fetch ends with a join error; the plan already knows about it.
                    if let Ok((chunk, source, result)) = joined {
                        self.finished(chunk, source, result).await?;
                    }
                }
                Some(found) = OptionFuture::from(self.looking.as_mut()) => {
                    self.looking = None;
                    self.found(found);
                }
                _ = tick.tick() => self.tick(),
            }
        }
    }

    /// Whether a stuck download may still wait for a source.
    fn may_wait(&self) -> bool {
        let patient = self.job.lookup.as_ref().is_some_and(|lookup| self.last_chunk.elapsed() < lookup.patience);
        patient && !self.job.seen.lock().is_over()
    }

    /// Begins a lookup if one is due: soon after a source was lost, and every few seconds otherwise.
    fn look_for_sources(&mut self) {
        let Some(lookup) = &self.job.lookup else { return };
        let now = Instant::now();
        let due = if self.plan.misses_sources() { self.look_at.min(now + self.look_pause) } else { self.look_at };
        self.look_at = due;
        if self.looking.is_none() && now >= due {
            self.looking = Some(lookup.find());
        }
    }

    /// Adds the sources that were not known, and asks those again that are said to be back.
    fn found(&mut self, found: Option<Holders>) {
        let missing = self.plan.misses_sources();
        for url in found.iter().flat_map(|found| &found.sources) {
            match self.sources.iter().position(|known| known == url) {
                Some(source) => drop(self.plan.revive(source)),
                None if self.sources.len() < SOURCES_KNOWN_MAX => {
                    self.plan.add_source();
                    self.sources.push(url.clone());
                    self.bytes.push(0);
                    self.job.added.lock().push(url.clone());
                }
                None => {}
            }
        }
        if let Some(found) = found {
            self.job.note(found);
        }
        self.look_pause = if missing { (self.look_pause * 2).min(holders::PAUSE_MAX) } else { holders::PAUSE_MIN };
        self.look_at = Instant::now() + if missing { self.look_pause } else { holders::LOOK_EVERY };
        let actions = self.plan.assign();
        self.execute(actions);
    }

    async fn finished(&mut self, chunk: ChunkId, source: SourceId, result: Chunk) -> Result<(), Failed> {
        if self.running.remove(&(chunk, source)).is_none() {
            return Ok(()); // cancelled while its result was arriving
        }
        let outcome = match result {
            Ok(bytes) => {
                self.bytes[source] += bytes.len() as u64;
                self.last_chunk = Instant::now();
                let offset = chunk as u64 * self.chunk_bytes;
                if self.chunks.send((offset, bytes)).await.is_err() {
                    return Err(Failed::Sources(Vec::new())); // the writer stopped; its error is reported instead
                }
                Outcome::Done
            }
            // The file may be smaller than the index says, but never larger.
            Err(SourceError::OtherSize(size)) if size < self.size => return Err(Failed::OtherSize(size)),
            Err(error) => {
                let outcome = error.outcome();
                self.reasons.insert(source, error);
                outcome
            }
        };
        let actions = self.plan.handle(chunk, source, outcome);
        self.execute(actions);
        Ok(())
    }

    fn tick(&mut self) {
        self.look_for_sources();
        let limits = self.job.target.limits;
        let enough = limits.slow_bytes_per_second as f64 * limits.slow_window.as_secs_f64();
        let least = limits.least_bytes_per_second as f64 * limits.slow_window.as_secs_f64();
        let (mut slow, mut stuck) = (Vec::new(), Vec::new());
        let mut under_way = 0;
        for (key, running) in &mut self.running {
            let received = running.received.load(Ordering::Relaxed);
            under_way += received;
            if running.window.0.elapsed() < limits.slow_window {
                continue;
            }
            let lately = received - running.window.1;
            if (lately as f64) < least {
                stuck.push((*key, lately / limits.slow_window.as_secs().max(1)));
            } else if (lately as f64) < enough {
                slow.push(*key);
            }
            running.window = (Instant::now(), received);
        }
        for ((chunk, source), rate) in stuck {
            let Some(running) = self.running.remove(&(chunk, source)) else { continue };
            running.abort.abort();
            self.reasons.insert(source, SourceError::Slow(rate));
            let actions = self.plan.handle(chunk, source, Outcome::Failed);
            self.execute(actions);
        }
        for (chunk, source) in slow {
            let actions = self.plan.handle(chunk, source, Outcome::Slow);
            self.execute(actions);
        }
        let complete: u64 = self.bytes.iter().sum();
        // A chunk that is lost or fetched twice must not move the progress bar back.
        self.reported = self.reported.max((complete + under_way).min(self.size));
        self.job.report(self.reported, Some(self.size), self.shares());
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Fetch(chunk, source) => self.start(chunk, source),
                Action::Cancel(chunk, source) => {
                    if let Some(running) = self.running.remove(&(chunk, source)) {
                        running.abort.abort();
                    }
                }
            }
        }
    }

    fn start(&mut self, chunk: ChunkId, source: SourceId) {
        let received = Arc::new(AtomicU64::new(0));
        let first = chunk as u64 * self.chunk_bytes;
        let span = first..(first + self.chunk_bytes).min(self.size);
        let (target, url, size) = (self.job.target.clone(), self.sources[source].clone(), self.size);
        let counter = Arc::clone(&received);
        let abort = self.tasks.spawn(async move {
            let result = target.range(&url, span, size, &counter).await;
            (chunk, source, result)
        });
        self.running.insert((chunk, source), Running { abort, received, window: (Instant::now(), 0) });
    }
}

/// Writes chunks as they arrive and hashes them in file order, on its own thread.
struct Writer {
    part: PartFile,
    hasher: Sha256,
    /// Bytes hashed so far; all of them are written.
    hashed: u64,
    /// Lengths of chunks that are written but not yet hashed, by offset.
    ahead: BTreeMap<u64, usize>,
}

type Written = Result<(PartFile, ContentHash), DownloadError>;

impl Writer {
    fn start(part: PartFile) -> (mpsc::Sender<(u64, Vec<u8>)>, JoinHandle<Written>) {
        let (sender, mut receiver) = mpsc::channel::<(u64, Vec<u8>)>(WRITE_QUEUE);
        let thread = tokio::task::spawn_blocking(move || {
            let mut writer = Writer { part, hasher: Sha256::new(), hashed: 0, ahead: BTreeMap::new() };
            let mut seen = BTreeSet::new();
            while let Some((offset, bytes)) = receiver.blocking_recv() {
                debug_assert!(seen.insert(offset), "a chunk is written once");
                if let Err(error) = writer.take(offset, &bytes) {
                    return Err(DownloadError::io(writer.part.path(), error));
                }
            }
            Ok((writer.part, ContentHash(writer.hasher.finalize().into())))
        });
        (sender, thread)
    }

    fn take(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.part.write_at(bytes, offset)?;
        if offset != self.hashed {
            self.ahead.insert(offset, bytes.len());
            return Ok(());
        }
        self.hasher.update(bytes);
        self.hashed += bytes.len() as u64;
        while let Some(length) = self.ahead.remove(&self.hashed) {
            let mut behind = vec![0; length];
            self.part.read_at(&mut behind, self.hashed)?;
            self.hasher.update(&behind);
            self.hashed += length as u64;
        }
        Ok(())
    }
}
