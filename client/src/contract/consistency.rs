//! How consistent a read has to be (R1–R3).

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Parameters that every read takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct ReadParams {
    /// How fresh the answer has to be (R1). Left out: `leader` when this node can serve or forward it at once, else
    /// `stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub consistency: Option<Consistency>,
    /// The most staleness a stale read accepts, in milliseconds; beyond it 503 `too_stale` (R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness_ms: Option<u64>,
    /// Answer once this log index is applied; not reached within 2 s is 503 `too_stale` (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_index: Option<u64>,
}

/// Levels of consistency (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Whatever the asked node has applied.
    #[serde(alias = "none")]
    Stale,
    /// Under the leader's lease.
    #[serde(alias = "weak")]
    Leader,
    /// Confirmed with a majority.
    #[serde(alias = "strong")]
    Linearizable,
}
