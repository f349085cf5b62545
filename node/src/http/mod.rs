//! The HTTP API: the only place that names axum, statuses and [`ApiError`].
//!
//! ```text
//! listen.rs  connections ─► mod.rs  Edge ─► handle.rs  by kind ─► one file per endpoint: check, answer
//!                                             │
//!                   route.rs (here or at the leader?)  consistency.rs (reads)  writes.rs (propose)
//!                   body.rs, canonical.rs, blocking.rs (what came in)  reply.rs, error.rs (what goes out)
//! ```
//!
//! [`client::contract`] states which endpoints there are, with all their types and documentation.
//!
//! Invariant: the body is read before anything is decided, and every answer names the node whose state gave it.

mod announce;
mod blocking;
mod body;
mod canonical;
mod cluster;
mod consistency;
pub mod error;
mod events;
mod file;
mod filters;
mod handle;
mod health;
mod heartbeat;
mod leases;
pub(crate) mod listen;
mod members;
mod metrics;
mod peers;
mod register;
mod reply;
pub mod route;
mod search;
mod site;
mod stats;
mod txn;
mod why;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::any;
use client::contract::{Kind, ROUTES, Route};
use tower::Service;

use self::error::ApiError;
use crate::node::Node;
use crate::sys::clock;

/// Every endpoint of the contract.
fn router(node: Arc<Node>) -> Router {
    let mut router = Router::new();
    macro_rules! mount_all {
        ($($(#$mark:ident)? $endpoint:ident),+) => { $(router = handle::mount::<client::contract::$endpoint>(router);)+ };
    }
    client::for_each_endpoint!(mount_all);
    router
        .route("/raft/{*rest}", any(raft_only))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(node)
}

/// Node-to-node traffic uses its own protocol on this port.
async fn raft_only() -> Response {
    ApiError::Forbidden("node-to-node traffic uses a binary protocol on this port, not HTTP".into()).response(true)
}

/// The API as a connection sees it. Steps that every request needs are plain calls here: as layers of the router, each
/// would cost several allocations per request. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    node: Arc<Node>,
    router: Router,
    boot: HeaderValue,
    memory: body::BodyMemory,
}

impl Edge {
    /// The API of a node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { router: router(node.clone()), boot: reply::boot(&node), memory: body::BodyMemory::default(), node }
    }

    /// Reads the body, gets the request answered, and adds which node's state gave the answer.
    pub async fn answer(&self, request: hyper::Request<hyper::body::Incoming>) -> Response {
        let begun = clock::now();
        let place = Route::place_of(request.uri().path());
        let route = place.and_then(|place| ROUTES.get(place));
        let (parts, body) = request.into_parts();
        // The body's share of the memory is held until the request is answered.
        let (body, _share) = body::collect(body, &self.memory).await;
        let mut request = Request::from_parts(parts, Body::empty());
        request.extensions_mut().insert(body);
        let refusal = if route.is_some_and(|route| route.kind == Kind::Own) {
            None
        } else {
            self.node.condition.refusal().map(ApiError::from)
        };
        // A request that arrived while this process was paused has waited in the system's buffers, and its caller may
        // have given up (W6).
        let refusal = match refusal {
            None if !request.method().is_safe() && self.node.pulse.was_paused() => Some(ApiError::Overloaded(
                "this node was paused a moment ago, and the request may have waited since; nothing was done".into(),
            )),
            refusal => refusal,
        };
        let mut response = match refusal {
            Some(error) => error.response(is_write(&request)),
            // `poll_ready` is not needed: a router is always ready.
            None => self.router.clone().call(request).await.unwrap_or_default(),
        };
        reply::describe(&self.node, &self.boot, &mut response);
        self.node.metrics.requests.answered(place, response.status().as_u16(), begun.elapsed());
        response
    }
}

async fn no_such_path(request: Request) -> Response {
    ApiError::NoSuchPath.response(is_write(&request))
}

async fn method_not_allowed(request: Request) -> Response {
    ApiError::MethodNotAllowed.response(is_write(&request))
}

fn is_write(request: &Request) -> bool {
    !request.method().is_safe()
}
