//! openraft's state machine: the catalog in memory, with snapshots in files.
//!
//! Invariants
//! * Catalog, last applied log id and membership change together, under one lock, and are snapshotted together.
//! * A snapshot is reported only once it is durable. An installed one replaces the state only after that.
//! * Between snapshots nothing here is durable: after a restart the newest snapshot is loaded, and openraft applies the
//!   committed entries of the log again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use parking_lot::Mutex;

use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::feed::{AppliedEntry, FeedItem};
use super::shared::{DigestImage, SharedState, State, StateImage};
use super::snapshot::{self, SnapshotFile, SnapshotFiles};
use super::stats::SnapshotStats;
use super::{Entry, LogId, StoredMembership};
use crate::catalog::{EntryId, Event};
use crate::raft::{Outcomes, Snapshot, SnapshotMeta, TypeConfig};

/// The bytes of a snapshot file. Cheap to clone. A snapshot that was read or received is in memory. One that was built
/// is only in its file, because Raft usually drops it unread.
#[derive(Debug, Clone)]
pub struct SnapshotData(Place);

#[derive(Debug, Clone)]
enum Place {
    Memory(Bytes),
    Received { bytes: Bytes, state: Decoded },
    File { file: SnapshotFile, files: Arc<SnapshotFiles>, executor: Executor },
}

/// A state that was decoded from a snapshot, until the installation takes it.
#[derive(Clone)]
struct Decoded(Arc<Mutex<Option<State>>>);

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoded")
    }
}

/// Checks and decodes snapshots that other nodes send. Raft treats a snapshot that cannot be installed as a failure of
/// this node's storage, so that nothing but writing the file may fail after this (N2). Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotReceiver {
    executor: Executor,
}

impl SnapshotReceiver {
    pub(crate) fn new(executor: Executor) -> Self {
        Self { executor }
    }

    /// Checks and decodes a whole snapshot. Returns its description, and what Raft installs.
    pub async fn receive(&self, bytes: Bytes) -> Result<(SnapshotMeta, SnapshotData), StorageError> {
        const NAME: &str = "the received snapshot";
        let decoded = self.executor.run(move || Ok::<_, StorageError>((snapshot::decode(&bytes, NAME)?, bytes))).await;
        let (state, bytes) = decoded.map_err(|source| StorageError::io("decode", NAME, source))??;
        let meta = SnapshotMeta { last_log_id: state.last_applied, last_membership: state.membership.clone() };
        let state = Decoded(Arc::new(Mutex::new(Some(state))));
        Ok((meta, SnapshotData(Place::Received { bytes, state })))
    }
}

impl SnapshotData {
    /// The state, if it is decoded.
    fn take_state(&self) -> Option<State> {
        match &self.0 {
            Place::Received { state, .. } => state.0.lock().take(),
            Place::Memory(_) | Place::File { .. } => None,
        }
    }

    /// The bytes; reads and checks them if they are not in memory. Fails once newer snapshots have replaced the file.
    pub async fn bytes(self) -> io::Result<Bytes> {
        match self.0 {
            Place::Memory(bytes) | Place::Received { bytes, .. } => Ok(bytes),
            Place::File { file, files, executor } => {
                let (_, bytes) = executor.run(move || files.read_checked(&file)).await??;
                Ok(bytes)
            }
        }
    }
}

/// Bytes from another node; they are checked before they are used.
impl From<Bytes> for SnapshotData {
    fn from(bytes: Bytes) -> Self {
        Self(Place::Memory(bytes))
    }
}

/// The state machine; goes to `Raft::new`.
pub struct StateMachine {
    shared: SharedState,
    files: Arc<SnapshotFiles>,
    stats: Arc<SnapshotStats>,
    fatal: FatalSignal,
    executor: Executor,
}

impl StateMachine {
    pub(crate) fn new(shared: SharedState, files: Arc<SnapshotFiles>, fatal: FatalSignal, executor: Executor) -> Self {
        Self { shared, files, stats: Arc::default(), fatal, executor }
    }

    /// Where the snapshots that it builds and installs are counted.
    pub(crate) fn stats(&self) -> Arc<SnapshotStats> {
        Arc::clone(&self.stats)
    }

    fn apply_one(&self, entry: Entry) -> Outcomes {
        let log_id = entry.log_id();
        if self.shared.pass_over(log_id) {
            return Outcomes::default();
        }
        let term = **log_id.committed_leader_id();
        let is_checkpoint = matches!(&entry.payload, EntryPayload::Normal(proposal) if proposal.is_checkpoint());
        let (outcomes, checkpoint) = self.shared.update(|state| {
            let (outcomes, events) = apply_to(state, entry);
            // Taken here, where the state is exactly that after this entry; hashed elsewhere.
            let checkpoint = is_checkpoint.then(|| DigestImage::of(state));
            let applied = AppliedEntry { log_index: log_id.index, term, events: Arc::new(events) };
            ((outcomes, checkpoint), FeedItem::Applied(applied))
        });
        if let Some(image) = checkpoint {
            self.shared.keep_checkpoint(image);
        }
        outcomes
    }
}

/// Applies one entry to a state.
pub(crate) fn apply_to(state: &mut State, entry: Entry) -> (Outcomes, Vec<Event>) {
    let log_id = entry.log_id();
    let (replies, events) = match entry.payload {
        EntryPayload::Blank => Default::default(),
        EntryPayload::Normal(proposal) => {
            let entry = EntryId { term: **log_id.committed_leader_id(), index: log_id.index };
            let applied = state.catalog.apply(entry, proposal.batch());
            (applied.replies, applied.events)
        }
        EntryPayload::Membership(membership) => {
            let changed = Event::MembersChanged {
                voters: membership.voter_ids().collect(),
                learners: membership.learner_ids().collect(),
            };
            state.membership = StoredMembership::new(Some(log_id), membership);
            (Default::default(), vec![changed])
        }
    };
    state.last_applied = Some(log_id);
    (Outcomes(replies), events)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let view = self.shared.read();
        Ok((view.last_applied(), view.membership().clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            // A node whose disk has failed answers nothing (W4).
            if let Some(error) = self.fatal.as_io_error() {
                return Err(error);
            }
            let outcomes = self.apply_one(entry);
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    /// Makes no snapshot of a distrusted state: it would purge entries that the repair still needs (N3).
    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        if self.shared.is_distrusted() { None } else { Some(self.get_snapshot_builder().await) }
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let image = self.shared.read().image();
        SnapshotBuilder {
            meta: SnapshotMeta { last_log_id: image.last_applied, last_membership: image.membership.clone() },
            image: Some(image),
            files: Arc::clone(&self.files),
            stats: Arc::clone(&self.stats),
            fatal: self.fatal.clone(),
            executor: self.executor.clone(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let received = snapshot.take_state();
        let (snapshot, started) = (snapshot.bytes().await?, tokio::time::Instant::now());
        let bytes = snapshot.len();
        let files = Arc::clone(&self.files);
        let meta = meta.clone();
        let index = meta.last_log_id.map_or(0, |last| last.index);
        let stored = blocking(&self.fatal, &self.executor, move || {
            let state = match received {
                Some(state) => state,
                None => snapshot::decode(&snapshot, "the received snapshot")?,
            };
            if state.last_applied != meta.last_log_id || state.membership != meta.last_membership {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the snapshot is not the one that was announced",
                ));
            }
            if let Some(last) = state.last_applied {
                files.publish(last, &|file| file.write_all(&snapshot))?;
            }
            Ok(state)
        });
        let state = stored.await?;
        let before = self.shared.update(|current| {
            let upto = state.last_applied;
            (std::mem::replace(current, state), FeedItem::Replaced { upto })
        });
        let took = started.elapsed();
        self.stats.installed.record(took, bytes as u64);
        tracing::info!(index, bytes, seconds = took.as_secs_f64(), "installed a snapshot");
        // Dropping a large state takes long: do it without the lock and not on an async thread.
        self.executor.run(move || drop(before)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let files = Arc::clone(&self.files);
        let current = blocking(&self.fatal, &self.executor, move || Ok(files.current()?)).await?;
        Ok(current.map(|(meta, bytes)| Snapshot { meta, snapshot: bytes.into() }))
    }
}

/// Builds one snapshot from an image of the state.
pub struct SnapshotBuilder {
    meta: SnapshotMeta,
    /// Taken by the build, so that it is dropped where it was written.
    image: Option<StateImage>,
    files: Arc<SnapshotFiles>,
    stats: Arc<SnapshotStats>,
    fatal: FatalSignal,
    executor: Executor,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    #[expect(clippy::disallowed_methods, reason = "measures the disk")]
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let Some(image) = self.image.take() else { return Err(io::Error::other("this snapshot was built already")) };
        let (files, executor) = (Arc::clone(&self.files), self.executor.clone());
        let stats = Arc::clone(&self.stats);
        let started = tokio::time::Instant::now();
        let snapshot = blocking(&self.fatal, &self.executor, move || {
            let Some(last) = image.last_applied else { return Ok(snapshot::encode(&image)?.into()) };
            let file = files.publish(last, &|file| snapshot::write(&image, file))?;
            let bytes = files.newest_size().map_or(0, |(_, bytes)| bytes);
            let took = started.elapsed();
            stats.built.record(took, bytes);
            tracing::info!(index = last.index, bytes, seconds = took.as_secs_f64(), "took a snapshot");
            Ok(SnapshotData(Place::File { file, files, executor }))
        });
        Ok(Snapshot { meta: self.meta.clone(), snapshot: snapshot.await? })
    }
}

/// Runs file work off the async threads; its error is a storage error (W4).
async fn blocking<T: Send + 'static>(
    fatal: &FatalSignal,
    executor: &Executor,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let result = executor.run(work).await.and_then(|result| result);
    if let Err(error) = &result {
        fatal.raise(error.to_string());
    }
    result
}
