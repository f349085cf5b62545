//! Signs of life, and the tasks they fetch (P3, P6, M3).

use raft_store::types::PeerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Json, Task, decode, endpoint};

endpoint! {
    /// Sign of life; fetches tasks.
    ///
    /// Answered at once when there are tasks that `working` does not name, else after `waitMs`. `ok: false` means that
    /// the peer is not known: register again; with `reason` `replaced`: stop (P6). Only a leader whose majority was
    /// confirmed answers (P3).
    Heartbeat = Post "/heartbeat" as "heartbeat", Leader;
    request: HeartbeatRequest;
    answer: Json<HeartbeatResponse>, "The peer's tasks.";
}

/// `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRequest {
    /// Who lives.
    pub peer_id: PeerId,
    /// Its newest registration (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// How long to wait for tasks, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Free bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Ids of the tasks it is working on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Vec<String>>,
    /// Tasks it gave up.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::objects")]
    pub failed: Option<Vec<FailedTask>>,
}

/// A task a peer gave up, and why.
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
    /// False: register again, unless `reason` says to stop.
    pub ok: bool,
    /// `replaced`: another process registered under this id (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}
