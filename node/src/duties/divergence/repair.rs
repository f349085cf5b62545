//! Fetches the state from a member that agreed with the majority, and hands it out to one that did not (N3).
//!
//! The receiver asks for the state part by part, at its own pace. [`raft_store::storage::Repair`] then
//! replaces the distrusted state with it.
//!
//! Invariant: a receiver allocates memory as parts arrive, at most [`STATE_BYTES_MAX`]. The outbox bounds the memory of
//! the member that hands the state out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_store::types::NodeId;
use tokio::time::{sleep, timeout};

use super::{compare, is_diverged};
use crate::comparison::{Offer, PART_DEADLINE};
use crate::condition::Condition;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{Request, Response, StatePart};

/// Bytes of the largest state that is taken over.
const STATE_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;
/// How long the other member may take to encode its state.
const PREPARE_DEADLINE: Duration = Duration::from_secs(120);
/// Pause before it is asked again whether it is ready.
const PREPARE_PAUSE: Duration = Duration::from_millis(200);
/// Pause after a failed attempt; it doubles up to the longest one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a verdict on the new state may take before the leader is asked again.
const VERDICT_DEADLINE: Duration = Duration::from_secs(10);
/// How often a state that is ahead of this node's own log is tried again.
const AHEAD_TRIES: u32 = 100;

/// Answers a member that asks for part of this node's state: the next part of the state that it began with, or the
/// first part of one that covers at least `wanted`. `None` while the state is being encoded.
pub fn state_part(node: &Arc<Node>, wanted: u64, at: Option<u64>, offset: u64) -> Result<Option<StatePart>, String> {
    let outbox = &node.divergence.outbox;
    if let Some(at) = at {
        return outbox.part(at, offset).map(Some).ok_or_else(|| "that state is gone; begin again".to_owned());
    }
    if node.condition.get() != Condition::Serving || node.state.is_distrusted() {
        return Err("this node's own state is in doubt".to_owned());
    }
    if node.applied() < wanted {
        return Ok(None);
    }
    match outbox.offer(wanted) {
        Offer::Part(part) => return Ok(Some(part)),
        Offer::Encoding => return Ok(None),
        Offer::Busy => return Err("this node gives its state to another member; ask again later".to_owned()),
        Offer::Encode => {}
    }
    let node = node.clone();
    tokio::spawn(async move {
        let encoded = match node.repair.state_file().await {
            Ok((last, bytes)) => Some((last.map_or(0, |last| last.index), bytes)),
            Err(error) => {
                tracing::warn!(%error, "could not encode the state for another member");
                None
            }
        };
        node.divergence.outbox.fill(encoded);
    });
    Ok(None)
}

/// Takes over the state of a member that agreed, until the leader confirms that it is the right one.
pub(super) async fn run(node: &Arc<Node>, with: &[NodeId]) {
    let mut pause = PAUSE_MIN;
    while is_diverged(node) {
        // A snapshot from the leader may replace the state as well.
        while node.state.is_distrusted() {
            attempt(node, with, &mut pause).await;
        }
        let judged = node.divergence.judged.notified();
        compare::ask_again(node).await;
        let _ = timeout(VERDICT_DEADLINE, judged).await;
    }
}

async fn attempt(node: &Arc<Node>, with: &[NodeId], pause: &mut Duration) {
    for id in with.iter().filter(|id| **id != node.config.id) {
        match take_over(node, *id).await {
            Ok(index) => {
                tracing::info!(index, from = id, "took the state over from a member that agrees with the majority");
                return;
            }
            Err(reason) => tracing::warn!(%reason, from = id, "could not take the state over; trying again"),
        }
    }
    sleep(*pause).await;
    *pause = (2 * *pause).min(PAUSE_MAX);
}

async fn take_over(node: &Node, from: NodeId) -> Result<u64, String> {
    let bytes = fetch(node, from).await?;
    let mut tries = 0;
    loop {
        match node.repair.take_over(bytes.clone()).await {
            Ok(last) => {
                // Digests of the old state say nothing about the new one.
                node.divergence.checkpoints.lock().clear();
                return Ok(last.index);
            }
            // The other member is ahead; its entries are on their way.
            Err(raft_store::storage::RepairError::Ahead { .. }) if tries < AHEAD_TRIES => {
                tries += 1;
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn fetch(node: &Node, from: NodeId) -> Result<Bytes, String> {
    let member = node.members().remove(&from).ok_or_else(|| format!("node {from} is no member any more"))?;
    let wanted = node.state.reached().map_or(0, |reached| reached.index);
    let until = clock::now() + PREPARE_DEADLINE;
    let mut whole = Vec::new();
    let mut at = None;
    loop {
        let request = Request::State { wanted, at, offset: whole.len() as u64 };
        let part = match node.pool.call(from, &member, &request, PART_DEADLINE).await {
            Ok(Response::State(Some(part))) => part,
            Ok(Response::State(None)) if at.is_none() && clock::now() < until => {
                sleep(PREPARE_PAUSE).await;
                continue;
            }
            Ok(_) => return Err(format!("node {from} did not have its state ready")),
            Err(error) => return Err(error.to_string()),
        };
        if part.total > STATE_BYTES_MAX || at.is_some_and(|at| at != part.at) || part.bytes.is_empty() {
            return Err(format!("node {from} sent a part that does not fit"));
        }
        at = Some(part.at);
        whole.extend_from_slice(&part.bytes);
        if whole.len() as u64 >= part.total {
            return Ok(whole.into());
        }
    }
}
