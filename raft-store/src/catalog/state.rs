//! The tables of the catalog: what is stored, and the indexes derived from it.
//!
//! Invariant: the fields of the first group are the replicated state and what [`Catalog::encode`] writes; those of the
//! second are functions of the first, rebuilt by `decode` and compared with a recomputation by the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::keys::answers::Answers;
use super::ops::Settings;
use super::peer_sets::PeerSets;
use super::records::{FileRecord, PeerRecord};
use super::rejection::Rejection;
use super::tables::name_index::NameIndex;
use super::tables::slab::{Id, Slab};
use crate::types::{FencingToken, Incarnation, LogTime, PeerId, limits};

/// The replicated index.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The log clock (T1).
    pub(super) clock: LogTime,
    /// Commands applied so far; orders touches of holdings against the start of a listing (P2).
    pub(super) sequence: u64,
    /// Deadlines set so far; orders equal ones (D4).
    pub(super) positions: u64,
    /// The newest incarnation given (P1).
    pub(super) incarnations: Incarnation,
    /// The highest fencing token given (L2).
    pub(super) fencing_tokens: FencingToken,
    /// The newest place in any line given (L5).
    pub(super) tickets: u64,
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) files: Slab<FileRecord>,
    pub(super) peers: Slab<PeerRecord>,
    pub(super) answers: Answers,

    /// Files by name bytes.
    pub(super) names: NameIndex,
    /// Peers by their ids.
    pub(super) peer_ids: NameIndex,
    /// By a peer's slot: the files that concern it.
    pub(super) sets: Vec<PeerSets>,
    /// Changes of any peer's holdings so far in this process.
    pub(super) holding_changes: u64,
    /// Peers with many holdings of which the digest is not known.
    pub(super) undigested: BTreeSet<Id>,
    /// Everything that time ends.
    pub(super) due: BTreeMap<Deadline, Due>,
    /// Files with a lease or a pending grant.
    pub(super) contended: BTreeSet<Id>,
    pub(super) totals: Totals,
    /// What the entry under way changed; empty between entries.
    pub(super) events: Vec<Event>,
}

/// Limits that have to be equal on all nodes and that tests make small. Part of the replicated state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Items that time-driven clean-up handles in one entry (D4).
    pub cleanup_items: u32,
    /// Remembered answers in all (X5).
    pub answers: u64,
    /// Opaque keys remembered for one peer (X2).
    pub opaque_keys_per_peer: u32,
    /// Peers that may wait in line for one file.
    pub line_length: u32,
    /// Remembered answers of one peer (X5).
    pub answers_per_peer: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cleanup_items: limits::CLEANUP_ITEMS_MAX as u32,
            answers: limits::ANSWERS_MAX as u64,
            opaque_keys_per_peer: limits::OPAQUE_KEYS_PER_PEER as u32,
            line_length: limits::LINE_LENGTH_MAX as u32,
            answers_per_peer: limits::ANSWERS_PER_PEER_MAX as u64,
        }
    }
}

/// When something ends. Equal times are ordered by the log position at which they were set (D4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Deadline {
    pub(super) at: LogTime,
    pub(super) position: u64,
}

/// What ends at a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    Lease(Id),
    Offer(Id),
    Peer(Id),
    OpaqueKey { owner: PeerId, key: Arc<str> },
    Session { owner: PeerId, session: Arc<str> },
}

/// Counted by every step (see [`super::Counts`]); bytes are wider, since any peer may state any size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) peers_live: u64,
    pub(super) files: u64,
    pub(super) bytes: u128,
    pub(super) tombstones: u64,
    pub(super) leases: u64,
    pub(super) waiting: u64,
}

/// Who states a holding. Events name the peer by the id that came with the command: the one in the peer's record would
/// be counted up and down for every event, by all processors in turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) slot: Id,
    pub(super) id: &'a PeerId,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl Catalog {
    /// An empty catalog with other limits than the usual ones. All nodes of a cluster need the same.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            clock: 0,
            sequence: 0,
            positions: 0,
            incarnations: 0,
            fencing_tokens: 0,
            tickets: 0,
            settings: Settings::default(),
            limits,
            files: Slab::default(),
            peers: Slab::default(),
            answers: Answers::default(),
            names: NameIndex::default(),
            peer_ids: NameIndex::of_peers(),
            sets: Vec::new(),
            holding_changes: 0,
            undigested: BTreeSet::new(),
            due: BTreeMap::new(),
            contended: BTreeSet::new(),
            totals: Totals::default(),
            events: Vec::new(),
        }
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The peer's slot, or the refusal that every command of an unknown peer gets.
    pub(super) fn known(&self, peer: &PeerId) -> Result<Id, Rejection> {
        self.peer_slot(peer).ok_or_else(|| Rejection::UnknownPeer { peer: peer.clone() })
    }

    /// The peer of a command that states holdings.
    pub(super) fn known_as<'a>(&self, id: &'a PeerId) -> Result<By<'a>, Rejection> {
        Ok(By { slot: self.known(id)?, id })
    }

    /// The peer's slot, if it is known.
    pub(super) fn peer_slot(&self, peer: &PeerId) -> Option<Id> {
        self.peer_ids.get(peer.as_str(), &self.peers)
    }

    pub(super) fn peer_id(&self, peer: Id) -> PeerId {
        self.peers[peer].id.clone()
    }

    /// A deadline that many milliseconds from now.
    pub(super) fn deadline_in(&mut self, duration_ms: u64) -> Deadline {
        self.positions += 1;
        Deadline { at: self.clock.saturating_add(duration_ms), position: self.positions }
    }

    pub(super) fn is_over(&self, deadline: Deadline) -> bool {
        deadline.at <= self.clock
    }
}
