//! What travels in a log entry: a stamp and the commands that were coalesced into it.
//!
//! Invariant: a command holds everything its effect depends on (D1, D2): the time, the random tokens and the limits of
//! the request are in it, never looked up. The encoding is private to log and snapshots; it never appears in JSON.

use serde::{Deserialize, Serialize};

use crate::types::{ContentHash, FileName, Incarnation, LeaseToken, LogTime, PeerId, Version};

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

/// The operations of the catalog. Every variant names the rules it implements; each is deterministic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Creates or refreshes a peer (P1, P2).
    Register(Register),
    /// Announces one holding, creates or publishes a version (F3–F6).
    Announce(Announce),
    /// Announces many holdings; each is decided by itself, none may carry a lease token.
    AnnounceMany {
        /// Who announces.
        peer: PeerId,
        /// What it holds.
        files: Vec<Holding>,
    },
    /// Asks for the lease of a file; claims it for the head of the line; joins the line if `wait` (L1–L6).
    ///
    /// Idempotent for a waiter: already in line it answers the position, with a pending grant it claims.
    Acquire {
        /// Who asks.
        peer: PeerId,
        /// For which name; it need not exist yet (L6).
        file: FileName,
        /// Requested duration in milliseconds, already within the limits of L1.
        ttl_ms: u64,
        /// Join the line if the lease is taken (L5).
        wait: bool,
        /// The secret to grant with, drawn by the proposer (D2).
        token: LeaseToken,
    },
    /// Extends a live lease; never shortens it (L1).
    Renew {
        /// The holder.
        peer: PeerId,
        /// The leased name.
        file: FileName,
        /// The live lease's secret.
        token: LeaseToken,
        /// New duration from now in milliseconds; the granted one if absent.
        ttl_ms: Option<u64>,
    },
    /// Ends a live lease (L7).
    Release {
        /// The holder.
        peer: PeerId,
        /// The leased name.
        file: FileName,
        /// The live lease's secret.
        token: LeaseToken,
    },
    /// Gives up a place in line, or a pending grant; fine if there is none (L5).
    Leave {
        /// Who leaves.
        peer: PeerId,
        /// Whose line.
        file: FileName,
    },
    /// Drops one copy, or the name everywhere under a lease (F7).
    Delete {
        /// Who deletes.
        peer: PeerId,
        /// What.
        file: FileName,
        /// Write a tombstone version instead of dropping one holder.
        everywhere: bool,
        /// The live lease's secret; needed for `everywhere`.
        token: Option<LeaseToken>,
    },
    /// The leader saw no sign of life for the peer TTL (P3). Ignored if the incarnation or the entry's term moved on.
    ExpirePeer {
        /// The silent peer.
        peer: PeerId,
        /// The incarnation that was silent.
        incarnation: Incarnation,
        /// The proposer's term (T2).
        term: u64,
    },
    /// The leader saw no poll of a waiter for 15 s (L5). Ignored if the place or the entry's term moved on.
    DropWaiter {
        /// The silent waiter.
        peer: PeerId,
        /// Whose line.
        file: FileName,
        /// The place it had: the `ticket` of its line entry.
        ticket: u64,
        /// The proposer's term (T2).
        term: u64,
    },
    /// Sets the default number of live copies (M1).
    SetReplicas {
        /// At least 1.
        replicas: u32,
    },
}

/// A registration (P1, P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Who registers.
    pub peer: PeerId,
    /// Base URL of the peer's HTTP server.
    pub address: String,
    /// Failure zone, for spreading copies.
    pub zone: Option<String>,
    /// Bytes the peer is willing to hold.
    pub capacity_bytes: Option<u64>,
    /// False for a peer that only writes and serves no files: it is known, but not live.
    pub serving: bool,
    /// What it holds.
    pub listing: Listing,
}

/// The forms in which a registration states the peer's holdings (P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// Everything in one request.
    Whole(Vec<Holding>),
    /// One page of several.
    Page {
        /// The listing's id; an id that is not the open listing's starts a new one.
        id: String,
        /// Whether this page completes the listing.
        last: bool,
        /// This page's holdings.
        files: Vec<Holding>,
    },
    /// Nothing changed since the last complete listing, proved by a digest over the stored holdings.
    Unchanged {
        /// SHA-256 over the holdings sorted by name bytes, each `name NUL hash-hex LF`.
        digest: ContentHash,
        /// Number of holdings, if sent.
        count: Option<u64>,
    },
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

/// One announced file (F3–F6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Who announces.
    pub peer: PeerId,
    /// What.
    pub holding: Holding,
    /// The lease under which a new version is published (F5).
    pub token: Option<LeaseToken>,
    /// Keep the lease after publishing.
    pub keep_lease: bool,
}

impl Op {
    /// The peer an operation acts for; its idempotency keys are kept under this id. `None` for the node's own commands.
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Op::Register(register) => Some(&register.peer),
            Op::Announce(announce) => Some(&announce.peer),
            Op::AnnounceMany { peer, .. }
            | Op::Acquire { peer, .. }
            | Op::Renew { peer, .. }
            | Op::Release { peer, .. }
            | Op::Leave { peer, .. }
            | Op::Delete { peer, .. } => Some(peer),
            Op::ExpirePeer { .. } | Op::DropWaiter { .. } | Op::SetReplicas { .. } => None,
        }
    }
}
