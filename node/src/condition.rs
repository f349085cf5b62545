//! Whether this node may act as a member and answer clients, beyond its role in Raft.
//!
//! The role says what a node does in Raft. The condition says whether it may take part at all. It may not while no
//! majority has recorded its start, if its data directory is an older copy, or once it was removed. A node whose state
//! differs from the others' goes on storing its log, but answers no client.
//!
//! Invariant: [`Condition::refusal`] is asked once for every request, before its handler runs.

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// Why a node answers no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its state is not the cluster's (C3, N3).
    #[error("{0}")]
    Diverged(String),
    /// It is not a member any more (C6).
    #[error("this node is not a member as of log index {as_of}")]
    Removed {
        /// Log index of the membership without it.
        as_of: u64,
    },
}

/// What a node may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Everything that its role allows.
    #[default]
    Serving,
    /// It belongs to a cluster and waits until a majority has recorded its start (C3, C5): it
    /// neither votes nor acknowledges.
    Starting {
        /// Where its state was found to be wrong before the start (N3).
        wrong_at: Option<u64>,
    },
    /// Its data directory is older than what its node had acknowledged (C3).
    OlderCopy {
        /// What showed it.
        reason: String,
    },
    /// It is not a member any more (C6).
    Removed {
        /// Log index of the membership that a confirmed leader named.
        as_of: u64,
    },
    /// Its state differs from the one that a majority has at the same log index (N3).
    Diverged {
        /// That log index.
        at: u64,
    },
}

impl Condition {
    /// For `/cluster`, `status` and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Serving => "ok",
            Self::Starting { .. } => "starting",
            Self::OlderCopy { .. } => "older copy",
            Self::Removed { .. } => "removed",
            Self::Diverged { .. } => "diverged",
        }
    }

    /// Whether the node counts as a healthy member.
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Serving)
    }

    /// The refusal that every client gets; `None` if clients are answered.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Serving | Self::Starting { wrong_at: None } => None,
            Self::OlderCopy { reason } => Some(Refusal::Diverged(format!(
                "the data directory of this node is an older copy: {reason}; replace the node by itself: \
                 raftshare-node replace ID ID --addr HOST:PORT"
            ))),
            Self::Removed { as_of } => Some(Refusal::Removed { as_of: *as_of }),
            Self::Diverged { at } | Self::Starting { wrong_at: Some(at) } => Some(Refusal::Diverged(format!(
                "the state of this node differs from the one that a majority has at log index {at}; it is being replaced"
            ))),
        }
    }
}

/// The node's condition, shared by everybody who needs it.
#[derive(Debug, Default)]
pub struct ConditionCell(RwLock<Condition>);

impl ConditionCell {
    /// The condition now.
    pub fn get(&self) -> Condition {
        self.0.read().clone()
    }

    /// Changes the condition; true if it was a different one before.
    pub fn set(&self, condition: Condition) -> bool {
        let mut current = self.0.write();
        let changed = *current != condition;
        *current = condition;
        changed
    }

    /// The refusal that every client gets.
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.read().refusal()
    }
}
