//! The HTTP contract: which path goes to which handler.
//!
//! ```text
//! POST /register /announce /delete                      writes.rs     logged
//! POST /lease /lease/renew /lease/release /lease/leave  leases.rs     logged
//! POST /heartbeat                                       heartbeat.rs  the leader's soft state
//! GET  /search /peers /file /why /lease /stats          reads.rs      three consistency levels
//! GET  /events                                          events.rs     server-sent events
//! GET  /leader /healthz /readyz /cluster /cluster/digest, POST /cluster/…   cluster.rs
//! GET  /metrics                                         metrics.rs
//! ```
//!
//! Invariant: the body is read before anything is decided, and every answer says whose state gave it.

mod answer;
mod body;
mod cluster;
mod convert;
pub mod error;
mod events;
mod heartbeat;
mod leases;
#[cfg(test)]
mod openapi;
mod reads;
pub mod route;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};
pub use reads::stats_of;

use self::error::ApiError;
use crate::node::Node;

/// The whole API of a node.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/register", post(writes::register))
        .route("/announce", post(writes::announce))
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
        .route("/metrics", get(crate::metrics::metrics))
        .route("/openapi.json", get(cluster::openapi))
        .route("/", get(cluster::console))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(body::read_body))
        .layer(middleware::from_fn_with_state(node.clone(), answer::describe))
        .layer(middleware::from_fn_with_state(node.clone(), count))
        .with_state(node)
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

/// Counts answers by path and status.
async fn count(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    node.metrics.answered(&path, response.status());
    response
}
