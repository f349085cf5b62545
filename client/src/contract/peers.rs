//! `GET /peers`: live peers, and the live holders of a file.

use raft_store::types::{FileName, PeerId, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Json, endpoint};

endpoint! {
    /// List all live peers, or the live holders of a file.
    ///
    /// With `file`, holders of an older version are listed with `current: false`.
    Peers = Get "/peers" as "peers", Read;
    query: PeersQuery;
    answer: Json<PeersAnswer>, "The peers.";
    errors: BadName, NotFound;
}

/// Query of `GET /peers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct PeersQuery {
    /// List only the holders of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileName>,
}

/// Answer to `GET /peers`; its form depends on whether the request names a `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PeersAnswer {
    /// The live holders of the file.
    Holders(Vec<FilePeer>),
    /// All live peers.
    All(Vec<PeerEntry>),
}

/// One entry of `GET /peers?file=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilePeer {
    /// The peer's id.
    pub id: PeerId,
    /// Base URL of the peer.
    pub address: String,
    /// Last sign of life in Unix seconds; for display only (T4). `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub last_seen: Option<u64>,
    /// The version the peer holds.
    pub version: Version,
    /// Whether this is the current version.
    pub current: bool,
}

/// One entry of `GET /peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerEntry {
    /// The peer's id.
    pub id: PeerId,
    /// Base URL of the peer.
    pub address: String,
    /// Failure zone of the peer; `null` if it has none.
    #[schema(required)]
    pub zone: Option<String>,
    /// Last sign of life in Unix seconds; for display only (T4). `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub last_seen: Option<u64>,
    /// Number of files the peer holds.
    pub files: u64,
}
