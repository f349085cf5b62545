//! What travels in a log entry: a stamp and the commands that were coalesced into it.
//!
//! Invariant: a command holds everything its effect depends on (D1, D2): the time, the random tokens and the limits of
//! the request are in it, never looked up. The encoding is private to log and snapshots; it never appears in JSON.

use serde::{Deserialize, Serialize};

use super::ops::Op;
use crate::types::{ContentHash, FileName, LogTime, Version};

/// One log entry's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Moves the log clock (T1), if its term is the entry's own (T2).
    pub stamp: Option<Stamp>,
    /// Applied in order; each gets exactly one reply. May be empty: a tick (T3).
    pub commands: Vec<Command>,
}

/// The leader's reading of the log clock when it proposed (T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The term whose anchor made the stamp; `apply` ignores it in an entry of any other term.
    pub term: u64,
    /// Log time in milliseconds.
    pub at: LogTime,
}

/// One write, with what makes it exactly-once (X1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The caller's key, if it sent one.
    pub key: Option<KeyTag>,
    /// What to do.
    pub op: Op,
}

/// An idempotency key as it travels in the log. Keys are per peer (the peer is the one the operation names).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTag {
    /// The key as sent: opaque, or `session:sequence` (X2).
    pub key: String,
    /// Which chunk of a request that was too large for one entry (X4); 0 for whole requests.
    pub chunk: u32,
    /// `Idempotency-Floor`: sequences of this key's session below it are settled and can be dropped (X2).
    pub floor: Option<u64>,
    /// SHA-256 over path and canonical JSON body: the same key with another one is `key_reused` (X1).
    pub body: ContentHash,
}

/// One file as a peer states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The name.
    pub name: FileName,
    /// The version the peer believes it has; unknown for a folder shared for the first time (F6).
    pub version: Option<Version>,
    /// Size in bytes, if stated.
    pub size: Option<u64>,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}
