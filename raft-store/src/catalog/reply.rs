//! What applying a command answers.
//!
//! Invariant: a reply is the same on every node, and an idempotency key remembers it (X1). Its times are log times; the
//! node that answers turns them into remaining milliseconds and wall-clock times (T4). The order of the variants is
//! their encoding in remembered answers (D3).

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::rejection::Rejection;
#[cfg(test)]
use super::tests::scripts::{Labels, joined, or_none};
use crate::types::{
    Attributes, ContentHash, FencingToken, FileName, Incarnation, LeaseToken, LogTime, PeerId, TxnId, Version,
};

/// The result of applying one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// One per command, in order.
    pub replies: Vec<Outcome>,
    /// What changed, in log order.
    pub events: Vec<Event>,
}

/// A command's answer, and whether it was remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Reply, Rejection>,
    /// True if the command was not applied but answered from the idempotency table (X1).
    pub replayed: bool,
}

/// The answer to a command that was not refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Register`.
    Registered {
        /// The incarnation that this registration began, or that its listing belongs to.
        incarnation: Incarnation,
        /// What became of the listing.
        listing: ListingState,
        /// Holdings that contradict the catalog and were not recorded (F4).
        conflicts: Vec<Conflict>,
    },
    /// To `Announce`: the version that the peer now holds, or has published.
    Announced {
        /// That version.
        version: Version,
        /// The fencing token of the lease, if one was used.
        fencing_token: Option<FencingToken>,
    },
    /// To `AnnounceMany`: one result per file, in order.
    AnnouncedMany(Vec<Result<Version, Rejection>>),
    /// To `Acquire` and `Renew`: the peer has the lease.
    Granted(Grant),
    /// To `Acquire`: another peer has the lease, or a pending grant.
    Denied {
        /// Which peer.
        holder: PeerId,
        /// When that lease, or the window to claim it, ends (log time).
        deadline: LogTime,
        /// The requester's position in the wait queue (1 = next), if it waits.
        position: Option<u64>,
    },
    /// To `Release`, `Leave`, `Delete`, `SetReplicas` and the node's own commands.
    Done,
    /// To `Txn`: it was applied.
    Txn(TxnOutcome),
}

/// What a transaction came to (K2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnOutcome {
    /// Its id. The first field, so that a remembered answer tells it without being read whole.
    pub txn: TxnId,
    /// Whether all conditions held, so that the operations of `then` were carried out.
    pub held: bool,
    /// The names in these operations, in the order of their first one.
    pub names: Vec<TxnName>,
}

/// A name after a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnName {
    /// The name.
    pub name: FileName,
    /// Its current version; `None` if it has none.
    pub version: Option<Version>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A lease as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The leased name.
    pub file: FileName,
    /// The secret that renewing, releasing and publishing need.
    pub token: LeaseToken,
    /// Greater than that of every earlier grant.
    pub fencing_token: FencingToken,
    /// Granted duration in milliseconds.
    pub ttl_ms: u64,
    /// When the lease ends unless it is renewed (log time).
    pub deadline: LogTime,
    /// The file's current version; 0 if it does not exist yet.
    pub version: Version,
}

/// What became of a registration's listing (P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingState {
    /// The listing, or this page of it, was recorded.
    Accepted,
    /// The digest matched: the peer need not send anything.
    Unchanged,
    /// The digest did not match, or the page belongs to a void listing: the peer should send everything.
    Wanted,
}

/// A stated holding that contradicts the catalog (F4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub name: FileName,
    /// The catalog's version.
    pub current_version: Version,
    /// Its hash; absent for a tombstone.
    pub hash: Option<ContentHash>,
}

impl Reply {
    /// Whether the peer is registered from this reply on.
    pub(super) fn registers(&self) -> bool {
        matches!(self, Reply::Registered { .. })
    }

    /// Whether the command is applied again under its key: its peer still waits for what it asked for (L5).
    pub(super) fn is_provisional(&self) -> bool {
        matches!(self, Reply::Denied { position: Some(_), .. })
    }
}

#[cfg(test)]
impl Reply {
    /// As scripts show it.
    pub(super) fn text(&self, labels: &Labels) -> String {
        match self {
            Reply::Registered { incarnation, listing, conflicts } => {
                let conflicts = joined(conflicts.iter().map(|conflict| {
                    format!("{} is {}@{}", conflict.name, labels.hash(&conflict.hash), conflict.current_version)
                }));
                format!("registered incarnation={incarnation} listing={listing:?} conflicts={conflicts}")
            }
            Reply::Announced { version, fencing_token } => {
                format!("announced version={version} fencing={}", or_none(*fencing_token))
            }
            Reply::AnnouncedMany(results) => joined(results.iter().map(|result| match result {
                Ok(version) => format!("version={version}"),
                Err(rejection) => rejection.text(labels),
            })),
            Reply::Granted(grant) => grant.text(labels),
            Reply::Denied { holder, deadline, position } => {
                format!("denied holder={holder} until={deadline} position={}", or_none(*position))
            }
            Reply::Done => "done".into(),
            Reply::Txn(TxnOutcome { txn, held, names }) => {
                let names = joined(names.iter().map(|TxnName { name, version, attributes }| {
                    format!("{name}@{} {attributes:?}", or_none(*version))
                }));
                format!("txn {txn} {} {names}", if *held { "then" } else { "else" })
            }
        }
    }
}

#[cfg(test)]
impl Grant {
    fn text(&self, labels: &Labels) -> String {
        let Grant { file, token, fencing_token, ttl_ms, deadline, version } = self;
        let token = labels.of_token(token);
        format!("granted {file}@{version} token={token} fencing={fencing_token} ttl={ttl_ms} until={deadline}")
    }
}
