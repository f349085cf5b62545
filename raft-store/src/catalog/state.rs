//! The fields of the catalog: the replicated state, and the indexes derived from it.
//!
//! Invariant: the fields of the first group are the replicated state, which [`Catalog::encode`] writes. Those of the
//! second group are functions of the first: `decode` rebuilds them, and the invariants compare them with a
//! recomputation.

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
    /// Commands applied so far. Tells whether a holding was stated before or after a listing began (P2).
    pub(super) sequence: u64,
    /// Deadlines set so far; orders deadlines at equal times (D4).
    pub(super) positions: u64,
    /// The last incarnation number given out (P1).
    pub(super) incarnations: Incarnation,
    /// The last fencing token given out (L2).
    pub(super) fencing_tokens: FencingToken,
    /// The last ticket given out in any wait queue (L5).
    pub(super) tickets: u64,
    /// Replicated settings.
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) files: Slab<FileRecord>,
    pub(super) peers: Slab<PeerRecord>,
    pub(super) answers: Answers,

    /// Files by name bytes.
    pub(super) names: NameIndex,
    /// Peers by their ids.
    pub(super) peer_ids: NameIndex,
    /// The files that concern each peer, by the peer's slot.
    pub(super) sets: Vec<PeerSets>,
    /// Changes of any peer's holdings that this process has seen.
    pub(super) holding_changes: u64,
    /// Peers with many holdings whose digest is not known.
    pub(super) undigested: BTreeSet<Id>,
    /// Everything that ends at a deadline.
    pub(super) due: BTreeMap<Deadline, Due>,
    /// Files with a lease or a pending grant.
    pub(super) contended: BTreeSet<Id>,
    pub(super) totals: Totals,
    /// Events of the entry that is being applied; empty between entries.
    pub(super) events: Vec<Event>,
}

/// Limits that must be equal on all nodes, so they are part of the replicated state. Tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Items that one entry cleans up (D4).
    pub cleanup_items: u32,
    /// Remembered answers of all peers together (X5).
    pub answers: u64,
    /// Opaque keys remembered for one peer (X2).
    pub opaque_keys_per_peer: u32,
    /// Peers that may wait for one file.
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

/// When something ends. Equal times are ordered by when they were set (D4).
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

/// Totals that every change keeps up to date (see [`super::Counts`]). Bytes are wide, since a peer may state any size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) peers_live: u64,
    pub(super) files: u64,
    pub(super) records: u64,
    pub(super) bytes: u128,
    pub(super) tombstones: u64,
    pub(super) leases: u64,
    pub(super) waiting: u64,
}

/// Who states a holding. Events clone the id that came with the command, not the one in the peer's record: all threads
/// would contend for the reference count of the latter.
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
    /// An empty catalog with limits of its own. All nodes of a cluster need the same limits.
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

    /// The peer's slot; refuses the command of an unknown peer.
    pub(super) fn known(&self, peer: &PeerId) -> Result<Id, Rejection> {
        self.peer_slot(peer).ok_or_else(|| Rejection::UnknownPeer { peer: peer.clone() })
    }

    /// The peer that states holdings; refuses an unknown one.
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

    /// A new deadline, `duration_ms` from now.
    pub(super) fn deadline_in(&mut self, duration_ms: u64) -> Deadline {
        self.positions += 1;
        Deadline { at: self.clock.saturating_add(duration_ms), position: self.positions }
    }

    pub(super) fn is_over(&self, deadline: Deadline) -> bool {
        deadline.at <= self.clock
    }
}
