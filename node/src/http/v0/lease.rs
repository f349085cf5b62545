//! `POST /v0/lease`: the write lock of the original, which names its holder and has no token.
//!
//! Invariant: a token drawn here begins with a mark. The paths of the original renew and use only leases with such a
//! token, so nobody can publish under the lease of a client that keeps its token to itself.

use axum::response::Response;
use raft_store::catalog::{Acquire, Catalog, Grant, LeaseView, Op, Rejection, Renew, Reply as Committal};
use raft_store::types::{FileName, LeaseToken, LogTime, PeerId};

use super::register::ensure_registered;
use super::wire::LeaseResponse;
use super::{answered, time};
use crate::http::error::ApiError;
use crate::http::handle::Call;
use crate::http::writes::unexpected;
use crate::node::Node;
use crate::sys::clock::{millis, unix_seconds};

/// How tokens of leases begin that are taken here. The other 96 bits are random.
const MARK: [u8; 4] = *b"v0\0\0";

/// A secret for a new lease.
pub fn draw_token() -> LeaseToken {
    let mut token: [u8; 16] = rand::random();
    token[..MARK.len()].copy_from_slice(&MARK);
    LeaseToken(token)
}

/// The token of the live lease that the peer has taken here.
pub fn own_token(catalog: &Catalog, file: &FileName, peer: &PeerId) -> Option<LeaseToken> {
    catalog.lease_token(file, peer).filter(|token| token.0.starts_with(&MARK))
}

/// Grants, renews or denies a lease.
pub async fn lease(call: &Call, peer: &PeerId, file: &FileName) -> Result<Response, ApiError> {
    ensure_registered(call, peer, None).await?;
    let ttl_ms = millis(call.node.config.lease_ttl);
    let (own, foreign) = {
        let catalog = call.node.catalog();
        let own = own_token(&catalog, file, peer);
        // A newer incarnation of the holder would take it over (L4), and whoever names the peer here can be one.
        let is_own = |lease: &LeaseView| lease.holder == *peer && lease.fencing_token.is_some();
        (own, catalog.lease(file).filter(|lease| own.is_none() && is_own(lease)))
    };
    if let Some(lease) = foreign {
        return Ok(denied(&call.node, &lease.holder, lease.deadline));
    }
    if let Some(token) = own {
        let renew = Renew { peer: peer.clone(), file: file.clone(), token, ttl_ms: Some(ttl_ms) };
        match call.propose(Op::Renew(renew), 0).await?.outcome.result {
            Ok(Committal::Granted(grant)) => return Ok(granted(&call.node, &grant)),
            Ok(other) => return Err(unexpected(&other)),
            // It has just ended; perhaps it is free.
            Err(Rejection::LeaseExpired { .. } | Rejection::LeaseRequired { .. }) => {}
            Err(rejection) => return Err(rejection.into()),
        }
    }
    let acquire = Acquire { peer: peer.clone(), file: file.clone(), ttl_ms, wait: false, token: draw_token() };
    match call.propose(Op::Acquire(acquire), 0).await?.outcome.result? {
        Committal::Granted(grant) => Ok(granted(&call.node, &grant)),
        Committal::Denied { holder, deadline, .. } => Ok(denied(&call.node, &holder, deadline)),
        other => Err(unexpected(&other)),
    }
}

fn denied(node: &Node, holder: &PeerId, deadline: LogTime) -> Response {
    let message = format!("Lease currently held by {holder}");
    answered(&LeaseResponse { granted: false, expiration: expiration(node, deadline), message })
}

fn granted(node: &Node, grant: &Grant) -> Response {
    let expiration = expiration(node, grant.deadline);
    answered(&LeaseResponse { granted: true, expiration, message: "Lease granted".to_owned() })
}

/// For people: measured against log time when the answer is built (T4).
fn expiration(node: &Node, deadline: LogTime) -> String {
    let remaining = deadline.saturating_sub(node.clock.now(node.catalog().now()));
    time::rfc3339(unix_seconds() + remaining.div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_marked_and_differ() {
        let (one, other) = (draw_token(), draw_token());
        assert!(one.0.starts_with(&MARK) && other.0.starts_with(&MARK));
        assert_ne!(one, other);
    }
}
