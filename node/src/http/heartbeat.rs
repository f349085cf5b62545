//! `POST /heartbeat`: the leader's soft state, never logged (P3, P6, M3).
//!
//! Invariant: only a leader that a majority has confirmed within its leader lease answers and gives tasks.

use std::time::Duration;

use client::contract::{Heartbeat, HeartbeatRequest, HeartbeatResponse, Task};
use raft_store::types::{Incarnation, PeerId};
use tokio::time::Instant;

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::leases::check_wait;
use super::reply::Reply;
use super::route::Parts;
use crate::config::REQUEST_DEADLINE;
use crate::node::Node;
use crate::sys::clock::now;

/// A waiting heartbeat counts as a sign of life at least this often (P3).
const LIFE_SLICE: Duration = Duration::from_secs(5);
/// And at least so many times within the peer TTL, or a short TTL would expire peers that wait for tasks.
const SLICES_PER_TTL: u32 = 3;
/// Most tasks that a heartbeat may name as under way or failed.
const NAMED_TASKS_MAX: usize = 10_000;

impl Handle for Heartbeat {
    /// The request, and until when it may wait.
    type Checked = (HeartbeatRequest, Instant);

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        let request = sent.request;
        let wait = check_wait(request.wait_ms)?;
        let named = request.working.as_ref().map_or(0, Vec::len) + request.failed.as_ref().map_or(0, Vec::len);
        if named > NAMED_TASKS_MAX {
            return Err(ApiError::BadRequest(format!("more than {NAMED_TASKS_MAX} tasks are named")));
        }
        Ok((request, now() + wait))
    }

    fn within((_, wait_until): &Self::Checked, _parts: &Parts) -> Duration {
        wait_until.saturating_duration_since(now()) + REQUEST_DEADLINE
    }

    async fn answer(call: &Call, (request, wait_until): Self::Checked) -> Result<Reply<HeartbeatResponse>, ApiError> {
        let node = &call.node;
        if !node.majority_confirmed() {
            return Err(ApiError::NoQuorum);
        }
        if let Some(refusal) = refusal(node, &request.peer_id, request.incarnation) {
            return Ok(Reply::Answer(refusal));
        }
        let working = request.working.unwrap_or_default();
        let failed = request.failed.unwrap_or_default();
        node.leadership.sign_of_life(&request.peer_id);
        node.leadership.heartbeat(&request.peer_id, &working, &failed, request.free_bytes);
        wait_for_tasks(node, &request.peer_id, request.incarnation, &working, wait_until).await.map(Reply::Answer)
    }
}

/// The answer to an unknown, expired or replaced peer (P5, P6).
pub(super) fn refusal(node: &Node, peer: &PeerId, incarnation: Option<Incarnation>) -> Option<HeartbeatResponse> {
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
    let slice = LIFE_SLICE.min(node.config.peer_ttl / SLICES_PER_TTL);
    loop {
        // Armed before the check, so that a task planned in between is not missed.
        let woken = notify.notified();
        let tasks = fresh_tasks(node, peer, working);
        let remaining = until.saturating_duration_since(now());
        if !tasks.is_empty() || remaining.is_zero() {
            return Ok(HeartbeatResponse { ok: true, reason: None, tasks });
        }
        let _ = tokio::time::timeout(remaining.min(slice), woken).await;
        if !node.leads() || !node.majority_confirmed() {
            return Err(ApiError::NoQuorum);
        }
        if let Some(refusal) = refusal(node, peer, incarnation) {
            return Ok(refusal);
        }
        node.leadership.sign_of_life(peer);
    }
}

/// The tasks that `working` does not name.
pub(super) fn fresh_tasks(node: &Node, peer: &PeerId, working: &[String]) -> Vec<Task> {
    let catalog = node.catalog();
    let mut tasks = node.leadership.tasks_for(&catalog, peer);
    tasks.retain(|task| !working.contains(&task.id));
    tasks
}
