//! The HTTP contract: which path goes to which handler.
//!
//! ```text
//! POST /register                                        register.rs   logged
//! POST /announce                                        announce.rs   logged
//! POST /delete                                          writes.rs     logged
//! POST /lease /lease/renew /lease/release /lease/leave  leases.rs     logged
//! POST /heartbeat                                       heartbeat.rs  the leader's soft state
//! GET  /search /peers /file /why /lease /stats          reads.rs      three consistency levels
//! GET  /events                                          events.rs     server-sent events
//! GET  /leader /healthz /readyz /cluster /cluster/digest, POST /cluster/…   cluster.rs
//! GET  /metrics                                         metrics.rs
//! ```
//!
//! Invariant: the body is read before anything is decided, and every answer says whose state gave it.

mod announce;
mod answer;
mod body;
mod canonical;
mod cluster;
mod consistency;
mod convert;
pub mod error;
mod events;
mod heartbeat;
mod heavy;
mod leases;
pub(crate) mod listen;
mod metrics;
#[cfg(test)]
mod openapi;
mod reads;
mod register;
pub mod route;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::{any, get, post};
use tower::Service;

use self::error::ApiError;
use self::metrics::counted_path;
use crate::node::Node;

/// Every path and its handler.
fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/register", post(register::register))
        .route("/announce", post(announce::announce))
        .route("/delete", post(writes::delete))
        .route("/lease", post(leases::acquire).get(reads::lease))
        .route("/lease/renew", post(leases::renew))
        .route("/lease/release", post(leases::release))
        .route("/lease/leave", post(leases::leave))
        .route("/heartbeat", post(heartbeat::heartbeat))
        .route("/search", get(reads::search))
        .route("/peers", get(reads::peers))
        .route("/file", get(reads::file))
        .route("/why", get(reads::why))
        .route("/stats", get(reads::stats))
        .route("/events", get(events::events))
        .route("/leader", get(cluster::leader))
        .route("/healthz", get(cluster::healthz))
        .route("/readyz", get(cluster::readyz))
        .route("/cluster", get(cluster::cluster))
        .route("/cluster/digest", get(cluster::digest))
        .route("/cluster/backup", get(cluster::backup))
        .route("/cluster/init", post(cluster::init))
        .route("/cluster/learners", post(cluster::change))
        .route("/cluster/promote", post(cluster::change))
        .route("/cluster/demote", post(cluster::change))
        .route("/cluster/remove", post(cluster::change))
        .route("/cluster/transfer", post(cluster::change))
        .route("/cluster/snapshot", post(cluster::change))
        .route("/raft/{*rest}", any(cluster::raft_only))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(cluster::openapi))
        .route("/", get(cluster::console))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(node)
}

/// The API as a connection sees it. What every request needs is done here, by plain calls: as layers of the router each
/// would cost every request several allocations. Cheap to clone.
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
        Self { router: router(node.clone()), boot: answer::boot(&node), memory: body::BodyMemory::default(), node }
    }

    /// Reads the body, has the request answered, and says whose state gave the answer.
    pub async fn answer(&self, request: hyper::Request<hyper::body::Incoming>) -> Response {
        let path = counted_path(request.uri().path());
        let (parts, body) = request.into_parts();
        // Its share of the memory is held until the request is answered.
        let (body, _share) = body::collect(body, &self.memory).await;
        let mut request = Request::from_parts(parts, Body::empty());
        request.extensions_mut().insert(body);
        let refusal = if speaks_of_the_node(path) { None } else { self.node.condition.refusal().map(ApiError::from) };
        // What came while this process was paused waited somewhere in the system, and its
        // caller may have given up (W6).
        let refusal = match refusal {
            None if !request.method().is_safe() && self.node.pulse.was_paused() => Some(ApiError::Overloaded(
                "this node was paused a moment ago, and the request may have waited since; nothing was done".into(),
            )),
            refusal => refusal,
        };
        let mut response = match refusal {
            Some(error) => error.response(is_write(&request)),
            // A router is always ready.
            None => self.router.clone().call(request).await.unwrap_or_default(),
        };
        answer::describe(&self.node, &self.boot, &mut response);
        self.node.metrics.answered(path, response.status().as_u16());
        response
    }
}

/// Whether a path is about the asked node itself, whatever its condition.
fn speaks_of_the_node(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics" | "/cluster" | "/cluster/digest" | "/openapi.json" | "/")
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
