//! `POST /heartbeat`: signs of life, and the tasks that come back (P3, P6, M3).

use raft_store::types::PeerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Json, Task, decode, endpoint};

endpoint! {
    /// Report that a peer is alive, and fetch its tasks.
    ///
    /// The answer comes at once if there are tasks that `working` does not name, otherwise after `waitMs`. `ok: false`
    /// means that the peer is not known and should register again. If `reason` is `replaced`, the process should stop
    /// instead: another one registered under its id (P6). Only a leader that a majority has confirmed answers (P3).
    Heartbeat = Post "/heartbeat" as "heartbeat", Leader;
    request: HeartbeatRequest;
    answer: Json<HeartbeatResponse>, "The peer's tasks.";
}

/// Body of `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRequest {
    /// The peer that is alive.
    pub peer_id: PeerId,
    /// The incarnation from the peer's last registration (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// How long to wait for tasks, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Free bytes on the peer's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Ids of the tasks the peer is working on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Vec<String>>,
    /// Tasks that failed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub failed: Option<Vec<FailedTask>>,
}

/// A failed task, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedTask {
    /// The task's id.
    pub id: String,
    /// A short machine-readable reason such as `unreachable`, `hash_mismatch`, `disk_full`.
    pub code: String,
}

/// Answer to `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    /// False if the peer has to register again, or to stop if `reason` says so.
    pub ok: bool,
    /// `replaced`: another process registered under this id (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tasks for this peer.
    pub tasks: Vec<Task>,
}
