//! Peers, and the holders of a file.

use raft_store::types::{FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Json, endpoint};

endpoint! {
    /// Every live peer, or the live holders of a file.
    ///
    /// With `file`: its live holders, stale ones with `current: false`.
    Peers = Get "/peers" as "peers", Read;
    query: PeersQuery;
    answer: Json<PeersAnswer>, "The peers.";
    errors: BadName, NotFound;
}

/// Query of `GET /peers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct PeersQuery {
    /// Only the holders of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileName>,
}

/// Answer to `GET /peers`: without, and with `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PeersAnswer {
    /// The live holders of `file`.
    Holders(Vec<FilePeer>),
    /// Every live peer.
    All(Vec<PeerEntry>),
}

/// One entry of `GET /peers?file=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilePeer {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// Unix seconds; for people (T4). `null` anywhere but at a confirmed leader (R5).
    #[schema(required)]
    pub last_seen: Option<u64>,
    /// The version it holds.
    pub version: Version,
    /// Whether that is the current one.
    pub current: bool,
}

/// One entry of `GET /peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerEntry {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// Failure zone, or `null`.
    #[schema(required)]
    pub zone: Option<String>,
    /// Unix seconds; for people (T4). `null` anywhere but at a confirmed leader (R5).
    #[schema(required)]
    pub last_seen: Option<u64>,
    /// Number of its holdings.
    pub files: u64,
}
