//! What applying a command answers: a reply, or a deterministic refusal, and the events the entry caused.
//!
//! Invariant: a reply is the same on every node and is what an idempotency key remembers (X1). Times in it are log
//! times; the node that answers turns them into remaining milliseconds and wall-clock times (T4).

use serde::{Deserialize, Serialize};

use crate::types::{ContentHash, FencingToken, FileName, Incarnation, LeaseToken, LogTime, NodeId, PeerId, Version};

/// Result of applying one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// One per command, in order.
    pub replies: Vec<Outcome>,
    /// What changed, in log order.
    pub events: Vec<Event>,
}

/// A command's answer, and whether it is a remembered one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Reply, Rejection>,
    /// True if the command was not applied now but answered from the table of keys (X1).
    pub replayed: bool,
}

/// Success answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Register`.
    Registered {
        /// The incarnation this registration made, or that its listing belongs to.
        incarnation: Incarnation,
        /// What became of the listing.
        listing: ListingState,
        /// Holdings that were not taken in (F4).
        conflicts: Vec<Conflict>,
    },
    /// To `Announce`: the version the peer now holds, or published.
    Announced {
        /// That version.
        version: Version,
        /// The fencing token of the lease, if one was used.
        fencing_token: Option<FencingToken>,
    },
    /// To `AnnounceMany`: one result per file, in order.
    AnnouncedMany(Vec<Result<Version, Rejection>>),
    /// To `Acquire` and `Renew`: the lease is the peer's.
    Granted(Grant),
    /// To `Acquire`: somebody else has the lease, or a pending grant on it.
    Denied {
        /// Who.
        holder: PeerId,
        /// When that lease, or the window to claim it, ends (log time).
        deadline: LogTime,
        /// The requester's place in line (1 = next), if it waits.
        position: Option<u64>,
    },
    /// To `Release`, `Leave`, `Delete`, `SetReplicas` and the node's own commands.
    Done,
}

/// A lease as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The leased name.
    pub file: FileName,
    /// The secret that renew, release and publish must show.
    pub token: LeaseToken,
    /// Greater than every earlier grant's.
    pub fencing_token: FencingToken,
    /// Granted duration in milliseconds.
    pub ttl_ms: u64,
    /// When it ends unless renewed (log time).
    pub deadline: LogTime,
    /// The file's current version; 0 if it does not exist yet.
    pub version: Version,
}

/// What became of a registration's listing (P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingState {
    /// The listing, or this page of it, was taken in.
    Accepted,
    /// The digest matched: nothing to send.
    Unchanged,
    /// The digest did not match, or the page belongs to a voided listing: send everything.
    Wanted,
}

/// A stated holding that contradicts the catalog (F4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub name: FileName,
    /// What the catalog has.
    pub current_version: Version,
    /// Its hash; absent for a tombstone.
    pub hash: Option<ContentHash>,
}

/// Deterministic refusals. Nothing changed, except that the key remembers the refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The peer never registered, or was forgotten.
    #[error("peer {peer} is not registered; register it first")]
    UnknownPeer {
        /// The id in the request.
        peer: PeerId,
    },
    /// No such file, or only a tombstone of it.
    #[error("no file named {file}")]
    NotFound {
        /// The name in the request.
        file: FileName,
    },
    /// The peer does not hold the copy it wants to drop.
    #[error("the peer holds no copy of {file}")]
    NotHolder {
        /// The name in the request.
        file: FileName,
    },
    /// Publishing without, or with a wrong, lease token (F5).
    #[error("version {} of a file is published under its lease; acquire it first", current_version + 1)]
    LeaseRequired {
        /// The catalog's version.
        current_version: Version,
        /// Who has the lease now.
        holder: Option<PeerId>,
    },
    /// The token was right once; that lease is over (F5).
    #[error("the lease is over; acquire it again and start from the newest version")]
    LeaseExpired {
        /// The catalog's version.
        current_version: Version,
        /// Who has the lease now.
        holder: Option<PeerId>,
        /// The fencing token of the lease that is over, where it is known.
        fencing_token: Option<FencingToken>,
    },
    /// The version is not the one that comes next, or somebody else created the name first (F3, F5).
    #[error("the index has version {current_version}")]
    VersionConflict {
        /// The catalog's version; 0 if the name does not exist.
        current_version: Version,
        /// Its hash.
        hash: Option<ContentHash>,
        /// Its size in bytes.
        size: Option<u64>,
        /// Who has the lease now.
        holder: Option<PeerId>,
    },
    /// The bytes are none of the remembered versions' (F4).
    #[error("these bytes are no remembered version of the file; the index has version {current_version}")]
    HashConflict {
        /// The catalog's version.
        current_version: Version,
        /// Its hash; absent for a tombstone.
        hash: Option<ContentHash>,
        /// Its size in bytes.
        size: Option<u64>,
    },
    /// The key was used with another request (X1).
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The key lies below its session's floor, or was forgotten (X2).
    #[error("this idempotency key lies below the floor its session has stated; it was not applied")]
    KeyExpired,
    /// A limit of the catalog is reached; nothing is forgotten early to make room (X5).
    #[error("the index cannot take more: {what}")]
    Overloaded {
        /// Which limit.
        what: String,
    },
}

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
