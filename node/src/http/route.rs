//! Where a request is answered: here, or by the leader; and how long anybody waits for a leader (R4, W2).
//!
//! Invariant: a request is forwarded one hop at most, and a write without a key is never sent twice (X3).

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

/// Pause before asking again who leads.
const ROLE_POLL: Duration = Duration::from_millis(10);
/// Pause before a leader that could not be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);
/// How often a waiting hop looks whether its leader was replaced.
const REPLACED_POLL: Duration = Duration::from_millis(50);
/// A leader that no majority confirmed for this long takes no writes: they would only hang.
const QUORUM_SILENCE_MAX: Duration = Duration::from_millis(1_000);

/// Request headers that travel along when a request is forwarded.
const FORWARDED_HEADERS: [&str; 3] = [headers::IDEMPOTENCY_KEY, headers::IDEMPOTENCY_FLOOR, "authorization"];

/// Who should answer.
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
    /// How long its caller waits.
    pub deadline: Deadline,
}

impl Parts {
    /// Takes a request apart; fails if its body was too large or ended early.
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

    /// Whether another node forwarded it here.
    pub fn was_forwarded(&self) -> bool {
        self.headers.contains_key(headers::FORWARDED)
    }

    /// Whether the caller wants 403 `not_leader` rather than a hop (W2).
    pub fn wants_no_hop(&self) -> bool {
        self.headers.get(headers::FORWARD).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"never"))
    }
}

/// The deadline of a request that arrived now.
pub fn deadline_of(headers: &HeaderMap) -> Result<Deadline, BadDeadline> {
    Deadline::of(headers.get(headers::DEADLINE_MS).map(HeaderValue::as_bytes))
}

/// Whether this node leads and may propose; refused if it leads and no majority confirms it.
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

/// Waits for a leader, `until` at the latest.
pub async fn place(node: &Node, until: Instant) -> Result<Place, ApiError> {
    loop {
        if leads_here(node)? {
            return Ok(Place::Here);
        }
        // One that fell silent may be paused or gone: what is sent to it is neither refused nor done (R5).
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
/// Once a hop was lost the write may have been applied, and no later failure is definite any more (W5).
pub async fn to_leader(node: &Node, parts: &Parts, within: Duration) -> Result<Option<Response>, ApiError> {
    // Nearly every write of a leader ends here: no deadline is computed for it.
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
            // The leader is gone or moved.
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

/// Whether an answer says that this attempt was refused, and nothing about an earlier one under the same key.
fn speaks_of_one_attempt(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Waits until this node knows another leader than the one that could not be reached, or until that one may be tried
/// again: many requests wait here at once, and each attempt is a connection.
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
    /// Definite: nothing was applied.
    NotSent,
    /// It may have been applied.
    Lost(String),
}

/// Sends a request to the leader and takes its answer over, headers included.
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
        // A leader that was paused or cut off would hold the caller until the deadline, long
        // after its successor serves.
        () = replaced(node, leader) => Hop::Lost("another node leads now".into()),
    }
}

/// Resolves once another leader than this one has led for a moment.
async fn replaced(node: &Node, leader: &KnownLeader) {
    loop {
        tokio::time::sleep(REPLACED_POLL).await;
        if node.leader().is_some_and(|now| now.term > leader.term) {
            // What the old leader still answered is on its way.
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
