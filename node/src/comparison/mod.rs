//! What a node knows of comparisons of the members' states (N3), and how they are judged.
//!
//! Pure but for its locks. The tasks that compare and repair are in `duties::divergence`.
//!
//! Invariant: the memory for comparisons is bounded: a few digests, and one encoded state for another member.

pub mod judge;
mod outbox;
pub mod position;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use raft_store::types::ContentHash;
use tokio::sync::{Notify, watch};

pub use self::outbox::{Offer, PART_DEADLINE, StateOutbox};

/// Digests of checkpoints that are kept: `verify` looks for one that all members have.
const CHECKPOINTS_KEPT: usize = 8;

/// The digest of this node's state right after a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Log index of the checkpoint.
    pub index: u64,
    /// The digest there.
    pub digest: ContentHash,
}

/// What a node knows of comparisons.
#[derive(Default)]
pub struct Divergence {
    /// Oldest first, at most [`CHECKPOINTS_KEPT`].
    pub(crate) checkpoints: Mutex<VecDeque<Checkpoint>>,
    /// Index of the newest checkpoint whose digest is known.
    pub(crate) newest: watch::Sender<u64>,
    /// Whether a comparison is wanted before its time.
    pub(crate) wanted: AtomicBool,
    /// Ends the repair's pause.
    pub(crate) judged: Notify,
    pub(crate) repairing: AtomicBool,
    pub(crate) outbox: StateOutbox,
    /// Log index at which the last comparison found different digests and no majority.
    pub(crate) alarm: Mutex<Option<u64>>,
    pub(crate) comparisons: AtomicU64,
    pub(crate) disagreements: AtomicU64,
}

impl Divergence {
    /// Digests of the last checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.checkpoints.lock().iter().copied().collect()
    }

    /// The digest at a checkpoint, if it is one of the last.
    pub fn digest_at(&self, index: u64) -> Option<ContentHash> {
        self.checkpoints.lock().iter().find(|checkpoint| checkpoint.index == index).map(|checkpoint| checkpoint.digest)
    }

    /// Keeps a checkpoint in place of the oldest one.
    pub fn keep(&self, checkpoint: Checkpoint) {
        let mut kept = self.checkpoints.lock();
        if kept.len() == CHECKPOINTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(checkpoint);
        drop(kept);
        self.newest.send_replace(checkpoint.index);
    }

    /// Where members' states differ and no majority agrees; `None` if the last comparison found none of that.
    pub fn alarm(&self) -> Option<u64> {
        *self.alarm.lock()
    }

    /// Number of comparisons whose outcome this node was told.
    pub fn comparisons(&self) -> u64 {
        self.comparisons.load(Ordering::Relaxed)
    }

    /// Number of those that found different digests.
    pub fn disagreements(&self) -> u64 {
        self.disagreements.load(Ordering::Relaxed)
    }

    /// Compares soon, if this node leads.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }
}
