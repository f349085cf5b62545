//! The records of the replicated state: files with their versions, holders and leases, and peers.
//!
//! Invariant: the fields and their order are the format of snapshots and of the state digest (D3): a change of either
//! takes a new format in `codec` and in `digest`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::state::Deadline;
use super::tables::name_index::Named;
use super::tables::slab::Id;
use crate::types::{Attributes, ContentHash, FencingToken, FileName, Incarnation, LeaseToken, PeerId, Version, limits};

/// Holders stored in the record itself: most files have one holder, at least for a while.
const FEW_HOLDERS: usize = 1;

/// One name: its versions, its holders, and who wants to write it. There are millions of records, so a field that most
/// of them do not use takes only a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) name: Arc<str>,
    /// 0 while there are only a lease, a wait queue or attributes (L6, K1).
    pub(super) version: Version,
    pub(super) size: Option<u64>,
    /// `None` for version 0 and for a tombstone.
    pub(super) hash: Option<ContentHash>,
    /// The fencing token under which the current version was published; 0 without a lease.
    pub(super) fencing_token: FencingToken,
    /// Older remembered versions, ascending. Tombstones have no bytes and are not among them (F2).
    pub(super) past: ThinVec<PastVersion>,
    /// In ascending order of peers.
    #[serde(deserialize_with = "few_holders")]
    pub(super) holders: SmallVec<[Holder; FEW_HOLDERS]>,
    /// Peers that deleted their copy (F7), ascending. None of them is a holder.
    pub(super) refused: ThinVec<Id>,
    /// The last few ended leases, oldest first.
    pub(super) ended: ThinVec<EndedLease>,
    pub(super) contention: Option<Box<Contention>>,
    /// At most a few; most files have none (K1).
    pub(super) attributes: Attributes,
}

/// Reads a vector first: it does not allocate what a damaged length claims before it has read as much.
pub(super) fn few_holders<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SmallVec<[Holder; FEW_HOLDERS]>, D::Error> {
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
    /// The sequence number of the command that last stated it.
    pub(super) touched: u64,
}

/// An ended lease: tells an expired token from a wrong one (F5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndedLease {
    pub(super) token: LeaseToken,
    pub(super) fencing_token: FencingToken,
}

/// Who may write a file now, and who waits for it. Exists only while there is a lease or a pending grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contention {
    pub(super) lease: Option<Lease>,
    /// The pending grant of the peer that was next; never together with a lease (L1).
    pub(super) offer: Option<Offer>,
    /// The wait queue, in ascending order of tickets.
    pub(super) queue: VecDeque<Waiter>,
}

/// A live lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) peer: Id,
    /// The holder's incarnation at the time of the grant (L4).
    pub(super) incarnation: Incarnation,
    pub(super) token: LeaseToken,
    pub(super) fencing_token: FencingToken,
    /// As granted; a renewal without a TTL repeats it (L1).
    pub(super) ttl_ms: u64,
    pub(super) deadline: Deadline,
}

/// A pending grant: the peer that was next may claim the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) peer: Id,
    pub(super) ticket: u64,
    pub(super) deadline: Deadline,
}

/// A place in a wait queue.
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
    /// When the record will be forgotten; `None` while the peer is live (P5).
    pub(super) forget_at: Option<Deadline>,
    pub(super) listing: Option<OpenListing>,
    /// Ids of listings that are complete or void, newest last. A late page of one of them must not start a new listing.
    pub(super) closed_listings: VecDeque<String>,
}

/// A listing whose last page has not arrived (P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenListing {
    pub(super) id: String,
    /// The sequence number of the command with the first page.
    pub(super) started: u64,
    /// Names that the peer has deleted since; no page adds them again.
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
            attributes: Attributes::new(),
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

    /// Whether the bytes of this version are no longer remembered (F2).
    pub(super) fn has_forgotten(&self, version: Version) -> bool {
        version + limits::REMEMBERED_VERSIONS as u64 <= self.version
    }

    /// The hash of a remembered version.
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

    /// The fencing token of an ended lease, by its secret.
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
    /// Registered, serving and not expired: a peer is live exactly while nothing is set to forget it.
    pub(super) fn is_live(&self) -> bool {
        self.forget_at.is_none()
    }
}
