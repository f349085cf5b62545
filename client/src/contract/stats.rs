//! `GET /stats`: counts and the state of the planner.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Json, endpoint};

endpoint! {
    /// Get counts and the planner's state.
    ///
    /// Only the leader knows the planner's figures; in a stale answer of another node they are `null`.
    Stats = Get "/stats" as "stats", Read;
    answer: Json<StatsResponse>, "The figures.";
}

/// Answer to `GET /stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatsResponse {
    /// Number of live peers.
    pub peers: u64,
    /// Number of files whose current version is not a tombstone.
    pub files: u64,
    /// Number of records: names with attributes and without a current version (K1).
    pub records: u64,
    /// Total size of all current versions in bytes, each counted once.
    pub bytes: u64,
    /// Files with fewer live copies than wanted; `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub under_replicated: Option<u64>,
    /// Tasks assigned and not yet done; `null` except at a confirmed leader.
    #[schema(required)]
    pub tasks: Option<u64>,
    /// Number of live leases.
    pub leases: u64,
    /// Peers in wait queues.
    pub waiting: u64,
    /// Answers in the idempotency table (X5).
    pub answers: u64,
    /// Size of the log on disk in bytes.
    pub log_bytes: u64,
    /// Entries in the log that are not purged.
    pub log_entries: u64,
    /// Size of the newest snapshot in bytes.
    pub snapshot_bytes: u64,
    /// Log index of the newest snapshot.
    pub snapshot_index: u64,
    /// Remaining time of the planner's grace period in milliseconds (P4); `null` except at a confirmed leader (R5).
    #[schema(required)]
    pub grace_remaining_ms: Option<u64>,
}
