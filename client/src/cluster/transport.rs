//! One attempt: one HTTP request to one server, and what its failure proves.
//!
//! Invariant: an attempt counts as not sent only if no connection was established. Everything after that may have
//! reached the server.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use serde::de::DeserializeOwned;

use super::BootTime;
use crate::contract::{ErrorCode, Problem, headers};

/// Largest answer body that is read, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connect timeout; shorter than every attempt's own limit, so that the two can be told apart.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The `Raftshare-Role` of a leader.
pub(super) const LEADER: &str = "leader";

/// The request; the same for every attempt of a call, except for the floor and the permission to forward.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Path and query, starting with `/`.
    pub(super) target: String,
    /// JSON body of a POST; `None` for a GET.
    pub(super) body: Option<Bytes>,
    /// `Idempotency-Key`, for writes.
    pub(super) key: Option<String>,
    /// `Idempotency-Floor`, for keys of the client's own session.
    pub(super) floor: Option<u64>,
    /// How long the server may take, in milliseconds (W6); for writes.
    pub(super) deadline_ms: Option<u64>,
    /// Whether to ask for a refusal instead of a hop to the leader (W2).
    pub(super) forward_never: bool,
}

/// A 2xx answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// When the request was sent; TTLs count from here (T4).
    pub(super) sent: BootTime,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection was established.
    NotSent(String),
    /// The server answered with an error. Includes whether that server leads.
    Answered { problem: Box<Problem>, by_leader: bool },
    /// No answer in time.
    Silent(Duration),
    /// The connection broke, or the answer was unreadable.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) | Self::Broken(why) => f.write_str(why),
            Self::Answered { problem, .. } => f.write_str(&problem.detail),
            Self::Silent(waited) => write!(f, "no answer within {:.1} s", waited.as_secs_f64()),
        }
    }
}

/// A pooled HTTP client without redirects, proxies or retries of its own.
pub(super) fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("raftshare/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Whom to send to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'a> {
    /// Base URL.
    pub(super) url: &'a str,
    /// The configured `host:port`, if `url` is one of the addresses of that name.
    pub(super) host: Option<&'a str>,
    /// The token to present.
    pub(super) bearer: Option<&'a str>,
}

/// Sends `call` to the server and waits at most `limit` for the whole answer.
pub(super) async fn attempt(
    http: &reqwest::Client,
    server: Server<'_>,
    call: &Call,
    limit: Duration,
) -> Result<Reply, Failure> {
    let sent = BootTime::now();
    match tokio::time::timeout(limit, exchange(http, server, call, sent)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Silent(limit)),
    }
}

async fn exchange(http: &reqwest::Client, server: Server<'_>, call: &Call, sent: BootTime) -> Result<Reply, Failure> {
    let url = format!("{}{}", server.url, call.target);
    let mut request = match &call.body {
        Some(body) => http.post(url).header(CONTENT_TYPE, "application/json").body(body.clone()),
        None => http.get(url),
    };
    if let Some(key) = &call.key {
        request = request.header(headers::IDEMPOTENCY_KEY, key);
    }
    if let Some(floor) = call.floor {
        request = request.header(headers::IDEMPOTENCY_FLOOR, floor);
    }
    if let Some(deadline) = call.deadline_ms {
        request = request.header(headers::DEADLINE_MS, deadline);
    }
    if call.forward_never {
        request = request.header(headers::FORWARD, "never");
    }
    if let Some(host) = server.host {
        request = request.header(HOST, host);
    }
    if let Some(bearer) = server.bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
    }
    let response = request.send().await.map_err(failure)?;
    let status = response.status();
    let answered = response.headers().clone();
    let body = read_body(response).await?;
    if status.is_success() {
        return Ok(Reply { sent, headers: answered, body });
    }
    let by_leader = answered.get(headers::ROLE).is_some_and(|role| role == LEADER);
    Err(Failure::Answered { problem: Box::new(problem(status.as_u16(), &body)), by_leader })
}

async fn read_body(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Broken(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The error body, or a substitute if something other than an index server answered.
fn problem(status: u16, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let detail = format!("HTTP status {status} without an error body of the index API; is this an index server?");
        Problem::new(status, ErrorCode::Unknown, "Unexpected answer", detail)
    })
}

fn failure(error: reqwest::Error) -> Failure {
    let text = innermost(&error);
    if error.is_connect() || error.is_builder() { Failure::NotSent(text) } else { Failure::Broken(text) }
}

/// The root cause ("Connection refused"): the outer layers only repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Reply {
    /// Decodes the JSON body; an empty one stands for `null`, so that 204 decodes to `()`.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    /// A numeric header.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A text header.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
