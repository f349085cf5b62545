//! What all logged writes have in common, and the simplest of them: parse → check → here or the
//! leader → propose → answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use client::api::DeleteRequest;
use raft_store::catalog::{Command, Delete, KeyTag, Op, Rejection, Reply};
use raft_store::types::PeerId;
use tokio::time::Instant;

use super::answer::no_content;
use super::body::{key_tag, parse};
use super::error::ApiError;
use super::heavy;
use super::route::{Parts, to_leader};
use crate::config::REQUEST_DEADLINE;
use crate::node::Node;
use crate::propose::{Committed, Due};

/// How long an answer waits for the planner to have seen its write, so that the tasks in it are current (M3).
const PLANNER_WAIT: Duration = Duration::from_millis(50);
/// Pause before a write whose leader was lost looks for the next one.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(5);
/// How long after its arrival a write may still set out for another leader; finding one may take `LEADER_WAIT`, and all
/// of it has to fit into the 5 s of R4.
const ELSEWHERE_WITHIN: Duration = Duration::from_millis(1_500);

/// Paths whose requests may ask to wait before they are decided.
const WAITING_PATHS: [&str; 1] = ["/lease"];

/// What every write handler is given.
pub struct Write {
    /// The node.
    pub node: Arc<Node>,
    /// The request.
    pub parts: Parts,
    /// Its idempotency key.
    pub key: Option<KeyTag>,
    /// Whether it asked to wait before it is decided.
    waits: bool,
}

impl Write {
    /// Takes a request apart; fails on an oversized body or a bad key header.
    pub async fn new(node: Arc<Node>, request: Request) -> Result<Self, ApiError> {
        let parts = Parts::of(request)?;
        let key = if parts.body.len() < heavy::LARGE_BODY_BYTES {
            key_tag(&parts.headers, parts.uri.path(), &parts.body)?
        } else {
            let Parts { uri, headers, body, .. } = parts.clone();
            heavy::run(body.len(), move || key_tag(&headers, uri.path(), &body)).await?
        };
        let waits = WAITING_PATHS.contains(&parts.uri.path());
        Ok(Self { node, parts, key, waits })
    }

    /// Leadership may have left this node between the look at who leads and the proposal, which is definite: the
    /// request then goes to the next leader, unless its sender wants to find that itself. Waits a moment before that.
    pub async fn go_elsewhere(&self, refusal: ApiError) -> Result<(), ApiError> {
        if self.parts.was_forwarded() || self.parts.wants_no_hop() || self.node.config.reject_writes_on_followers {
            return Err(refusal);
        }
        if self.parts.deadline.arrived().elapsed() > ELSEWHERE_WITHIN {
            return Err(ApiError::NoQuorum);
        }
        tokio::time::sleep(ELSEWHERE_PAUSE).await;
        Ok(())
    }

    /// The leader's answer if this node does not lead; `within` bounds how long that may take.
    pub async fn forwarded(&self, within: Duration) -> Result<Option<Response>, ApiError> {
        to_leader(&self.node, &self.parts, within).await
    }

    /// Proposes a command under this request's key, as its chunk number `chunk`.
    pub async fn propose(&self, op: Op, chunk: u32) -> Result<Committed, ApiError> {
        let peer = op.peer().cloned();
        let key = self.key.clone().map(|key| KeyTag { chunk, ..key });
        let committed = self.node.proposer.propose_by(Command { key, op }, self.due(chunk)).await?;
        if let Some(peer) = peer {
            self.node.leadership.sign_of_life(&peer);
        }
        Ok(committed)
    }

    /// When a command of this request is answered at the latest. Later pages of a listing, and commands after a wait
    /// that the request asked for, have the usual time of their own, within the deadline that the caller named (W6).
    fn due(&self, chunk: u32) -> Due {
        match self.parts.deadline.named() {
            Some(named) => Due::named(named.min(Instant::now() + REQUEST_DEADLINE)),
            None if chunk > 0 || self.waits => Due::usual(Instant::now() + REQUEST_DEADLINE),
            // The usual case costs no look at the clock.
            None => Due::usual(self.parts.deadline.arrived() + REQUEST_DEADLINE),
        }
    }

    /// The peer's tasks, once the planner has seen the write at `log_index`.
    pub async fn tasks(&self, peer: &PeerId, log_index: u64) -> Vec<client::api::Task> {
        let mut seen = self.node.events.watch();
        let _ = tokio::time::timeout(PLANNER_WAIT, seen.wait_for(|seen| *seen >= log_index)).await;
        self.tasks_now(peer)
    }

    /// The peer's tasks as the planner knows them.
    pub fn tasks_now(&self, peer: &PeerId) -> Vec<client::api::Task> {
        let catalog = self.node.catalog();
        self.node.leadership.tasks_for(&catalog, peer)
    }
}

/// Runs a write handler and gives its failures the form of failed writes (W5).
macro_rules! write_handler {
    ($(#[$doc:meta])* $name:ident => $inner:path) => {
        $(#[$doc])*
        pub async fn $name(
            State(node): State<Arc<Node>>,
            request: Request,
        ) -> Response {
            let outcome = match Write::new(node, request).await {
                Ok(write) => loop {
                    match $inner(&write).await {
                        Err(refusal @ ApiError::NotLeader(_)) => match write.go_elsewhere(refusal).await {
                            Ok(()) => {}
                            Err(error) => break Err(error),
                        },
                        outcome => break outcome,
                    }
                },
                Err(error) => Err(error),
            };
            outcome.unwrap_or_else(|error| error.response(true))
        }
    };
}
pub(super) use write_handler;

write_handler! {
    /// `POST /delete` (F7).
    delete => delete_inner
}

/// A committed refusal as an error that still tells its log index.
pub fn refused(rejection: Rejection, log_index: u64) -> Response {
    super::answer::with_index(ApiError::Refused(rejection).response(true), log_index)
}

/// A reply that does not belong to its command: a defect, reported as an unknown outcome rather than hidden.
pub fn unexpected(reply: &Reply) -> ApiError {
    ApiError::Unknown(format!("the index answered {reply:?}"))
}

async fn delete_inner(write: &Write) -> Result<Response, ApiError> {
    let request: DeleteRequest = parse(&write.parts.body)?;
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let op = Op::Delete(Delete {
        peer: request.peer_id,
        file: request.file_name,
        everywhere: request.everywhere.unwrap_or(false),
        token: request.lease_token,
    });
    let Committed { log_index, outcome } = write.propose(op, 0).await?;
    match outcome.result {
        Err(rejection) => Ok(refused(rejection, log_index)),
        Ok(_) => Ok(no_content(log_index)),
    }
}
