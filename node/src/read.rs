//! Read consistency (R1–R4): decides whether this node may answer a read now, has to wait, or sends it on.
//!
//! Invariant: a `linearizable` read is answered only from a state at or past a read index that a majority confirmed
//! after the read arrived; a `stale` read never leaves the asked node.

use std::time::Duration;

use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;

use crate::api::error::ApiError;
use crate::api::route::{Hop, Parts, Place, forward, place};
use crate::config::{LEADER_WAIT, MIN_INDEX_WAIT, REQUEST_DEADLINE};
use crate::node::{KnownLeader, Node};
use crate::transport::{Request, Response as NodeResponse};

/// A default read is forwarded only while the leader was heard from this recently; else it is answered stale at once.
const LEADER_HEARD_MAX_MS: u64 = 400;
/// What a hop takes on top of the leader's own wait.
const HOP_MARGIN: Duration = Duration::from_millis(500);
/// How long a default read waits for the leader it is forwarded to.
const DEFAULT_FORWARD_DEADLINE: Duration = Duration::from_millis(500);

/// Levels of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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

/// The parameters every read takes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ReadParams {
    /// Level; see [`admit`] for the default.
    pub consistency: Option<Consistency>,
    /// The most staleness a stale read accepts, in milliseconds.
    pub max_staleness_ms: Option<u64>,
    /// Answer only from a state at or past this log index.
    pub min_index: Option<u64>,
}

/// A read's parameters and when it came.
#[derive(Clone, Copy)]
struct Timed {
    params: ReadParams,
    started: Instant,
}

impl Timed {
    /// A hop may take as long as the leader waits for `min_index`; otherwise there is time for another leader.
    fn hop_deadline(&self) -> Instant {
        let hop = if self.params.min_index.is_some() { MIN_INDEX_WAIT + HOP_MARGIN } else { REQUEST_DEADLINE / 3 };
        (Instant::now() + hop).min(self.started + REQUEST_DEADLINE)
    }
}

/// What to do with a read.
pub enum Admitted {
    /// Answer it from this node's state now.
    Here,
    /// The leader's answer.
    Answered(Response),
}

/// Admits a read, forwards it, or refuses it in bounded time.
pub async fn admit(node: &Node, parts: &Parts, params: ReadParams) -> Result<Admitted, ApiError> {
    // One wait for `min_index` however many levels are tried.
    let params = Timed { params, started: Instant::now() };
    match params.params.consistency {
        Some(Consistency::Stale) => stale(node, params).await,
        Some(Consistency::Linearizable) => {
            linearizable(node).await?;
            wait_min_index(node, params).await?;
            Ok(Admitted::Here)
        }
        Some(Consistency::Leader) => leader(node, parts, params).await,
        None => default(node, parts, params).await,
    }
}

async fn stale(node: &Node, params: Timed) -> Result<Admitted, ApiError> {
    wait_min_index(node, params).await?;
    if let Some(accepted) = params.params.max_staleness_ms {
        let age = node.staleness_ms();
        if age > accepted {
            return Err(ApiError::TooStale(format!("this node's state is {age} ms old, {accepted} ms are accepted")));
        }
    }
    Ok(Admitted::Here)
}

async fn wait_min_index(node: &Node, params: Timed) -> Result<(), ApiError> {
    let left = (params.started + MIN_INDEX_WAIT).saturating_duration_since(Instant::now());
    match params.params.min_index {
        Some(index) if !node.wait_applied(index, left).await => Err(ApiError::TooStale(format!(
            "this node has applied log index {}, the read asks for {index}",
            node.applied()
        ))),
        _ => Ok(()),
    }
}

/// Confirms a read index and waits until this node has applied it.
async fn linearizable(node: &Node) -> Result<(), ApiError> {
    let until = Instant::now() + LEADER_WAIT;
    loop {
        let confirmed = match place(node, until).await? {
            Place::Here => node.local_read_index().await.ok(),
            Place::There(leader) => match node.ask(&leader, &Request::ReadIndex, REQUEST_DEADLINE / 3).await {
                Ok(NodeResponse::ReadIndex(index)) => Some(index),
                _ => None,
            },
        };
        match confirmed {
            Some(index) if node.wait_applied(index, MIN_INDEX_WAIT).await => return Ok(()),
            Some(_) => return Err(ApiError::TooStale("this node is too far behind the leader".into())),
            None if Instant::now() >= until => return Err(ApiError::NoQuorum),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn under_lease(node: &Node, params: Timed) -> Result<(), ApiError> {
    let index = node.lease_read_index().await.map_err(|_| ApiError::NoQuorum)?;
    if !node.wait_applied(index, MIN_INDEX_WAIT).await {
        return Err(ApiError::TooStale("the leader has not applied what is committed yet".into()));
    }
    wait_min_index(node, params).await
}

async fn leader(node: &Node, parts: &Parts, params: Timed) -> Result<Admitted, ApiError> {
    let until = Instant::now() + LEADER_WAIT;
    loop {
        match place(node, until).await? {
            Place::Here => return under_lease(node, params).await.map(|()| Admitted::Here),
            Place::There(_) if parts.was_forwarded() || parts.wants_no_hop() => {
                return Err(ApiError::NotLeader(node.confirmed_leader().map(Into::into)));
            }
            Place::There(leader) => match forward(node, parts, &leader, params.hop_deadline()).await {
                Hop::Answered(answer) => return Ok(Admitted::Answered(answer)),
                _ if Instant::now() >= until => return Err(ApiError::NoQuorum),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

/// `leader` when this node can serve or forward it at once, else `stale`: a plain request always gets an answer.
async fn default(node: &Node, parts: &Parts, params: Timed) -> Result<Admitted, ApiError> {
    if node.leads() {
        if under_lease(node, params).await.is_ok() {
            return Ok(Admitted::Here);
        }
    } else if let Some(leader) = reachable_leader(node)
        && !parts.was_forwarded()
        && !parts.wants_no_hop()
        && let Hop::Answered(answer) = forward(node, parts, &leader, Instant::now() + DEFAULT_FORWARD_DEADLINE).await
        && answer.status().as_u16() != 503
    {
        return Ok(Admitted::Answered(answer));
    }
    stale(node, params).await
}

fn reachable_leader(node: &Node) -> Option<KnownLeader> {
    let leader = node.leader().filter(|leader| leader.id != node.config.id)?;
    (node.staleness_ms() <= LEADER_HEARD_MAX_MS).then_some(leader)
}
