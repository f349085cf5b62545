//! The messages between nodes, in the form that they have on the wire.
//!
//! Invariant: the encoding is by position, so any change of a message raises [`PROTOCOL_VERSION`]. Nodes of different
//! versions refuse each other, and say so.

mod comparison;
mod members;
mod starts;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use raft_store::raft::TypeConfig;
use raft_store::storage::StartId;
use raft_store::types::{LogTime, NodeId};
use serde::{Deserialize, Serialize};

pub use self::comparison::{Announcement, DigestAnswer, MemberDigest, StatePart};
pub use self::members::{Identity, NodeStatus, Roster, Standing};
pub use self::starts::{Notice, Seen, Verdict};
use crate::config::MemberSpec;
use crate::identities::Side;

/// First bytes of a node-to-node connection; no HTTP request starts with them.
pub const MAGIC: [u8; 4] = *b"RSN1";
/// Version of the messages below.
pub const PROTOCOL_VERSION: u16 = 5;

/// Term and index of the last entry of a log.
pub type LogEnd = (u64, u64);

/// What the dialling side says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hello {
    /// A member talks to a member.
    Member {
        /// [`PROTOCOL_VERSION`].
        protocol: u16,
        /// Their cluster.
        cluster: u64,
        /// Who dials.
        from: Side,
        /// Which start of its data directory it is (C5).
        start: StartId,
        /// Who it wants to reach.
        to: Side,
        /// Where the one who dials can be reached.
        at: String,
    },
    /// The cluster or the membership does not know one of the sides yet. Only [`Request::Who`], [`Request::Adopt`],
    /// [`Request::IsMember`] and [`Request::SetAside`] are answered.
    Outsider {
        /// [`PROTOCOL_VERSION`].
        protocol: u16,
    },
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on. Which start of the wanted data directory this is: its original may be elsewhere (C5).
    Accepted {
        /// The start.
        start: StartId,
        /// The process: a random number of its own.
        boot: u64,
    },
    /// No, and why.
    Refused(String),
    /// The sender is no member, by the membership that this log index set (C6).
    NotMember {
        /// That log index.
        as_of: u64,
    },
    /// A later start of the sender's data directory is known (C3, C5).
    OlderCopy(String),
}

/// Requests between nodes.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Raft log replication and heartbeats.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Raft election.
    Vote(VoteRequest<TypeConfig>),
    /// Raft election, asked without changing anything.
    PreVote(VoteRequest<TypeConfig>),
    /// The leader hands over.
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// A snapshot follows in frames of its own: its meta data and length.
    Snapshot(SnapshotHead),
    /// When did a majority last confirm you? Asked by followers (R2).
    Beacon,
    /// Confirm leadership with a majority and name the read index (R1).
    ReadIndex,
    /// Is the port of this leader closed, seen from you, and do you follow it in this term?
    LeaderGone {
        /// The leader that may be gone.
        leader: NodeId,
        /// Its term.
        term: u64,
    },
    /// How are you? For `/cluster`.
    Status,
    /// What was the digest of your state right after this checkpoint? Asked by the leader (N3).
    Digest {
        /// Its log index.
        index: u64,
    },
    /// How the members' states compare, in the leader's words (N3).
    Verdict(Announcement),
    /// Compare the members' states soon (N3).
    Compare,
    /// Part of your state, for a member whose own is wrong (N3).
    State {
        /// The log index that the state has to cover at least.
        wanted: u64,
        /// The one that the parts before this one covered; `None` for the first.
        at: Option<u64>,
        /// Where the part begins.
        offset: u64,
    },
    /// Who are you, and do you belong to a cluster?
    Who,
    /// Adopt this cluster, unless you belong to one that has begun.
    Adopt {
        /// The new cluster's id.
        cluster: u64,
        /// All founding members if the cluster is being founded; none if a node is added to it.
        founders: Vec<MemberSpec>,
    },
    /// A member's data directory is started (C3, C5).
    Start(Notice),
    /// Is this a member?
    IsMember(Side),
    /// Your data directory is an older copy: set it aside and start anew (C3).
    SetAside,
}

/// What precedes the bytes of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The leader's vote.
    pub vote: openraft::type_config::alias::VoteOf<TypeConfig>,
    /// Last log id, membership and id.
    pub meta: openraft::type_config::alias::SnapshotMetaOf<TypeConfig>,
    /// Length in bytes of what follows.
    pub bytes: u64,
}

/// Responses between nodes, one kind per request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Append`].
    Append(AppendEntriesResponse<TypeConfig>),
    /// To [`Request::Vote`] and [`Request::PreVote`].
    Vote(VoteResponse<TypeConfig>),
    /// To [`Request::Transfer`].
    Transfer(TransferLeaderResponse<TypeConfig>),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotResponse<TypeConfig>),
    /// To [`Request::Beacon`], from a leader.
    Beacon(Beacon),
    /// To [`Request::ReadIndex`]: everything committed so far lies at or below this log index.
    ReadIndex(u64),
    /// To [`Request::LeaderGone`]: where the log of a voter that agrees ends.
    LeaderGone(Option<LogEnd>),
    /// To [`Request::Status`].
    Status(NodeStatus),
    /// To [`Request::Digest`].
    Digest(DigestAnswer),
    /// To [`Request::Verdict`] and [`Request::Compare`].
    Noted,
    /// To [`Request::State`]; `None` while the state is being encoded.
    State(Option<StatePart>),
    /// To [`Request::Who`].
    Who(Identity),
    /// To [`Request::Adopt`].
    Adopted,
    /// To [`Request::Start`].
    Start(Verdict),
    /// To [`Request::IsMember`].
    Standing(Standing),
    /// To [`Request::SetAside`].
    SettingAside,
    /// The node could not or would not; the text is for the log.
    Failed(String),
}

/// When a majority last confirmed the leader, and what it had committed (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// The term it leads.
    pub term: u64,
    /// Its commit index.
    pub committed: u64,
    /// Milliseconds since a majority last confirmed it.
    pub quorum_age_ms: u64,
    /// Its log clock.
    pub log_time: LogTime,
}
