//! Replaces the state of a member that differs from that of the majority (N3).
//!
//! While a state is distrusted the log continues, but entries are skipped instead of applied. The repair takes the
//! state of a member that agreed with the majority, applies the entries after it from this node's own log, and replaces
//! the distrusted state once the new one has caught up.
//!
//! Invariants
//! * No entry is applied twice and none is left out: the new state replaces the old one only if it has applied exactly
//!   the entries that the old one applied or skipped.
//! * The new state is in a snapshot file before it is used, so a restart begins with it and not with an older state
//!   that may be wrong.
//! * A fault in what the other member sent is not a storage error of this node.

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

/// Rounds of catching up with a growing log. Each round is shorter than the one before.
const ROUNDS_MAX: usize = 1_000;

/// Why a state was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The bytes are not a valid state.
    #[error(transparent)]
    Damaged(#[from] StorageError),
    /// The state is ahead of this node's log; ask again a moment later.
    #[error("the state is ahead of this node, which has reached entry {reached}")]
    Ahead {
        /// The last entry that this node has reached.
        reached: u64,
    },
    /// This node's log no longer has the entries after the state.
    #[error("entry {index} is no longer in this node's log")]
    Compacted {
        /// The first missing entry.
        index: u64,
    },
    /// The state is no longer distrusted: a snapshot has replaced it.
    #[error("the state has been replaced meanwhile")]
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

    /// The current state as a snapshot file in memory, and its last applied entry.
    pub async fn state_file(&self) -> io::Result<(Option<LogId>, Bytes)> {
        let image = self.shared.read().image();
        let last = image.last_applied;
        let bytes = self.executor.run(move || snapshot::encode(&image)).await??;
        Ok((last, bytes))
    }

    /// Replaces the distrusted state by that in a snapshot file of another member. Returns the last entry that the file
    /// covered.
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
                    // Dropping a large state takes long: not on an async thread.
                    self.executor.run(move || drop(before)).await?;
                    return Ok(from);
                }
                Replacement::Behind(state) => *state,
            };
        }
        Err(RepairError::TooSlow)
    }

    /// Applies the entries that were skipped meanwhile.
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

/// The result of trying to replace the distrusted state.
pub(crate) enum Replacement {
    /// It is replaced; this is the old state.
    Done(Box<State>),
    /// More entries were skipped meanwhile.
    Behind(Box<State>),
}
