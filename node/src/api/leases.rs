//! Leases: acquire with its waiting line, renew, release, leave (L1–L7).
//!
//! Invariant: a wait is one operation under one key; only joining and claiming are logged, polling is a read at the
//! leader (L5). Remaining times are measured against the leader's log time when the answer is made (T4).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use client::api::{
    DeniedResponse, GrantResponse, LeaseRequest, LeaseResponse, LeaveRequest, ReleaseRequest, RenewRequest,
};
use raft_store::catalog::{Acquire, Grant, Leave, Op, Place, Rejection, Release, Renew, Reply};
use raft_store::types::{FileName, LeaseToken, LogTime, PeerId, limits};
use tokio::time::Instant;

use super::answer::{no_content, ok_json};
use super::body::parse;
use super::error::ApiError;
use super::writes::{Write, refused, unexpected, write_handler};
use crate::clock::{millis, unix_seconds};
use crate::config::{REQUEST_DEADLINE, WAIT_MS_MAX};
use crate::node::Node;

/// A hanging request counts as a poll at least this often (L5).
const POLL_SLICE: Duration = Duration::from_secs(4);

write_handler! {
    /// `POST /lease`.
    acquire => acquire_inner
}
write_handler! {
    /// `POST /lease/renew`.
    renew => renew_inner
}
write_handler! {
    /// `POST /lease/release`.
    release => release_inner
}
write_handler! {
    /// `POST /lease/leave`.
    leave => leave_inner
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<(), ApiError> {
    match ttl_ms {
        Some(ttl) if !(limits::LEASE_TTL_MS_MIN..=limits::LEASE_TTL_MS_MAX).contains(&ttl) => {
            Err(ApiError::BadRequest(format!("ttlMs is {ttl}; it must be between 100 and 86400000 (24 h)")))
        }
        _ => Ok(()),
    }
}

async fn acquire_inner(write: &Write) -> Result<Response, ApiError> {
    let request: LeaseRequest = parse(&write.parts.body)?;
    check_ttl(request.ttl_ms)?;
    let wait_ms = request.wait_ms.unwrap_or(0);
    if wait_ms > WAIT_MS_MAX {
        return Err(ApiError::BadRequest(format!("waitMs is {wait_ms}; it must be at most {WAIT_MS_MAX}")));
    }
    let wait_until = Instant::now() + Duration::from_millis(wait_ms);
    let ttl_ms = request.ttl_ms.unwrap_or(millis(write.node.config.lease_ttl));
    // Once a place in line was taken, a failure is not definite any more (W5).
    let mut joined = false;
    let unsure = |joined: bool, error: ApiError| match joined {
        true => ApiError::Unknown(format!("a place in line was taken, then: {error}")),
        false => error,
    };
    loop {
        let remaining = wait_until.saturating_duration_since(Instant::now());
        let forwarded = write.forwarded(remaining + REQUEST_DEADLINE).await;
        if let Some(answer) = forwarded.map_err(|error| unsure(joined, error))? {
            return Ok(answer);
        }
        if request.wait == Some(true) {
            match wait_for_turn(&write.node, &request.file_name, &request.peer_id, wait_until).await {
                Turn::Ask => {}
                Turn::Moved => continue,
                Turn::TimeUp(denied) => return Ok(ok_json(&LeaseResponse::Denied(denied), None)),
            }
        }
        match ask(write, &request, ttl_ms).await.map_err(|error| unsure(joined, error))? {
            Asked::Answer(answer) => return Ok(answer),
            Asked::InLine(answer) if Instant::now() >= wait_until => return Ok(answer),
            Asked::InLine(_) => joined = true,
        }
    }
}

enum Asked {
    /// Final.
    Answer(Response),
    /// Not yet; the answer to give if there is no time left to wait.
    InLine(Response),
}

/// Proposes the acquisition: a grant, a claim, a place in line, or a refusal.
async fn ask(write: &Write, request: &LeaseRequest, ttl_ms: u64) -> Result<Asked, ApiError> {
    let (file, peer) = (request.file_name.clone(), request.peer_id.clone());
    let wait = request.wait == Some(true);
    let op = Op::Acquire(Acquire { peer, file, ttl_ms, wait, token: LeaseToken(rand::random()) });
    let committed = write.propose(op, 0).await?;
    let log_index = committed.log_index;
    Ok(match committed.outcome.result {
        Err(rejection) => Asked::Answer(refused(rejection, log_index)),
        Ok(Reply::Granted(grant)) => Asked::Answer(granted(&write.node, grant, committed.outcome.replayed, log_index)),
        Ok(Reply::Denied { holder, deadline, position }) => {
            let denied = denied(&write.node, holder, deadline, position);
            let answer = ok_json(&LeaseResponse::Denied(denied), Some(log_index));
            if wait && position.is_some() { Asked::InLine(answer) } else { Asked::Answer(answer) }
        }
        Ok(other) => return Err(unexpected(&other)),
    })
}

enum Turn {
    /// Propose: not in line, or it is this waiter's turn.
    Ask,
    /// Leadership moved while waiting.
    Moved,
    /// Still in line, and the request's time is over.
    TimeUp(DeniedResponse),
}

/// Polls the line at the leader, woken by the events that end the wait.
async fn wait_for_turn(node: &Node, file: &FileName, peer: &PeerId, until: Instant) -> Turn {
    // Dropped after `notify`, also when the caller disconnects and this future is dropped midway.
    let _registered = TurnRegistration { node, file, peer };
    let notify = node.leadership.turn_notify(file, peer);
    loop {
        // Armed before the look, so that a grant offered in between is not missed.
        let woken = notify.notified();
        let position = {
            let catalog = node.catalog();
            match catalog.place(file, peer) {
                None | Some(Place::Offered { .. }) => break Turn::Ask,
                Some(Place::Waiting { ticket, position }) => {
                    node.leadership.waiter_polled(file, peer, ticket);
                    node.leadership.sign_of_life(peer);
                    position
                }
            }
        };
        let remaining = until.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            let lease = node.catalog().lease(file);
            break match lease {
                Some(lease) => Turn::TimeUp(denied(node, lease.holder, lease.deadline, Some(position))),
                None => Turn::Ask,
            };
        }
        let _ = tokio::time::timeout(remaining.min(POLL_SLICE), woken).await;
        if !node.leads() {
            break Turn::Moved;
        }
    }
}

/// Keeps the table of waiters as large as the number of requests that wait.
struct TurnRegistration<'a> {
    node: &'a Node,
    file: &'a FileName,
    peer: &'a PeerId,
}

impl Drop for TurnRegistration<'_> {
    fn drop(&mut self) {
        self.node.leadership.done_waiting(self.file, self.peer);
    }
}

fn remaining_ms(node: &Node, deadline: LogTime) -> u64 {
    let applied = node.catalog().now();
    deadline.saturating_sub(node.clock.now(applied))
}

fn granted(node: &Node, grant: Grant, replayed: bool, log_index: u64) -> Response {
    let remaining = remaining_ms(node, grant.deadline);
    // A fresh grant may be counted from the moment it was asked for; a remembered one only from now on (X1, T4), and
    // where this node only guesses the time, for as little as that can be.
    let ttl_ms = if replayed { remaining.max(1) } else { remaining.max(grant.ttl_ms) };
    if replayed && grant.deadline <= node.clock.reached(node.catalog().now()) {
        let rejection = Rejection::LeaseExpired {
            current_version: grant.version,
            holder: None,
            fencing_token: Some(grant.fencing_token),
        };
        return refused(rejection, log_index);
    }
    let answer = GrantResponse {
        granted: true,
        expiration: unix_seconds() + remaining.div_ceil(1_000),
        lease_token: grant.token,
        fencing_token: grant.fencing_token,
        ttl_ms,
        version: grant.version,
    };
    ok_json(&LeaseResponse::Granted(answer), Some(log_index))
}

fn denied(node: &Node, holder: PeerId, deadline: LogTime, position: Option<u64>) -> DeniedResponse {
    let remaining_ms = remaining_ms(node, deadline);
    let expiration = unix_seconds() + remaining_ms.div_ceil(1_000);
    DeniedResponse { granted: false, holder, expiration, remaining_ms, position }
}

async fn renew_inner(write: &Write) -> Result<Response, ApiError> {
    let request: RenewRequest = parse(&write.parts.body)?;
    check_ttl(request.ttl_ms)?;
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let op = Op::Renew(Renew {
        peer: request.peer_id,
        file: request.file_name,
        token: request.lease_token,
        ttl_ms: request.ttl_ms,
    });
    let committed = write.propose(op, 0).await?;
    match committed.outcome.result {
        Err(rejection) => Ok(refused(rejection, committed.log_index)),
        Ok(Reply::Granted(grant)) => Ok(granted(&write.node, grant, committed.outcome.replayed, committed.log_index)),
        Ok(other) => Err(unexpected(&other)),
    }
}

async fn release_inner(write: &Write) -> Result<Response, ApiError> {
    let request: ReleaseRequest = parse(&write.parts.body)?;
    let op = Op::Release(Release { peer: request.peer_id, file: request.file_name, token: request.lease_token });
    done(write, op).await
}

async fn leave_inner(write: &Write) -> Result<Response, ApiError> {
    let request: LeaveRequest = parse(&write.parts.body)?;
    done(write, Op::Leave(Leave { peer: request.peer_id, file: request.file_name })).await
}

/// Proposes what is answered 204.
async fn done(write: &Write, op: Op) -> Result<Response, ApiError> {
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let committed = write.propose(op, 0).await?;
    match committed.outcome.result {
        Err(rejection) => Ok(refused(rejection, committed.log_index)),
        Ok(_) => Ok(no_content(committed.log_index)),
    }
}
