//! Counts, and the state of the planner.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Json, endpoint};

endpoint! {
    /// Counts and planner state.
    ///
    /// Planner figures are the leader's; a stale answer of another node has `null` there.
    Stats = Get "/stats" as "stats", Read;
    answer: Json<StatsResponse>, "The figures.";
}

/// `GET /stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatsResponse {
    /// Live peers.
    pub peers: u64,
    /// Files whose current version exists.
    pub files: u64,
    /// Bytes of all current versions, each counted once.
    pub bytes: u64,
    /// Files with fewer live copies than wanted; `null` anywhere but at a confirmed leader (R5).
    #[schema(required)]
    pub under_replicated: Option<u64>,
    /// Tasks given out and not yet done; `null` as above.
    #[schema(required)]
    pub tasks: Option<u64>,
    /// Live leases.
    pub leases: u64,
    /// Peers waiting in lines.
    pub waiting: u64,
    /// Remembered answers (X5).
    pub answers: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Log entries between the purged prefix and the end.
    pub log_entries: u64,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Log index of the newest snapshot.
    pub snapshot_index: u64,
    /// What is left of the planner's grace period (P4), in milliseconds; `null` anywhere but at
    /// a confirmed leader (R5).
    #[schema(required)]
    pub grace_remaining_ms: Option<u64>,
}
