//! What an applied entry changed (L7): consumed by the planner, the event stream and the tests.
//!
//! Invariant: events are in log order, and together they tell every change that a query can show; `tests::model` follows
//! nothing else and must see the same picture.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::tests::scripts::Labels;
use crate::types::{ContentHash, FencingToken, FileName, Incarnation, LogTime, NodeId, PeerId, Version};

/// What observers may keep their own tables of files by. Numbers are small, equal on all nodes, and a file's own from
/// its first version on: a tombstone keeps it.
pub type FileNumber = u32;

/// What an applied entry changed, in log order (L7). Consumed by the planner, the event stream and the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A registration made a new incarnation.
    PeerRegistered {
        /// Who.
        peer: PeerId,
        /// Which.
        incarnation: Incarnation,
        /// Whether it serves files, so counts as live.
        live: bool,
    },
    /// A complete listing of a peer was taken in.
    PeerListed {
        /// Who.
        peer: PeerId,
    },
    /// A peer fell silent; its holdings no longer count.
    PeerExpired {
        /// Who.
        peer: PeerId,
    },
    /// A peer was forgotten with its holdings.
    PeerForgotten {
        /// Who.
        peer: PeerId,
    },
    /// A version of a file came to be.
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
        /// Under which grant; 0 if created without a lease.
        fencing_token: FencingToken,
    },
    /// A file was deleted everywhere; the tombstone is a version.
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
    /// A peer became a holder, or holds another version than before.
    HolderAdded {
        /// Which file.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// Which version its bytes are.
        version: Version,
        /// Whether that is the current one.
        current: bool,
    },
    /// A peer no longer holds a file; or, while the peer is being forgotten, no longer refuses it.
    HolderDropped {
        /// Which file.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// True if the peer deleted its copy and must not get it back unasked (F7).
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
    /// A peer joined the line.
    LineJoined {
        /// For which name.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// The place it got; grows with every join.
        ticket: u64,
    },
    /// The head of the line may claim the lease now.
    LeaseOffered {
        /// On which name.
        file: FileName,
        /// To whom.
        peer: PeerId,
        /// Until when (log time).
        deadline: LogTime,
    },
    /// A peer left the line without a grant.
    LineLeft {
        /// For which name.
        file: FileName,
        /// Who.
        peer: PeerId,
        /// Why.
        cause: LineEnd,
    },
    /// The default number of copies changed.
    ReplicasSet {
        /// To this.
        replicas: u32,
    },
    /// The cluster's members changed (C2). Made by the storage from a membership entry, never by the catalog.
    MembersChanged {
        /// Who votes now, in id order; during a change of voters both the old and the new ones.
        voters: Vec<NodeId>,
        /// Who follows without voting, in id order.
        learners: Vec<NodeId>,
    },
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseEnd {
    /// Its time was over.
    Expired,
    /// The holder released it.
    Released,
    /// A version, or the tombstone, was published under it.
    Published,
    /// A newer incarnation of the holder took it over (L4).
    TakenOver,
}

/// Why a waiter left the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineEnd {
    /// It asked to.
    Left,
    /// The leader heard nothing from it.
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
            Event::MembersChanged { voters, learners } => format!("voters={voters:?} learners={learners:?}"),
        }
    }
}
