//! Consistency of reads (R1–R3).

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query parameters of every read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct ReadParams {
    /// Consistency level of the read (R1). Default: `leader` if the asked node can serve or forward the read at once,
    /// otherwise `stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub consistency: Option<Consistency>,
    /// Maximum staleness of a stale read, in milliseconds; 503 `too_stale` if the node's state is older (R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness_ms: Option<u64>,
    /// Answer only once this log index is applied; 503 `too_stale` if that takes more than 2 s (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_index: Option<u64>,
}

/// Consistency levels (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// What the asked node has applied.
    #[serde(alias = "none")]
    Stale,
    /// Served by the leader under its leader lease.
    #[serde(alias = "weak")]
    Leader,
    /// Confirmed by a majority (read index).
    #[serde(alias = "strong")]
    Linearizable,
}
