//! Leases: acquire with its wait queue, renew, look up (L1–L7).
//!
//! Invariant: a wait is one operation under one key. Only joining and claiming are logged; a poll is a read at the
//! leader (L5). Remaining times are measured against the leader's log time when the answer is built (T4).

use std::time::Duration;

use client::contract::{
    Acquire, DeniedResponse, GrantResponse, Lease, LeaseRequest, LeaseResponse, LeaseStatus, LinePlace, Renew,
};
use raft_store::catalog::{self, Grant, LeaseView, Op, Place, Rejection, Reply as Committal};
use raft_store::types::{FileName, LeaseToken, LogTime, PeerId, limits};
use tokio::time::Instant;

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::route::Parts;
use super::writes::unexpected;
use crate::config::{REQUEST_DEADLINE, WAIT_MS_MAX};
use crate::node::Node;
use crate::sys::clock::{millis, now, unix_seconds};

/// A waiting request counts as a poll at least this often (L5).
const POLL_SLICE: Duration = Duration::from_secs(4);

fn check_ttl(ttl_ms: Option<u64>) -> Result<(), ApiError> {
    match ttl_ms {
        Some(ttl) if !(limits::LEASE_TTL_MS_MIN..=limits::LEASE_TTL_MS_MAX).contains(&ttl) => {
            Err(ApiError::BadRequest(format!("ttlMs is {ttl}; it must be between 100 and 86400000 (24 h)")))
        }
        _ => Ok(()),
    }
}

/// Checks how long a request may wait.
pub fn check_wait(wait_ms: Option<u64>) -> Result<Duration, ApiError> {
    match wait_ms.unwrap_or(0) {
        wait_ms if wait_ms > WAIT_MS_MAX => {
            Err(ApiError::BadRequest(format!("waitMs is {wait_ms}; it must be at most {WAIT_MS_MAX}")))
        }
        wait_ms => Ok(Duration::from_millis(wait_ms)),
    }
}

impl Handle for Acquire {
    /// The request, and until when it may wait.
    type Checked = (LeaseRequest, Instant);
    const WAITS: bool = true;

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        check_ttl(sent.request.ttl_ms)?;
        let wait = check_wait(sent.request.wait_ms)?;
        Ok((sent.request, now() + wait))
    }

    fn within((_, wait_until): &Self::Checked, _parts: &Parts) -> Duration {
        wait_until.saturating_duration_since(now()) + REQUEST_DEADLINE
    }

    async fn answer(call: &Call, checked: Self::Checked) -> Result<Reply<LeaseResponse>, ApiError> {
        let (request, wait_until) = &checked;
        let ttl_ms = request.ttl_ms.unwrap_or(millis(call.node.config.lease_ttl));
        // Once the peer is in the wait queue, a failure is no longer definite (W5).
        let mut joined = false;
        let unsure = |joined: bool, error: ApiError| match joined {
            true => ApiError::Unknown(format!("the peer joined the wait queue, then: {error}")),
            false => error,
        };
        loop {
            let turn = match request.wait {
                Some(true) => wait_for_turn(&call.node, &request.file_name, &request.peer_id, *wait_until).await,
                _ => Turn::Ask,
            };
            match turn {
                Turn::TimeUp(denied) => return Ok(Reply::Answer(LeaseResponse::Denied(denied))),
                Turn::Moved => {}
                Turn::Ask => match ask(call, request, ttl_ms).await.map_err(|error| unsure(joined, error))? {
                    Asked::Answer(answer) => return Ok(answer),
                    Asked::InLine(answer) if now() >= *wait_until => return Ok(answer),
                    Asked::InLine(_) => joined = true,
                },
            }
            // Leadership may have moved in the meantime.
            let forwarded = call.forwarded(Self::within(&checked, &call.parts)).await;
            if let Some(answer) = forwarded.map_err(|error| unsure(joined, error))? {
                return Ok(Reply::Whole(answer));
            }
        }
    }
}

impl Handle for Renew {
    type Checked = Op;

    fn check(sent: Sent<'_, Self>) -> Result<Op, ApiError> {
        let request = sent.request;
        check_ttl(request.ttl_ms)?;
        Ok(Op::Renew(catalog::Renew {
            peer: request.peer_id,
            file: request.file_name,
            token: request.lease_token,
            ttl_ms: request.ttl_ms,
        }))
    }

    async fn answer(call: &Call, op: Op) -> Result<Reply<GrantResponse>, ApiError> {
        let committed = call.propose(op, 0).await?;
        match committed.outcome.result {
            Err(rejection) => Ok(Reply::Refused(rejection, committed.log_index)),
            Ok(Committal::Granted(grant)) => Ok(match granted(&call.node, grant, committed.outcome.replayed) {
                Ok(grant) => Reply::Logged(grant, committed.log_index),
                Err(rejection) => Reply::Refused(rejection, committed.log_index),
            }),
            Ok(other) => Err(unexpected(&other)),
        }
    }
}

impl Handle for Lease {
    type Checked = FileName;

    fn check(sent: Sent<'_, Self>) -> Result<FileName, ApiError> {
        Ok(sent.query.file)
    }

    async fn answer(call: &Call, wanted: FileName) -> Result<Reply<LeaseStatus>, ApiError> {
        let lease = call.node.catalog().lease(&wanted);
        let lease = lease.ok_or_else(|| ApiError::NotFound(format!("nobody has the lease of {wanted}")))?;
        Ok(Reply::Answer(lease_status(&call.node, lease)))
    }
}

/// A lease in the form that reads return.
pub fn lease_status(node: &Node, lease: LeaseView) -> LeaseStatus {
    let applied = node.catalog().now();
    // Log time advances with the leader; without one this node does not know the remaining time (R5).
    let known = node.confirmed_leader().is_some();
    let remaining_ms = known.then(|| lease.deadline.saturating_sub(node.clock.now(applied)));
    LeaseStatus {
        file_name: lease.file,
        holder: lease.holder,
        fencing_token: lease.fencing_token.unwrap_or(0),
        expiration: remaining_ms.map(|left| unix_seconds() + left.div_ceil(1_000)),
        remaining_ms,
        line: (1..).zip(lease.line).map(|(position, waiter)| LinePlace { peer_id: waiter.peer, position }).collect(),
    }
}

enum Asked {
    /// The final answer.
    Answer(Reply<LeaseResponse>),
    /// Not decided yet; the answer to give if there is no time left to wait.
    InLine(Reply<LeaseResponse>),
}

/// Proposes the acquisition. The result is a grant, a claim, a place in the wait queue, or a refusal.
async fn ask(call: &Call, request: &LeaseRequest, ttl_ms: u64) -> Result<Asked, ApiError> {
    let (file, peer) = (request.file_name.clone(), request.peer_id.clone());
    let wait = request.wait == Some(true);
    let op = Op::Acquire(catalog::Acquire { peer, file, ttl_ms, wait, token: LeaseToken(rand::random()) });
    let committed = call.propose(op, 0).await?;
    let log_index = committed.log_index;
    Ok(match committed.outcome.result {
        Err(rejection) => Asked::Answer(Reply::Refused(rejection, log_index)),
        Ok(Committal::Granted(grant)) => Asked::Answer(match granted(&call.node, grant, committed.outcome.replayed) {
            Ok(grant) => Reply::Logged(LeaseResponse::Granted(grant), log_index),
            Err(rejection) => Reply::Refused(rejection, log_index),
        }),
        Ok(Committal::Denied { holder, deadline, position }) => {
            let denied = denied(&call.node, holder, deadline, position);
            let answer = Reply::Logged(LeaseResponse::Denied(denied), log_index);
            if wait && position.is_some() { Asked::InLine(answer) } else { Asked::Answer(answer) }
        }
        Ok(other) => return Err(unexpected(&other)),
    })
}

enum Turn {
    /// Propose: the peer is not in the queue, or it is its turn.
    Ask,
    /// Leadership moved while waiting.
    Moved,
    /// The peer is still in the queue, and the request's time is over.
    TimeUp(DeniedResponse),
}

/// Polls the wait queue at the leader; events that end the wait wake it.
async fn wait_for_turn(node: &Node, file: &FileName, peer: &PeerId, until: Instant) -> Turn {
    // Dropped after `notify`, even if the caller disconnects and this future is dropped midway.
    let _registered = TurnRegistration { node, file, peer };
    let notify = node.leadership.turn_notify(file, peer);
    loop {
        // Armed before the check, so that a grant offered in between is not missed.
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
        let remaining = until.saturating_duration_since(now());
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

/// Removes the waiter's entry when dropped, so that the table has no more entries than there are waiting requests.
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

/// A grant with its remaining time, or the refusal that it has ended.
fn granted(node: &Node, grant: Grant, replayed: bool) -> Result<GrantResponse, Rejection> {
    let remaining = remaining_ms(node, grant.deadline);
    // A fresh grant counts from the moment it was requested. A remembered one counts only from now (X1, T4), and where
    // this node can only estimate the time, with the shortest remainder that is possible.
    let ttl_ms = if replayed { remaining.max(1) } else { remaining.max(grant.ttl_ms) };
    if replayed && grant.deadline <= node.clock.reached(node.catalog().now()) {
        return Err(Rejection::LeaseExpired {
            current_version: grant.version,
            holder: None,
            fencing_token: Some(grant.fencing_token),
        });
    }
    Ok(GrantResponse {
        granted: true,
        expiration: unix_seconds() + remaining.div_ceil(1_000),
        lease_token: grant.token,
        fencing_token: grant.fencing_token,
        ttl_ms,
        version: grant.version,
    })
}

fn denied(node: &Node, holder: PeerId, deadline: LogTime, position: Option<u64>) -> DeniedResponse {
    let remaining_ms = remaining_ms(node, deadline);
    let expiration = unix_seconds() + remaining_ms.div_ceil(1_000);
    DeniedResponse { granted: false, holder, expiration, remaining_ms, position }
}
