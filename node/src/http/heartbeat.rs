//! `POST /heartbeat`: the leader's soft state, never logged (P3, P6, M3).
//!
//! Invariant: answered, and tasks given, only by a leader whose majority was confirmed within its lease.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use client::api::{HeartbeatRequest, HeartbeatResponse, Task};
use raft_store::types::{Incarnation, PeerId};
use tokio::time::Instant;

use super::answer::ok_json;
use super::body::parse;
use super::error::ApiError;
use super::route::{Parts, to_leader};
use crate::config::{REQUEST_DEADLINE, WAIT_MS_MAX};
use crate::node::Node;
use crate::sys::clock;

/// A waiting heartbeat is a sign of life at least this often (P3).
const LIFE_SLICE: Duration = Duration::from_secs(5);
/// Tasks a heartbeat may name as under way or failed.
const NAMED_TASKS_MAX: usize = 10_000;

/// Handler of `POST /heartbeat`.
pub async fn heartbeat(State(node): State<Arc<Node>>, request: Request) -> Response {
    let inner = async { heartbeat_inner(&node, &Parts::of(request)?).await };
    inner.await.unwrap_or_else(|error| error.response(true))
}

async fn heartbeat_inner(node: &Node, parts: &Parts) -> Result<Response, ApiError> {
    let request: HeartbeatRequest = parse(&parts.body)?;
    let wait_ms = request.wait_ms.unwrap_or(0);
    if wait_ms > WAIT_MS_MAX {
        return Err(ApiError::BadRequest(format!("waitMs is {wait_ms}; it must be at most {WAIT_MS_MAX}")));
    }
    let working = request.working.unwrap_or_default();
    let failed = request.failed.unwrap_or_default();
    if working.len() + failed.len() > NAMED_TASKS_MAX {
        return Err(ApiError::BadRequest(format!("more than {NAMED_TASKS_MAX} tasks are named")));
    }
    let wait_until = clock::now() + Duration::from_millis(wait_ms);
    if let Some(answer) = to_leader(node, parts, Duration::from_millis(wait_ms) + REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    if !node.majority_confirmed() {
        return Err(ApiError::NoQuorum);
    }
    if let Some(refusal) = refusal(node, &request.peer_id, request.incarnation) {
        return Ok(ok_json(&refusal, None));
    }
    node.leadership.sign_of_life(&request.peer_id);
    node.leadership.heartbeat(&request.peer_id, &working, &failed, request.free_bytes);
    let tasks = wait_for_tasks(node, &request.peer_id, request.incarnation, &working, wait_until).await?;
    Ok(ok_json(&tasks, None))
}

/// What an unknown, expired or replaced peer is told (P5, P6).
fn refusal(node: &Node, peer: &PeerId, incarnation: Option<Incarnation>) -> Option<HeartbeatResponse> {
    let refused = |reason: Option<&str>| {
        Some(HeartbeatResponse { ok: false, reason: reason.map(str::to_owned), tasks: Vec::new() })
    };
    match (node.catalog().peer(peer), incarnation) {
        (Some(known), Some(stated)) if stated < known.incarnation => refused(Some("replaced")),
        (Some(known), None) if known.live => None,
        (Some(known), Some(stated)) if known.live && stated == known.incarnation => None,
        _ => refused(None),
    }
}

async fn wait_for_tasks(
    node: &Node,
    peer: &PeerId,
    incarnation: Option<Incarnation>,
    working: &[String],
    until: Instant,
) -> Result<HeartbeatResponse, ApiError> {
    let notify = node.leadership.task_notify(peer);
    loop {
        // Armed before the look, so that a task planned in between is not missed.
        let woken = notify.notified();
        let tasks = fresh_tasks(node, peer, working);
        let remaining = until.saturating_duration_since(clock::now());
        if !tasks.is_empty() || remaining.is_zero() {
            return Ok(HeartbeatResponse { ok: true, reason: None, tasks });
        }
        let _ = tokio::time::timeout(remaining.min(LIFE_SLICE), woken).await;
        if !node.leads() || !node.majority_confirmed() {
            return Err(ApiError::NoQuorum);
        }
        if let Some(refusal) = refusal(node, peer, incarnation) {
            return Ok(refusal);
        }
        node.leadership.sign_of_life(peer);
    }
}

/// Tasks that `working` does not name.
fn fresh_tasks(node: &Node, peer: &PeerId, working: &[String]) -> Vec<Task> {
    let catalog = node.catalog();
    let mut tasks = node.leadership.tasks_for(&catalog, peer);
    tasks.retain(|task| !working.contains(&task.id));
    tasks
}
