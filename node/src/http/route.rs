//! Where a request is answered, here or at the leader, and how long a request waits for a leader (R4, W2).
//!
//! Invariant: a request is forwarded at most one hop, and a write without a key is never sent twice (X3).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response as HttpResponse, StatusCode, Uri};
use axum::response::Response;
use client::contract::headers;
use tokio::time::Instant;

use super::body::ReadBody;
use super::error::ApiError;
use crate::config::{LEADER_WAIT, REQUEST_DEADLINE};
use crate::deadline::{BadDeadline, Deadline, for_next_hop};
use crate::node::{KnownLeader, Node};
use crate::sys::clock;
use crate::sys::net::Undelivered;

/// Pause before checking again who leads.
const ROLE_POLL: Duration = Duration::from_millis(10);
/// Pause before retrying a leader that could not be reached.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);
/// How often a waiting hop checks whether its leader was replaced.
const REPLACED_POLL: Duration = Duration::from_millis(50);
/// A leader that no majority has confirmed for this long accepts no writes, because they would only hang.
const QUORUM_SILENCE_MAX: Duration = Duration::from_millis(1_000);

/// Request headers that are passed on when a request is forwarded.
const FORWARDED_HEADERS: [&str; 3] = [headers::IDEMPOTENCY_KEY, headers::IDEMPOTENCY_FLOOR, "authorization"];

/// The node that should answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This node leads and may propose.
    Here,
    /// Another node leads.
    There(KnownLeader),
}

/// The parts of a request that forwarding needs.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How long the caller waits.
    pub deadline: Deadline,
}

impl Parts {
    /// Takes a request apart; fails if its body is too large or ended early.
    pub fn of(request: Request<Body>) -> Result<Self, ApiError> {
        let (mut parts, _) = request.into_parts();
        let body = parts.extensions.remove::<ReadBody>().unwrap_or(ReadBody::Broken).whole()?;
        let deadline = deadline_of(&parts.headers)?;
        Ok(Self { method: parts.method, uri: parts.uri, headers: parts.headers, body, deadline })
    }

    /// Takes a question apart that is answered at once. Neither its body nor its deadline matters: a probe of a node's
    /// health is never refused for them.
    pub fn of_probe(request: Request<Body>) -> Self {
        let (parts, _) = request.into_parts();
        let deadline = Deadline::unnamed();
        Self { method: parts.method, uri: parts.uri, headers: parts.headers, body: Bytes::new(), deadline }
    }

    fn keyed(&self) -> bool {
        self.headers.contains_key(headers::IDEMPOTENCY_KEY)
    }

    /// Whether another node forwarded the request.
    pub fn was_forwarded(&self) -> bool {
        self.headers.contains_key(headers::FORWARDED)
    }

    /// Whether the caller prefers 403 `not_leader` to a hop (W2).
    pub fn wants_no_hop(&self) -> bool {
        self.headers.get(headers::FORWARD).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"never"))
    }
}

/// The deadline of a request that has just arrived.
pub fn deadline_of(headers: &HeaderMap) -> Result<Deadline, BadDeadline> {
    Deadline::of(headers.get(headers::DEADLINE_MS).map(HeaderValue::as_bytes))
}

/// Whether this node leads and may propose; an error if it leads but no majority confirms it.
fn leads_here(node: &Node) -> Result<bool, ApiError> {
    if let Some(reason) = node.fatal.get() {
        return Err(ApiError::StorageFailed(reason.to_string()));
    }
    if !node.leads() {
        return Ok(false);
    }
    match node.leader_confirmation() {
        Some((_, _, age)) if age <= QUORUM_SILENCE_MAX => Ok(true),
        _ => Err(ApiError::NoQuorum),
    }
}

/// Waits for a leader, at most until `until`.
pub async fn place(node: &Node, until: Instant) -> Result<Place, ApiError> {
    loop {
        if leads_here(node)? {
            return Ok(Place::Here);
        }
        // A leader that fell silent may be paused or gone. What is sent to it is neither refused nor done (R5).
        match node.confirmed_leader() {
            Some(leader) if leader.id != node.config.id => return Ok(Place::There(leader)),
            _ => {}
        }
        if node.identities.cluster().is_none() {
            return Err(ApiError::NotInitialized);
        }
        if clock::now() >= until {
            return Err(ApiError::NoQuorum);
        }
        tokio::time::sleep(ROLE_POLL).await;
    }
}

/// Decides where a write is answered: `None` here, or the leader's forwarded answer.
///
/// Once a hop is lost, the write may have been applied, and no later failure is definite (W5).
pub async fn to_leader(node: &Node, parts: &Parts, within: Duration) -> Result<Option<Response>, ApiError> {
    // Nearly every write at a leader returns here, so no deadline is computed for it.
    if leads_here(node)? {
        return Ok(None);
    }
    let deadline = parts.deadline.at_most(within);
    let until = deadline.min(clock::now() + LEADER_WAIT);
    let mut lost: Option<ApiError> = None;
    loop {
        let leader = match (place(node, until).await, &lost) {
            (Err(_) | Ok(Place::Here), Some(lost)) => return Err(lost.clone()),
            (Err(error), None) => return Err(error),
            (Ok(Place::Here), None) => return Ok(None),
            (Ok(Place::There(leader)), _) => leader,
        };
        if parts.was_forwarded() || parts.wants_no_hop() || node.config.reject_writes_on_followers {
            return Err(ApiError::NotLeader(node.confirmed_leader().map(Into::into)));
        }
        match forward(node, parts, &leader, deadline).await {
            Hop::Answered(response) => match lost {
                Some(lost) if speaks_of_one_attempt(response.status()) => return Err(lost),
                _ => return Ok(Some(response)),
            },
            // The leader is gone or has moved.
            Hop::NotSent => {}
            Hop::Lost(reason) => {
                let words = format!("forwarded to node {} and got no answer: {reason}", leader.id);
                lost = Some(ApiError::Unknown(words));
                if !parts.keyed() {
                    break;
                }
            }
        }
        if clock::now() >= until {
            break;
        }
        another_leader(node, &leader).await;
    }
    Err(lost.unwrap_or(ApiError::NoQuorum))
}

/// Whether an answer says only that this attempt was refused, and nothing about an earlier one under the same key.
fn speaks_of_one_attempt(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Waits until this node knows another leader than the one that could not be reached, or until that one may be retried.
/// Many requests may wait here at once, and each attempt opens a connection.
async fn another_leader(node: &Node, unreachable: &KnownLeader) {
    let again = clock::now() + UNREACHABLE_PAUSE;
    while clock::now() < again && node.leader().as_ref().is_none_or(|known| known == unreachable) {
        tokio::time::sleep(ROLE_POLL).await;
    }
}

/// Outcome of one hop.
#[derive(Debug)]
pub enum Hop {
    /// The leader's own answer.
    Answered(Response),
    /// Nothing was applied for certain.
    NotSent,
    /// It may have been applied.
    Lost(String),
}

/// Sends a request to the leader and passes its answer on, headers included.
pub async fn forward(node: &Node, parts: &Parts, leader: &KnownLeader, deadline: Instant) -> Hop {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", leader.member.address);
    let mut request =
        Request::builder().method(parts.method.clone()).uri(url).header(headers::FORWARDED, node.config.id.to_string());
    for name in FORWARDED_HEADERS {
        if let Some(value) = parts.headers.get(name) {
            request = request.header(name, value);
        }
    }
    if !parts.method.is_safe() {
        request = request.header(headers::DEADLINE_MS, for_next_hop(deadline));
    }
    let Ok(request) = request.body(parts.body.clone()) else { return Hop::NotSent };
    let within = deadline.saturating_duration_since(clock::now()).min(REQUEST_DEADLINE * 16);
    let hop = async {
        match node.net.send(request, within).await {
            Err(Undelivered::NotSent(_)) => Hop::NotSent,
            Err(Undelivered::Lost(reason)) => Hop::Lost(reason),
            Ok(answer) => take_over(answer),
        }
    };
    tokio::select! {
        hop = hop => hop,
        // A paused or cut-off leader would hold the caller until the deadline, long after its successor serves.
        () = replaced(node, leader) => Hop::Lost("another node leads now".into()),
    }
}

/// Resolves once another node has led for a moment.
async fn replaced(node: &Node, leader: &KnownLeader) {
    loop {
        tokio::time::sleep(REPLACED_POLL).await;
        if node.leader().is_some_and(|now| now.term > leader.term) {
            // Leaves time for an answer of the old leader that is already on its way.
            return tokio::time::sleep(REPLACED_POLL).await;
        }
    }
}

fn take_over(answer: HttpResponse<Bytes>) -> Hop {
    let status = answer.status();
    if is_not_leader(status.as_u16(), answer.body()) {
        return Hop::NotSent;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in answer.headers() {
        let name_text = name.as_str();
        if name_text.starts_with("raftshare-") || name_text == "content-type" || name_text == "retry-after" {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    *response.body_mut() = Body::from(answer.into_body());
    Hop::Answered(response)
}

fn is_not_leader(status: u16, body: &[u8]) -> bool {
    status == 403
        && serde_json::from_slice::<client::contract::Problem>(body)
            .is_ok_and(|problem| problem.code == client::contract::ErrorCode::NotLeader)
}
