//! What clients ask of the index, and what they are answered.
//!
//! Invariant: an answer holds what the client was told, and nothing that it could not know.

use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};

use super::{After, Attributes, Branch, Micros, Txn};

/// An operation on the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Op {
    /// Register the peer (P1).
    Register {
        /// Who.
        peer: String,
    },
    /// Ask for a lease (L1).
    Acquire {
        /// Who.
        peer: String,
        /// For which file.
        file: String,
        /// Requested duration in milliseconds.
        ttl_ms: u64,
        /// Join the line (L5).
        wait: bool,
    },
    /// Extend a lease.
    Renew {
        /// Who.
        peer: String,
        /// Which file.
        file: String,
        /// Fencing token of the lease.
        fence: u64,
        /// Requested duration in milliseconds.
        ttl_ms: u64,
    },
    /// End a lease.
    Release {
        /// Who.
        peer: String,
        /// Which file.
        file: String,
        /// Fencing token of the lease.
        fence: u64,
    },
    /// Leave the line.
    Leave {
        /// Who.
        peer: String,
        /// Which file.
        file: String,
    },
    /// Announce new bytes. Every publish of a run has its own hash.
    Publish {
        /// Who.
        peer: String,
        /// Which file.
        file: String,
        /// Fencing token of the lease; absent when a name is created without one (F3).
        fence: Option<u64>,
        /// The version named in the request, if any.
        version: Option<u64>,
        /// The bytes' hash.
        hash: String,
        /// Keep the lease.
        keep: bool,
    },
    /// Read a file's version and hash.
    Read {
        /// Which file.
        file: String,
        /// How strong.
        level: Level,
        /// Which node was asked, if a certain one was.
        node: Option<NodeId>,
        /// The log index of an acknowledged write that the answer must include (R3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_index: Option<u64>,
    },
    /// Search for a file by its whole name, which no other file's begins with.
    Search {
        /// Which file.
        file: String,
        /// How strong; absent where the node may choose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<Level>,
        /// Which node was asked.
        node: NodeId,
        /// The log index of an acknowledged write that the answer must include (R3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_index: Option<u64>,
    },
    /// Change attributes, depending on conditions (K2).
    Txn(Txn),
    /// Read a name's attributes.
    ReadAttributes {
        /// Which name.
        name: String,
        /// How strong.
        level: Level,
        /// Which node was asked.
        node: NodeId,
        /// The log index of an acknowledged write that the answer must include (R3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_index: Option<u64>,
    },
    /// Ask what became of a transaction (K5).
    LookUp {
        /// Its id.
        txn: String,
        /// How strong.
        level: Level,
        /// Which node was asked.
        node: NodeId,
    },
}

impl Op {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Search { .. } | Self::ReadAttributes { .. } | Self::LookUp { .. })
    }
}

/// Strength of a read (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Confirmed with a majority.
    Linearizable,
    /// Under the leader's lease.
    Leader,
    /// Whatever the asked node has applied.
    Stale,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// Nothing to tell.
    Done,
    /// The lease is the asker's.
    Granted {
        /// Fencing token.
        fence: u64,
        /// Remaining duration in milliseconds, counted from when the request was sent (T4).
        ttl_ms: u64,
        /// The file's version.
        version: u64,
        /// When the attempt that was answered was sent, if that was later than the invocation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Micros>,
    },
    /// The lease is somebody else's.
    Denied {
        /// Whose.
        holder: String,
        /// The asker's place in line, if it waits.
        position: Option<u64>,
    },
    /// A version was published, or a holding taken in.
    Published {
        /// Which version.
        version: u64,
    },
    /// What a read saw; version 0 stands for "no such file".
    File {
        /// The version.
        version: u64,
        /// Its hash; empty for version 0.
        hash: String,
    },
    /// A transaction was carried out.
    Applied {
        /// Which of its operations.
        branch: Branch,
        /// Its id: log index and position, `INDEX.N`.
        txn: String,
        /// The names that these operations are on, as they are afterwards.
        names: Vec<After>,
    },
    /// Nothing is known of a transaction.
    Forgotten,
    /// What a read of attributes saw; neither a version nor attributes stand for "no such name".
    Attributes {
        /// The version, if the name has one.
        version: Option<u64>,
        /// The attributes.
        attributes: Attributes,
    },
    /// What a search found; version 0 stands for "no such file".
    Found {
        /// The version.
        version: u64,
    },
}

/// Whose state gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The node.
    pub node: NodeId,
    /// Random per process of that node.
    pub boot: String,
    /// The applied log index of the answer.
    pub applied: u64,
    /// For a write: its own log index, to be passed as `min_index`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
}
