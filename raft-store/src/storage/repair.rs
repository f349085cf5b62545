//! Replaces the state of a member that differs from the others' with the right one (N3).
//!
//! No entry is applied to a distrusted state, while the log goes on: entries are only skipped. The repair takes the
//! state of a member that agreed, applies the entries after it from this node's own log, and replaces the distrusted
//! state once the new one has come as far as the log was handed out.
//!
//! Invariants
//! * No entry is applied twice and none is left out: the new state takes its place only if it has come exactly as far
//!   as the log was handed to the state machine.
//! * The new state is in a snapshot file before it is used, so that a restart begins with it and not
//!   with an older one that may be wrong.
//! * Nothing that came from the other member is a storage error of this node.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftLogReader;

use super::error::{FatalSignal, StorageError};
use super::executor::Executor;
use super::log_store::LogReader;
use super::shared::{DigestImage, SharedState, State};
use super::snapshot::{self, SnapshotFiles};
use super::{LogId, state_machine};
use crate::types::ContentHash;

/// Rounds of catching up with a log that grows meanwhile; each is shorter than the one before.
const ROUNDS_MAX: usize = 1_000;

/// Why a state was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The bytes are no state.
    #[error(transparent)]
    Damaged(#[from] StorageError),
    /// It covers the log further than this node has come; ask again a moment later.
    #[error("the state is ahead of this node's log, which has come to {reached}")]
    Ahead {
        /// How far this node has come.
        reached: u64,
    },
    /// Entries behind it are no longer in this node's log.
    #[error("entry {index} is not in this node's log any more")]
    Compacted {
        /// The first one missing.
        index: u64,
    },
    /// The state here is not distrusted any more: a snapshot has replaced it.
    #[error("the state was replaced meanwhile")]
    Replaced,
    /// The log grew faster than it was applied.
    #[error("the log grew faster than it could be applied")]
    TooSlow,
    /// The storage failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Digests, copies and replaces the applied state; cheap to clone.
#[derive(Clone)]
pub struct Repair {
    shared: SharedState,
    files: Arc<SnapshotFiles>,
    log: LogReader,
    fatal: FatalSignal,
    executor: Executor,
}

impl Repair {
    pub(crate) fn new(
        shared: SharedState,
        files: Arc<SnapshotFiles>,
        log: LogReader,
        fatal: FatalSignal,
        executor: Executor,
    ) -> Self {
        Self { shared, files, log, fatal, executor }
    }

    /// Computes a digest off the async threads.
    pub async fn digest(&self, image: DigestImage) -> io::Result<ContentHash> {
        self.executor.run(move || image.digest()).await
    }

    /// The state now, as a snapshot file in memory, and the last entry that was applied to it.
    pub async fn state_file(&self) -> io::Result<(Option<LogId>, Bytes)> {
        let image = self.shared.read().image();
        let last = image.last_applied;
        let bytes = self.executor.run(move || snapshot::encode(&image)).await??;
        Ok((last, bytes))
    }

    /// Puts the state in a snapshot file that came from another member in the place of the distrusted one. Returns
    /// the last entry that the file covered.
    pub async fn take_over(&self, file: Bytes) -> Result<LogId, RepairError> {
        let bytes = file.clone();
        let decoded = self.executor.run(move || snapshot::decode(&bytes, "the received state")).await??;
        let Some(from) = decoded.last_applied else { return Err(RepairError::Ahead { reached: 0 }) };
        if self.shared.reached().is_none_or(|reached| reached.index < from.index) {
            return Err(RepairError::Ahead { reached: self.shared.reached().map_or(0, |reached| reached.index) });
        }
        let files = Arc::clone(&self.files);
        let published = self.executor.run(move || files.publish(from, &|out| out.write_all(&file))).await?;
        if let Err(error) = published {
            self.fatal.raise(error.to_string());
            return Err(RepairError::Damaged(error));
        }
        let mut state = decoded;
        for _ in 0..ROUNDS_MAX {
            state = self.catch_up(state).await?;
            state = match self.shared.replace_distrusted(state)? {
                Replacement::Done(before) => {
                    // A large state takes long to let go of: not on an async thread.
                    self.executor.run(move || drop(before)).await?;
                    return Ok(from);
                }
                Replacement::Behind(state) => *state,
            };
        }
        Err(RepairError::TooSlow)
    }

    /// Applies what the log was handed out meanwhile.
    async fn catch_up(&self, mut state: State) -> Result<State, RepairError> {
        loop {
            let next = state.last_applied.map_or(0, |last| last.index + 1);
            let end = self.shared.reached().map_or(0, |reached| reached.index + 1);
            if next >= end {
                return Ok(state);
            }
            let entries = self.log.clone().limited_get_log_entries(next, end).await?;
            if entries.first().is_none_or(|entry| entry.log_id.index != next) {
                return Err(RepairError::Compacted { index: next });
            }
            let apply = move || {
                for entry in entries {
                    drop(state_machine::apply_to(&mut state, entry));
                }
                state
            };
            state = self.executor.run(apply).await?;
        }
    }
}

/// What came of putting a state in the place of the distrusted one.
pub(crate) enum Replacement {
    /// It is there; this was the distrusted one.
    Done(Box<State>),
    /// More entries were handed out meanwhile.
    Behind(Box<State>),
}
