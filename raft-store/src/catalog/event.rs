//! What an applied entry changed (L7): consumed by the planner, the event stream and the tests.
//!
//! Invariant: events are in log order, and together they tell every change that a query can show; `tests::model`
//! follows nothing else and must see the same picture.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::tests::scripts::Labels;
use crate::types::{
    AttributeKey, Attributes, ContentHash, FencingToken, FileName, Incarnation, LogTime, NodeId, PeerId, TxnId, Version,
};

/// A number by which observers can index their own tables of files. Numbers are small and equal on all nodes. A file
/// has the same number from its first version on; a tombstone keeps it.
pub type FileNumber = u32;

/// One change, in log order (L7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A registration began a new incarnation.
    PeerRegistered {
        /// Who.
        peer: PeerId,
        /// Which.
        incarnation: Incarnation,
        /// Whether it serves files and so counts as live.
        live: bool,
    },
    /// A peer's complete listing was recorded.
    PeerListed {
        /// Who.
        peer: PeerId,
    },
    /// A peer fell silent; its holdings do not count any longer.
    PeerExpired {
        /// Who.
        peer: PeerId,
    },
    /// A peer was forgotten with its holdings.
    PeerForgotten {
        /// Who.
        peer: PeerId,
    },
    /// A version of a file was published.
    FilePublished {
        /// Which file.
        file: FileName,
        /// Its number.
        number: FileNumber,
        /// Which version.
        version: Version,
        /// Its bytes.
        hash: ContentHash,
        /// By whom.
        peer: PeerId,
        /// The fencing token of the lease; 0 if the file was created without one.
        fencing_token: FencingToken,
    },
    /// A file was deleted everywhere. The tombstone is a version.
    FileDeleted {
        /// Which file.
        file: FileName,
        /// Its number.
        number: FileNumber,
        /// The tombstone's version.
        version: Version,
        /// By whom.
        peer: PeerId,
    },
    /// A peer became a holder, or holds a different version than before.
    HolderAdded {
        /// Which file.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// Which version its bytes are.
        version: Version,
        /// Whether that is the current version.
        current: bool,
    },
    /// A peer no longer holds a file; or, while the peer is being forgotten, no longer refuses it.
    HolderDropped {
        /// Which file.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// True if the peer deleted its copy and must not be given it again unasked (F7).
        refused: bool,
    },
    /// A lease began.
    LeaseGranted {
        /// On which name.
        file: FileName,
        /// To whom.
        peer: PeerId,
        /// Its fencing token.
        fencing_token: FencingToken,
        /// Its end (log time).
        deadline: LogTime,
    },
    /// A lease was extended.
    LeaseRenewed {
        /// On which name.
        file: FileName,
        /// Whose.
        peer: PeerId,
        /// Its fencing token.
        fencing_token: FencingToken,
        /// Its new end (log time).
        deadline: LogTime,
    },
    /// A lease ended.
    LeaseEnded {
        /// On which name.
        file: FileName,
        /// Whose.
        peer: PeerId,
        /// Its fencing token.
        fencing_token: FencingToken,
        /// Why.
        cause: LeaseEnd,
    },
    /// A peer joined the wait queue.
    LineJoined {
        /// For which name.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// Its ticket; tickets grow with every join.
        ticket: u64,
    },
    /// The peer at the head of the wait queue may claim the lease now.
    LeaseOffered {
        /// On which name.
        file: FileName,
        /// To whom.
        peer: PeerId,
        /// Until when (log time).
        deadline: LogTime,
    },
    /// A peer left the wait queue without a grant.
    LineLeft {
        /// For which name.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// Why.
        cause: LineEnd,
    },
    /// The default number of live copies changed.
    ReplicasSet {
        /// To this.
        replicas: u32,
    },
    /// The cluster's members changed (C2). The storage makes this event from a membership entry; the catalog never
    /// does.
    MembersChanged {
        /// The voters, in id order; during a change of voters both the old and the new ones.
        voters: Vec<NodeId>,
        /// The members that do not vote, in id order.
        learners: Vec<NodeId>,
    },
    /// A transaction changed the attributes of a name (K5).
    AttributesChanged {
        /// Which name.
        file: FileName,
        /// Its number. A name that ends with its last attribute leaves its number to others.
        number: FileNumber,
        /// By whom.
        peer: PeerId,
        /// Which transaction.
        txn: TxnId,
        /// The attributes that are new or have another value.
        changed: Attributes,
        /// The keys that are gone, ascending.
        removed: Vec<AttributeKey>,
        /// Whether any attribute is left.
        is_left: bool,
    },
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseEnd {
    /// It reached its deadline.
    Expired,
    /// The holder released it.
    Released,
    /// A version or a tombstone was published under it.
    Published,
    /// A newer incarnation of the holder took it over (L4).
    TakenOver,
}

/// Why a peer left the wait queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineEnd {
    /// It asked to.
    Left,
    /// The leader did not hear from it.
    Silent,
    /// It did not claim its grant in time.
    PassedOver,
    /// The peer was forgotten.
    Forgotten,
}

#[cfg(test)]
impl Event {
    /// As scripts show it.
    pub(super) fn text(&self, labels: &Labels) -> String {
        match self {
            Event::PeerRegistered { peer, incarnation, live } => {
                format!("peer {peer} registered incarnation={incarnation} live={live}")
            }
            Event::PeerListed { peer } => format!("peer {peer} listed"),
            Event::PeerExpired { peer } => format!("peer {peer} expired"),
            Event::PeerForgotten { peer } => format!("peer {peer} forgotten"),
            Event::FilePublished { file, number: _, version, hash, peer, fencing_token } => {
                format!(
                    "{file}@{version} published by {peer} bytes={} fencing={fencing_token}",
                    labels.hash(&Some(*hash))
                )
            }
            Event::FileDeleted { file, number: _, version, peer } => format!("{file}@{version} deleted by {peer}"),
            Event::HolderAdded { file, peer, version, current } => {
                format!("{peer} holds {file}@{version}{}", if *current { "" } else { " (stale)" })
            }
            Event::HolderDropped { file, peer, refused } => {
                format!("{peer} no longer holds {file}{}", if *refused { " (refused)" } else { "" })
            }
            Event::LeaseGranted { file, peer, fencing_token, deadline } => {
                format!("{file} leased to {peer} fencing={fencing_token} until={deadline}")
            }
            Event::LeaseRenewed { file, peer, fencing_token, deadline } => {
                format!("{file} renewed by {peer} fencing={fencing_token} until={deadline}")
            }
            Event::LeaseEnded { file, peer, fencing_token, cause } => {
                format!("{file} lease of {peer} ended fencing={fencing_token}: {cause:?}")
            }
            Event::LineJoined { file, peer, ticket } => format!("{peer} joined the line of {file} ticket={ticket}"),
            Event::LeaseOffered { file, peer, deadline } => format!("{file} offered to {peer} until={deadline}"),
            Event::LineLeft { file, peer, cause } => format!("{peer} left the line of {file}: {cause:?}"),
            Event::ReplicasSet { replicas } => format!("replicas={replicas}"),
            Event::AttributesChanged { file, number: _, peer, txn, changed, removed, is_left } => {
                let rest = if *is_left { "" } else { " (none left)" };
                format!("{file} attributes changed by {peer} in {txn}: {changed:?} without {removed:?}{rest}")
            }
            Event::MembersChanged { voters, learners } => format!("voters={voters:?} learners={learners:?}"),
        }
    }
}
