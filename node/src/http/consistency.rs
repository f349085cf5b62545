//! Read consistency (R1–R4): decides whether this node answers a read now, waits first, or forwards it.
//!
//! Invariant: a `linearizable` read is answered only from a state at or past a read index that a majority confirmed
//! after the read arrived. A `stale` read is never forwarded. The source of the answer ([`Source`]), which is the
//! catalog or state derived from it, must have followed the log that far.

use std::time::Duration;

use axum::response::Response;
use client::contract::{Consistency, ReadParams};
use tokio::time::{Instant, timeout};

use crate::config::{LEADER_WAIT, MIN_INDEX_WAIT, REQUEST_DEADLINE};
use crate::deadline::left;
use crate::freshness::age_ms;
use crate::http::error::ApiError;
use crate::http::route::{Hop, Parts, Place, forward, place};
use crate::node::{KnownLeader, Node};
use crate::search::names::NotYet;
use crate::sys::clock;
use crate::transport::{Request, Response as NodeResponse};

/// A default read is forwarded only if the leader was heard from this recently; otherwise it is answered stale at once.
const LEADER_HEARD_MAX_MS: u64 = 400;
/// Time for a hop on top of the leader's own wait.
const HOP_MARGIN: Duration = Duration::from_millis(500);
/// How long a default read waits for the leader's answer.
const DEFAULT_FORWARD_DEADLINE: Duration = Duration::from_millis(500);

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The catalog alone.
    Catalog,
    /// The name index, which follows the catalog.
    Names,
    /// The leader's plan, which also follows the catalog.
    Planner,
}

impl Source {
    /// Waits until the source has reached a log index.
    async fn reach(self, node: &Node, log_index: u64, within: Duration) -> Result<(), ApiError> {
        let behind = |what: &str, at: u64| {
            Err(ApiError::TooStale(format!("{what} of this node is at log index {at}, the read asks for {log_index}")))
        };
        match self {
            Self::Catalog if node.wait_applied(log_index, within).await => Ok(()),
            Self::Catalog => behind("the state", node.applied()),
            Self::Names => match node.names.reach(log_index, within).await {
                Ok(()) => Ok(()),
                Err(NotYet::Loading(progress)) => Err(ApiError::Loading { progress }),
                Err(NotYet::At(followed)) => behind("the search index", followed),
            },
            Self::Planner if node.events.reach(log_index, within).await => Ok(()),
            Self::Planner => behind("the planner", node.events.newest()),
        }
    }

    /// Age of the source in milliseconds.
    fn staleness_ms(self, node: &Node) -> u64 {
        match self {
            Self::Catalog | Self::Planner => node.staleness_ms(),
            Self::Names => age_ms(node.names_as_of(node.names.followed())),
        }
    }

    fn is_loading(self, node: &Node) -> bool {
        self == Self::Names && node.names.loading().is_some()
    }
}

/// A read's parameters, source and time of arrival.
#[derive(Clone, Copy)]
struct Timed {
    params: ReadParams,
    source: Source,
    started: Instant,
}

impl Timed {
    /// Time for a hop: as long as the leader may wait for `min_index`; without one, short enough to try another leader.
    fn hop_deadline(&self) -> Instant {
        let hop = if self.params.min_index.is_some() { MIN_INDEX_WAIT + HOP_MARGIN } else { REQUEST_DEADLINE / 3 };
        (clock::now() + hop).min(self.started + REQUEST_DEADLINE)
    }
}

/// What to do with a read.
pub enum Admitted {
    /// Answer from this node's state now.
    Here,
    /// The leader answered; pass its answer on.
    Answered(Response),
}

/// Admits a read, forwards it, or refuses it, in bounded time.
pub async fn admit(node: &Node, parts: &Parts, params: ReadParams, source: Source) -> Result<Admitted, ApiError> {
    // One wait for `min_index`, however many levels are tried.
    let params = Timed { params, source, started: clock::now() };
    match params.params.consistency {
        Some(Consistency::Stale) => stale(node, params).await,
        // Only the leader plans; a follower could only answer that it does not know.
        Some(Consistency::Linearizable) if source == Source::Planner => at_leader(node, parts, params).await,
        Some(Consistency::Linearizable) => confirmed(node, params).await,
        Some(Consistency::Leader) => at_leader(node, parts, params).await,
        None => default(node, parts, params).await,
    }
}

async fn stale(node: &Node, params: Timed) -> Result<Admitted, ApiError> {
    wait_min_index(node, params).await?;
    if let Some(accepted) = params.params.max_staleness_ms {
        let age = params.source.staleness_ms(node);
        if age > accepted {
            return Err(ApiError::TooStale(format!(
                "this node's state is {age} ms old, and the read accepts {accepted} ms"
            )));
        }
    }
    Ok(Admitted::Here)
}

/// Waits for the log index that the caller asks for. A name index that is not loaded has reached none.
async fn wait_min_index(node: &Node, params: Timed) -> Result<(), ApiError> {
    let left = (params.started + MIN_INDEX_WAIT).saturating_duration_since(clock::now());
    params.source.reach(node, params.params.min_index.unwrap_or(0), left).await
}

async fn confirmed(node: &Node, params: Timed) -> Result<Admitted, ApiError> {
    linearizable(node, params.source).await?;
    wait_min_index(node, params).await?;
    Ok(Admitted::Here)
}

/// Confirms a read index and waits until this node has applied it.
async fn linearizable(node: &Node, source: Source) -> Result<(), ApiError> {
    let started = clock::now();
    let until = started + LEADER_WAIT;
    // The whole read must be answered within the time limit of a request (R4).
    let at_most = |usual: Duration| usual.min(left(started + REQUEST_DEADLINE));
    loop {
        let place = place(node, until).await?;
        let within = at_most(REQUEST_DEADLINE / 3);
        let confirmed = match place {
            Place::Here => timeout(within, node.local_read_index()).await.ok().and_then(Result::ok),
            Place::There(leader) => match node.ask(&leader, &Request::ReadIndex, within).await {
                Ok(NodeResponse::ReadIndex(index)) => Some(index),
                _ => None,
            },
        };
        match confirmed {
            Some(index) => return source.reach(node, index, at_most(MIN_INDEX_WAIT)).await,
            None if clock::now() >= until => return Err(ApiError::NoQuorum),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn under_lease(node: &Node, params: Timed) -> Result<(), ApiError> {
    let index = node.lease_read_index().await.map_err(|_| ApiError::NoQuorum)?;
    params.source.reach(node, index, MIN_INDEX_WAIT).await?;
    wait_min_index(node, params).await
}

/// Answers here if this node leads, otherwise with the leader's answer. A leader checks what the level requires.
async fn at_leader(node: &Node, parts: &Parts, params: Timed) -> Result<Admitted, ApiError> {
    let until = clock::now() + LEADER_WAIT;
    loop {
        match place(node, until).await? {
            Place::Here if params.params.consistency == Some(Consistency::Linearizable) => {
                return confirmed(node, params).await;
            }
            Place::Here => return under_lease(node, params).await.map(|()| Admitted::Here),
            Place::There(_) if parts.was_forwarded() || parts.wants_no_hop() => {
                return Err(ApiError::NotLeader(node.confirmed_leader().map(Into::into)));
            }
            Place::There(leader) => match forward(node, parts, &leader, params.hop_deadline()).await {
                Hop::Answered(answer) => return Ok(Admitted::Answered(answer)),
                _ if clock::now() >= until => return Err(ApiError::NoQuorum),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

/// A read without a level: `leader` if this node can serve or forward it at once, otherwise `stale`. So a plain request
/// always gets an answer, unless this node is still loading and the leader cannot be reached.
async fn default(node: &Node, parts: &Parts, params: Timed) -> Result<Admitted, ApiError> {
    if node.leads() {
        if under_lease(node, params).await.is_ok() {
            return Ok(Admitted::Here);
        }
    } else if !parts.was_forwarded() && !parts.wants_no_hop() {
        // A node that cannot answer by itself can only wait for the leader.
        let (leader, until) = if params.source.is_loading(node) {
            (another_leader(node), params.hop_deadline())
        } else {
            (reachable_leader(node), clock::now() + DEFAULT_FORWARD_DEADLINE)
        };
        if let Some(leader) = leader
            && let Hop::Answered(answer) = forward(node, parts, &leader, until).await
            && answer.status().as_u16() != 503
        {
            return Ok(Admitted::Answered(answer));
        }
    }
    stale(node, params).await
}

fn another_leader(node: &Node) -> Option<KnownLeader> {
    node.confirmed_leader().filter(|leader| leader.id != node.config.id)
}

fn reachable_leader(node: &Node) -> Option<KnownLeader> {
    another_leader(node).filter(|_| node.staleness_ms() <= LEADER_HEARD_MAX_MS)
}
