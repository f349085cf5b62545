//! The payload of a log entry: a stamp, and the commands that were batched into the entry.
//!
//! Invariant: a command holds everything that its effect depends on (D1, D2). Time, random tokens and the limits of the
//! request are in it; nothing is looked up when it is applied. The encoding is private to the log and to snapshots; it
//! never appears in JSON.

use serde::{Deserialize, Serialize};

use super::ops::Op;
use crate::types::{ContentHash, FileName, LogTime, Version};

/// The payload of one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Moves the log clock (T1) if its term is the entry's own (T2).
    pub stamp: Option<Stamp>,
    /// Applied in order; each gets exactly one reply. A tick has none (T3).
    pub commands: Vec<Command>,
}

/// The log clock as the leader read it when it proposed the entry (T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The term of the leader that made the stamp; `apply` ignores the stamp in an entry of any other term.
    pub term: u64,
    /// Log time in milliseconds.
    pub at: LogTime,
}

/// The place of an entry in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId {
    /// The term of the entry's own log id (T2).
    pub term: u64,
    /// Its log index.
    pub index: u64,
}

/// The place of a command in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandId {
    /// Its entry.
    pub entry: EntryId,
    /// Its position in the entry, from 0.
    pub position: u32,
}

/// One write, with the key that makes it apply exactly once (X1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The caller's idempotency key, if it sent one.
    pub key: Option<KeyTag>,
    /// What to do.
    pub op: Op,
}

/// An idempotency key as it travels in the log. Keys belong to the peer that the operation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTag {
    /// The key as sent: opaque, or `session:sequence` (X2).
    pub key: String,
    /// Which chunk of a request that was too large for one entry (X4); 0 for a whole request.
    pub chunk: u32,
    /// `Idempotency-Floor`: sequence numbers below it are settled in this key's session and can be forgotten (X2).
    pub floor: Option<u64>,
    /// SHA-256 over path and canonical JSON body. The same key with another hash is refused as `key_reused` (X1).
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
