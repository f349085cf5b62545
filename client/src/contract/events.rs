//! What happens in the index, as a stream (L7).

use raft_store::types::{ContentHash, FencingToken, FileName, Incarnation, NodeId, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{EventStream, endpoint};

endpoint! {
    /// Follow what happens, in log order.
    ///
    /// Server-sent events: peer, file, lease, replication and membership events, each with `id: INDEX.SEQ`. `from` and
    /// `Last-Event-ID` take `INDEX` or `INDEX.SEQ` and resume after it; 410 where that is compacted. Without a position
    /// the stream begins with what happens next.
    Events = Get "/events" as "events", Local;
    query: EventsQuery;
    answer: EventStream<IndexEvent>, "Events, as long as the connection lasts.";
    errors: BadRequest, Compacted;
}

/// Query of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct EventsQuery {
    /// Resume after this position, `INDEX` or `INDEX.SEQ`; a `Last-Event-ID` header goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Defines the events: a struct each, and the enum of all.
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

        /// What happened (L7): the kind is the event's name, the rest its data.
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
        /// Its registration.
        incarnation: Incarnation,
        /// Whether it counts as live.
        live: bool,
    }
    /// A peer's listing is complete.
    PeerListed {
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer fell silent.
    PeerExpired {
        /// The peer.
        peer_id: PeerId,
    }
    /// A silent peer's record was dropped.
    PeerForgotten {
        /// The peer.
        peer_id: PeerId,
    }
    /// A version was published.
    FilePublished {
        /// The file.
        file: FileName,
        /// The version.
        version: Version,
        /// Its hash.
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
        /// The version.
        version: Version,
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer holds a version.
    HolderAdded {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// The version.
        version: Version,
        /// Whether that is the current one.
        current: bool,
    }
    /// A peer holds a file no more; `refused` if its user deleted it there.
    HolderDropped {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// Whether its user deleted the copy.
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
    /// A lease was extended.
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
        /// Why.
        cause: LeaseEndCause,
    }
    /// A peer joined a line.
    LineJoined {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// Its number in the line.
        ticket: u64,
    }
    /// The head of a line may claim the lease.
    LeaseOffered {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
    }
    /// A peer left a line.
    LineLeft {
        /// The file.
        file: FileName,
        /// The peer.
        peer_id: PeerId,
        /// Why.
        cause: LineEndCause,
    }
    /// The number of copies wanted was set.
    ReplicasSet {
        /// Live copies wanted.
        replicas: u32,
    }
    /// The members of the cluster changed.
    MembersChanged {
        /// The voters.
        voters: Vec<NodeId>,
        /// The learners.
        learners: Vec<NodeId>,
    }
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseEndCause {
    /// Its time was over.
    Expired,
    /// Its holder gave it back.
    Released,
    /// A version was published under it.
    Published,
    /// Its holder's registration was replaced.
    TakenOver,
}

/// Why a peer left a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineEndCause {
    /// It said so.
    Left,
    /// It did not ask again in time.
    Silent,
    /// It did not claim its grant in time.
    PassedOver,
    /// Its record was dropped.
    Forgotten,
}
