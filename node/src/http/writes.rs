//! The common part of logged writes: propose under the request's key and deadline, and answer with the peer's tasks.

use std::time::Duration;

use client::contract::Task;
use raft_store::catalog::{Command, KeyTag, Op, Reply as Committal};
use raft_store::types::PeerId;

use super::error::ApiError;
use super::handle::Call;
use super::reply::Reply;
use crate::config::REQUEST_DEADLINE;
use crate::propose::{Committed, Due};
use crate::sys::clock;

/// How long an answer waits until the planner has seen its write, so that its tasks are current (M3).
const PLANNER_WAIT: Duration = Duration::from_millis(50);
/// Pause before a write that lost its leader looks for the next one.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(5);
/// How long after its arrival a write may still look for another leader. Finding one may take `LEADER_WAIT`, and the
/// whole write has to fit into the 5 s of R4.
const ELSEWHERE_WITHIN: Duration = Duration::from_millis(1_500);

/// Handles a refusal because leadership left this node between the check and the proposal. Nothing was applied, so the
/// request goes to the next leader after a short pause, unless its sender wants to find that leader itself.
pub async fn go_elsewhere(call: &Call, refusal: ApiError) -> Result<(), ApiError> {
    if call.parts.was_forwarded() || call.parts.wants_no_hop() || call.node.config.reject_writes_on_followers {
        return Err(refusal);
    }
    if call.parts.deadline.arrived().elapsed() > ELSEWHERE_WITHIN {
        return Err(ApiError::NoQuorum);
    }
    tokio::time::sleep(ELSEWHERE_PAUSE).await;
    Ok(())
}

impl Call {
    /// Proposes a command under this request's key, as chunk number `chunk`.
    pub async fn propose(&self, op: Op, chunk: u32) -> Result<Committed, ApiError> {
        let peer = op.peer().cloned();
        let key = self.key.clone().map(|key| KeyTag { chunk, ..key });
        let committed = self.node.proposer.propose_by(Command { key, op }, self.due(chunk)).await?;
        if let Some(peer) = peer {
            self.node.leadership.sign_of_life(&peer);
        }
        Ok(committed)
    }

    /// Proposes a command with an empty answer.
    pub async fn command(&self, op: Op) -> Result<Reply<()>, ApiError> {
        let committed = self.propose(op, 0).await?;
        Ok(match committed.outcome.result {
            Err(rejection) => Reply::Refused(rejection, committed.log_index),
            Ok(_) => Reply::Logged((), committed.log_index),
        })
    }

    /// The latest time at which a command of this request is answered. Later pages of a listing, and commands after a
    /// wait that the request asked for, each get the usual time, within the deadline that the caller named (W6).
    fn due(&self, chunk: u32) -> Due {
        match self.parts.deadline.named() {
            Some(named) => Due::named(named.min(clock::now() + REQUEST_DEADLINE)),
            None if chunk > 0 || self.waits => Due::usual(clock::now() + REQUEST_DEADLINE),
            // The usual case needs no reading of the clock.
            None => Due::usual(self.parts.deadline.arrived() + REQUEST_DEADLINE),
        }
    }

    /// The peer's tasks, once the planner has seen the write at `log_index`.
    pub async fn tasks(&self, peer: &PeerId, log_index: u64) -> Vec<Task> {
        let mut seen = self.node.events.watch();
        let _ = tokio::time::timeout(PLANNER_WAIT, seen.wait_for(|seen| *seen >= log_index)).await;
        self.tasks_now(peer)
    }

    /// The peer's tasks according to the planner.
    pub fn tasks_now(&self, peer: &PeerId) -> Vec<Task> {
        let catalog = self.node.catalog();
        self.node.leadership.tasks_for(&catalog, peer)
    }
}

/// A reply that does not match its command: a defect, reported as an unknown outcome rather than hidden.
pub fn unexpected(reply: &Committal) -> ApiError {
    ApiError::Unknown(format!("the index answered {reply:?}"))
}
