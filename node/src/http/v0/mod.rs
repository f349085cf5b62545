//! The wire format of the original implementation under `/v0/…`, so that its programs run against any node.
//!
//! ```text
//! mod.rs ── decode (wire.rs) ── here or at the leader? ──┬─ register.rs, announce.rs, lease.rs   commands of the index
//!   plain texts and statuses                             ├─ heartbeat.rs   tasks, each given once (given.rs)
//!                                                        └─ reads.rs       search, peers of a file
//! numbers.rs  version numbers      hashes.rs, hashing.rs  files without a hash      time.rs  RFC 3339
//! ```
//!
//! These paths are no part of the contract of this version: `docs/migration.md` describes them.
//!
//! Invariants
//! * An adapter over the same commands: whatever is decided is decided by the catalog, and all rules hold.
//! * A caller of these paths names a peer and shows no token. So it can use only leases that were taken here
//!   (`lease.rs` marks their tokens), never one that a client of this version has.

mod announce;
mod given;
mod hashes;
mod hashing;
mod heartbeat;
mod lease;
mod numbers;
mod reads;
mod register;
mod time;
mod wire;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use raft_store::catalog::{Catalog, FileView, Rejection};
use raft_store::types::{ContentHash, FileName, PeerId, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blocking;
use super::error::ApiError;
use super::handle::Call;
use super::reply::json;
use super::route::Parts;
use super::writes::go_elsewhere;
use crate::config::REQUEST_DEADLINE;
use crate::node::Node;

/// The adapter, and the little that it keeps in memory.
pub struct V0 {
    node: Arc<Node>,
    /// Tasks that peers were given.
    given: given::Given,
    /// Files whose hash is being found out.
    hashing: Arc<hashing::Hashing>,
}

/// A request of the original's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Register,
    Announce,
    Heartbeat,
    Lease,
    Delete,
    Search,
    Peers,
    Healthz,
}

impl Asked {
    fn of(path: &str) -> Option<Self> {
        Some(match path.strip_prefix("/v0/")? {
            "register" => Self::Register,
            "announce" => Self::Announce,
            "heartbeat" => Self::Heartbeat,
            "lease" => Self::Lease,
            "delete" => Self::Delete,
            "search" => Self::Search,
            "peers" => Self::Peers,
            "healthz" => Self::Healthz,
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            Self::Register | Self::Announce | Self::Heartbeat | Self::Lease | Self::Delete => Method::POST,
            Self::Search | Self::Peers | Self::Healthz => Method::GET,
        }
    }
}

impl V0 {
    /// The adapter of a node.
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { node, given: given::Given::default(), hashing: Arc::default() })
    }

    /// Answers a request under `/v0/`.
    pub async fn serve(self: Arc<Self>, request: Request) -> Response {
        let Some(asked) = Asked::of(request.uri().path()).filter(|_| self.node.config.v0) else {
            let why = match self.node.config.v0 {
                true => "404 page not found: see docs/migration.md for what is served under /v0",
                false => "this node does not serve /v0; start it with --v0 on",
            };
            return text(StatusCode::NOT_FOUND, why);
        };
        if request.method() != asked.method() {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            let allowed = if asked.method() == Method::POST { "POST" } else { "GET" };
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        let was_forwarded = request.headers().contains_key(client::contract::headers::FORWARDED);
        let outcome = match asked {
            Asked::Healthz => Ok(Response::new(Body::from("ok"))),
            Asked::Search | Asked::Peers => reads::answer(&self.node, asked, request).await,
            _ => self.write(asked, request).await,
        };
        outcome.unwrap_or_else(|error| refused(&error, was_forwarded))
    }

    async fn write(&self, asked: Asked, request: Request) -> Result<Response, ApiError> {
        // As the original's shadow, before the body is looked at, and whether or not there is a leader.
        if self.node.config.reject_writes_on_followers && !self.node.leads() {
            return Err(ApiError::NotLeader(self.node.confirmed_leader().map(Into::into)));
        }
        let call = Call { node: self.node.clone(), parts: Parts::of(request)?, key: None, waits: false };
        let write = Write::check(asked, &call).await?;
        loop {
            if let Some(answer) = call.forwarded(REQUEST_DEADLINE).await? {
                return Ok(answer);
            }
            match self.write_here(&call, &write).await {
                Err(refusal @ ApiError::NotLeader(_)) => go_elsewhere(&call, refusal).await?,
                outcome => return outcome,
            }
        }
    }

    async fn write_here(&self, call: &Call, write: &Write) -> Result<Response, ApiError> {
        match write {
            Write::Register(registration) => self.register(call, registration).await,
            Write::Announce(announcement) => self.announce(call, announcement).await,
            Write::Heartbeat(peer) => self.heartbeat(peer),
            Write::Lease(peer, file) => lease::lease(call, peer, file).await,
            Write::Delete(peer, file) => announce::delete(call, peer, file).await,
        }
    }
}

/// A checked write.
enum Write {
    Register(register::Registration),
    Announce(announce::Announcement),
    Heartbeat(PeerId),
    Lease(PeerId, FileName),
    Delete(PeerId, FileName),
}

impl Write {
    async fn check(asked: Asked, call: &Call) -> Result<Self, ApiError> {
        let of_peer = |body: wire::FileOfPeer| Ok((peer_id(&body.peer_id)?, file_name(&body.file_name)?));
        Ok(match asked {
            Asked::Register => Self::Register(checked(call, register::check).await?),
            Asked::Announce => Self::Announce(checked(call, announce::check).await?),
            Asked::Heartbeat => {
                Self::Heartbeat(checked(call, |body: wire::HeartbeatRequest| peer_id(&body.peer_id)).await?)
            }
            Asked::Lease => checked(call, of_peer).await.map(|(peer, file)| Self::Lease(peer, file))?,
            Asked::Delete => checked(call, of_peer).await.map(|(peer, file)| Self::Delete(peer, file))?,
            Asked::Search | Asked::Peers | Asked::Healthz => return Err(ApiError::MethodNotAllowed),
        })
    }
}

/// Decodes and checks a body, on the blocking pool if it is large.
async fn checked<B: DeserializeOwned, T: Send + 'static>(
    call: &Call,
    check: impl FnOnce(B) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let body = call.parts.body.clone();
    blocking::run(body.len(), move || {
        let body = wire::decode(&body).map_err(|error| ApiError::BadRequest(format!("bad json: {error}")))?;
        check(body)
    })
    .await
}

fn peer_id(text: &str) -> Result<PeerId, ApiError> {
    PeerId::parse(text).map_err(|rule| ApiError::BadRequest(rule.to_string()))
}

fn file_name(text: &str) -> Result<FileName, ApiError> {
    FileName::parse(text).map_err(|rule| ApiError::BadName(format!("{text:?}: {rule}")))
}

/// The current bytes of a file.
#[derive(Debug, Clone, Copy)]
struct Current {
    version: Version,
    hash: ContentHash,
    size: Option<u64>,
    /// The number of the version.
    number: i64,
}

impl Current {
    /// `None` if the file does not exist.
    fn of(catalog: &Catalog, name: &FileName) -> Option<Self> {
        Self::of_view(&catalog.file(name)?)
    }

    fn of_view(file: &FileView) -> Option<Self> {
        let number = numbers::number(file.version, numbers::noted(file).as_ref());
        Some(Self { version: file.version, hash: file.hash?, size: file.size, number })
    }

    fn info(&self, name: &FileName) -> wire::FileInfo {
        let size = self.size.and_then(|size| i64::try_from(size).ok()).unwrap_or(0);
        let (name, hash) = (name.as_str().to_owned(), hashes::shown(&self.hash));
        wire::FileInfo { name, size, hash, version: self.number }
    }
}

/// A peer in the original's format.
fn peer_info(node: &Node, id: &PeerId, address: &str) -> wire::Peer {
    let last_seen = node.last_seen_unix(id).map_or_else(|| time::ZERO.to_owned(), time::rfc3339);
    wire::Peer { id: id.as_str().to_owned(), addr: address.to_owned(), last_seen }
}

fn answered<T: Serialize>(body: &T) -> Response {
    json(body)
}

fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A plain text, as Go's `http.Error` writes one.
fn text(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure in the original's words where it had some. A node that forwarded the request is told as nodes tell each
/// other, so that it can look for the next leader.
pub fn refused(error: &ApiError, was_forwarded: bool) -> Response {
    if was_forwarded && matches!(error, ApiError::NotLeader(_)) {
        return error.response(true);
    }
    let words = match error {
        ApiError::NotLeader(Some(leader)) => {
            format!("shadow is read-only; node {} at http://{}/v0 takes writes", leader.id, leader.address)
        }
        ApiError::NotLeader(None) => "shadow is read-only".to_owned(),
        ApiError::Refused(Rejection::LeaseRequired { .. } | Rejection::LeaseExpired { .. }) => {
            "Lease required to update file version".to_owned()
        }
        ApiError::Refused(Rejection::NotFound { .. }) => "file not found".to_owned(),
        ApiError::Refused(Rejection::NotHolder { .. }) => "peer does not own this file".to_owned(),
        ApiError::Refused(rejection @ (Rejection::VersionConflict { .. } | Rejection::HashConflict { .. })) => {
            format!("conflict: {rejection}; fetch the file before announcing it")
        }
        other => other.to_string(),
    };
    text(StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &words)
}
