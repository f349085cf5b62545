//! The tables of the catalog: what is stored, and the indexes derived from it.
//!
//! Invariant: the fields of the first group are the replicated state and what [`Catalog::encode`] writes; those of the
//! second are functions of the first, rebuilt by `decode` and compared with a recomputation by the invariants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::keys::answers::Answers;
use super::read::holdings::PeerSets;
use super::reply::{Event, Rejection};
use super::tables::name_index::{NameIndex, Named};
use super::tables::slab::{Id, Slab};
use crate::types::{ContentHash, FencingToken, FileName, Incarnation, LeaseToken, LogTime, PeerId, Version, limits};

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
    /// The default number of live copies (M1).
    pub(super) replicas: u32,
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

/// Holders that need no memory of their own: most files have one, for a while at least.
const FEW_HOLDERS: usize = 1;

/// One name: its versions, its holders, and who wants to write it. There are millions of them:
/// what most have not takes a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) name: Arc<str>,
    /// 0 while only a lease or a line exists (L6).
    pub(super) version: Version,
    pub(super) size: Option<u64>,
    /// `None` for version 0 and for a tombstone.
    pub(super) hash: Option<ContentHash>,
    /// The grant under which the current version was published; 0 without one.
    pub(super) fencing_token: FencingToken,
    /// Older remembered versions, ascending; tombstones have no bytes and are not among them (F2).
    pub(super) past: ThinVec<PastVersion>,
    /// Ascending by peer.
    #[serde(deserialize_with = "few_holders")]
    pub(super) holders: SmallVec<[Holder; FEW_HOLDERS]>,
    /// Peers that deleted their copy (F7), ascending; never holders.
    pub(super) refused: ThinVec<Id>,
    /// The last few leases that are over, oldest first.
    pub(super) ended: ThinVec<EndedLease>,
    pub(super) contention: Option<Box<Contention>>,
}

/// By way of a vector, which does not take the stated length for true before it has read as much.
fn few_holders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SmallVec<[Holder; FEW_HOLDERS]>, D::Error> {
    let mut holders = SmallVec::from_vec(Vec::deserialize(deserializer)?);
    holders.shrink_to_fit();
    Ok(holders)
}

/// A remembered older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PastVersion {
    pub(super) version: Version,
    pub(super) hash: ContentHash,
}

/// A peer with the bytes of a remembered version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) peer: Id,
    pub(super) version: Version,
    /// The command that last stated it.
    pub(super) touched: u64,
}

/// Tells a token that was right once from a wrong one (F5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndedLease {
    pub(super) token: LeaseToken,
    pub(super) fencing_token: FencingToken,
}

/// Who may write a file now, and who waits. Exists only while there is a lease or a pending grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contention {
    pub(super) lease: Option<Lease>,
    /// The head's pending grant; never together with a lease (L1).
    pub(super) offer: Option<Offer>,
    /// Ascending by ticket.
    pub(super) line: VecDeque<Waiter>,
}

/// A live lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) peer: Id,
    /// The holder's at the time of the grant (L4).
    pub(super) incarnation: Incarnation,
    pub(super) token: LeaseToken,
    pub(super) fencing_token: FencingToken,
    /// As granted; what a renewal without a TTL repeats (L1).
    pub(super) ttl_ms: u64,
    pub(super) deadline: Deadline,
}

/// A pending grant of the peer that was the head of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) peer: Id,
    pub(super) ticket: u64,
    pub(super) deadline: Deadline,
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) peer: Id,
    pub(super) ticket: u64,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerRecord {
    pub(super) id: PeerId,
    pub(super) address: Arc<str>,
    pub(super) zone: Option<String>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) incarnation: Incarnation,
    /// When the record is forgotten; `None` while the peer is live (P5).
    pub(super) forget_at: Option<Deadline>,
    pub(super) listing: Option<OpenListing>,
    /// Ids of listings that are complete or void, newest last: a late page of one must not start a new listing.
    pub(super) closed_listings: VecDeque<String>,
}

/// A listing of which the last page has not come (P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenListing {
    pub(super) id: String,
    /// The command that brought the first page.
    pub(super) started: u64,
    /// Names the peer deleted since, which no page adds again.
    pub(super) deleted: BTreeSet<String>,
}

impl FileRecord {
    pub(super) fn new(name: &FileName) -> Self {
        Self {
            name: name.shared(),
            version: 0,
            size: None,
            hash: None,
            fencing_token: 0,
            past: ThinVec::new(),
            holders: SmallVec::new(),
            refused: ThinVec::new(),
            ended: ThinVec::new(),
            contention: None,
        }
    }

    pub(super) fn file_name(&self) -> FileName {
        FileName::from_checked(&self.name)
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.version > 0 && self.hash.is_none()
    }

    /// The newest remembered version with these bytes (F6).
    pub(super) fn version_of(&self, hash: &ContentHash) -> Option<Version> {
        if self.hash.as_ref() == Some(hash) {
            return Some(self.version);
        }
        self.past.iter().rev().find(|past| past.hash == *hash).map(|past| past.version)
    }

    /// Whether this is a version whose bytes are not remembered any more (F2).
    pub(super) fn has_forgotten(&self, version: Version) -> bool {
        version + limits::REMEMBERED_VERSIONS as u64 <= self.version
    }

    /// The bytes of a remembered version.
    pub(super) fn hash_of(&self, version: Version) -> Option<ContentHash> {
        if version == self.version {
            return self.hash;
        }
        let index = self.past.binary_search_by_key(&version, |past| past.version).ok()?;
        Some(self.past[index].hash)
    }

    pub(super) fn holder(&self, peer: Id) -> Result<usize, usize> {
        self.holders.binary_search_by_key(&peer, |holder| holder.peer)
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.contention.as_ref()?.lease.as_ref()
    }

    pub(super) fn offer(&self) -> Option<&Offer> {
        self.contention.as_ref()?.offer.as_ref()
    }

    /// The fencing token of a lease that is over, by its secret.
    pub(super) fn ended_under(&self, token: &LeaseToken) -> Option<FencingToken> {
        self.ended.iter().rev().find(|ended| ended.token == *token).map(|ended| ended.fencing_token)
    }
}

impl Named for FileRecord {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for PeerRecord {
    fn name(&self) -> &str {
        self.id.as_str()
    }
}

impl PeerRecord {
    /// Registered, serving and not expired: exactly the peers that are not on their way to be forgotten.
    pub(super) fn is_live(&self) -> bool {
        self.forget_at.is_none()
    }
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
            replicas: limits::REPLICAS_DEFAULT,
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
