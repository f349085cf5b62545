//! A start of a data directory, and what a member says to it (C3, C5).

use raft_store::raft::LogId;
use raft_store::storage::StartId;
use serde::{Deserialize, Serialize};

use crate::identities::Side;

/// What a starting node tells a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Who starts.
    pub side: Side,
    /// Which start it is.
    pub start: StartId,
    /// The process: a random number of its own.
    pub boot: u64,
    /// Where its log ends.
    pub last_log: Option<LogId>,
    /// Where it can be reached now (C4).
    pub address: String,
}

/// What the member answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It has recorded the start, durably; and which starts of other directories it knows.
    Recorded(Vec<Seen>),
    /// The directory is older than what its node had acknowledged.
    OlderCopy(String),
    /// Another process with this directory's identity runs at this address.
    InUse(String),
}

/// A start of another directory, passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The directory.
    pub store: u64,
    /// Its newest start.
    pub start: StartId,
    /// The process.
    pub boot: u64,
    /// Where it can be reached.
    pub address: String,
}
