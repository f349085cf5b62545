//! `GET /events`: the events of the index as a stream (L7).

use raft_store::types::{
    AttributeKey, Attributes, ContentHash, FencingToken, FileName, Incarnation, NodeId, PeerId, TxnId, Version,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{EventStream, endpoint};

endpoint! {
    /// Stream the events of the index in log order.
    ///
    /// The answer is a stream of server-sent events about peers, files, leases, replication and members, each with
    /// `id: INDEX.SEQ`. Pass `INDEX` or `INDEX.SEQ` as `from` or in `Last-Event-ID` to resume after that position; 410
    /// `compacted` if it is no longer available. Without a position the stream starts with the next event.
    Events = Get "/events" as "events", Local;
    query: EventsQuery;
    answer: EventStream<IndexEvent>, "Events, until the connection ends.";
    errors: BadRequest, Compacted;
}

/// Query of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct EventsQuery {
    /// Resume after this position, `INDEX` or `INDEX.SEQ`. A `Last-Event-ID` header takes precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Defines a struct for each event, and the enum of all events.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $what:literal])+ $field:ident: $type:ty,)+ })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
            #[serde(rename_all = "camelCase")]
            pub struct $name {
                $($(#[doc = $what])+ pub $field: $type,)+
            }

            impl From<$name> for IndexEvent {
                fn from(event: $name) -> Self {
                    Self::$name(event)
                }
            }
        )+

        /// An event (L7): `event` is its name, `data` its fields.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(tag = "event", content = "data", rename_all = "kebab-case")]
        pub enum IndexEvent {
            $($(#[doc = $doc])+ $name($name),)+
        }
    };
}

events! {
    /// A peer registered.
    PeerRegistered {
        /// The peer.
        peer_id: PeerId,
        /// The number of this registration.
        incarnation: Incarnation,
        /// Whether the peer counts as live.
        live: bool,
    }
    /// A peer completed its listing.
    PeerListed {
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer expired: it was silent for too long.
    PeerExpired {
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer that was gone for the retention time was forgotten, with its holdings.
    PeerForgotten {
        /// The peer.
        peer_id: PeerId,
    }
    /// A version was published.
    FilePublished {
        /// The file.
        file: FileName,
        /// The published version.
        version: Version,
        /// SHA-256 of the bytes.
        hash: ContentHash,
        /// The peer.
        peer_id: PeerId,
        /// The fencing token of the grant.
        fencing_token: FencingToken,
    }
    /// A name was deleted everywhere.
    FileDeleted {
        /// The file.
        file: FileName,
        /// The tombstone's version.
        version: Version,
        /// The deleting peer.
        peer_id: PeerId,
    }
    /// A peer became a holder of a version.
    HolderAdded {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The version.
        version: Version,
        /// Whether this is the current version.
        current: bool,
    }
    /// A peer is no longer a holder of a file.
    HolderDropped {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// Whether the peer's user deleted the copy.
        refused: bool,
    }
    /// A lease was granted.
    LeaseGranted {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The fencing token of the grant.
        fencing_token: FencingToken,
    }
    /// A lease was renewed.
    LeaseRenewed {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The fencing token of the grant.
        fencing_token: FencingToken,
    }
    /// A lease ended.
    LeaseEnded {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The fencing token of the grant.
        fencing_token: FencingToken,
        /// Why the lease ended.
        cause: LeaseEndCause,
    }
    /// A peer joined the wait queue for a lease.
    LineJoined {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The peer's number in the wait queue.
        ticket: u64,
    }
    /// The head of a wait queue may claim the lease.
    LeaseOffered {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer left a wait queue.
    LineLeft {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// Why the peer left.
        cause: LineEndCause,
    }
    /// A transaction changed the attributes of a name (K5).
    AttributesChanged {
        /// The name.
        file: FileName,
        /// The peer that changed them.
        peer_id: PeerId,
        /// The transaction's id.
        txn: TxnId,
        /// The attributes that were set or added to, with their new values.
        changed: Attributes,
        /// The keys of the attributes that were removed.
        removed: Vec<AttributeKey>,
    }
    /// The replication factor was set.
    ReplicasSet {
        /// Live copies wanted of every file.
        replicas: u32,
    }
    /// The members of the cluster changed.
    MembersChanged {
        /// The voters now.
        voters: Vec<NodeId>,
        /// The learners now.
        learners: Vec<NodeId>,
    }
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseEndCause {
    /// Its TTL ran out.
    Expired,
    /// Its holder released it.
    Released,
    /// A version was published under the lease.
    Published,
    /// A newer incarnation of its holder took it over.
    TakenOver,
}

/// Why a peer left a wait queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineEndCause {
    /// It asked to leave.
    Left,
    /// It did not poll in time.
    Silent,
    /// It did not claim its grant in time.
    PassedOver,
    /// The peer was forgotten.
    Forgotten,
}
