//! `POST /v0/heartbeat`: a sign of life, and the tasks that are new.

use axum::response::Response;
use raft_store::types::PeerId;

use super::wire::TasksResponse;
use super::{V0, answered};
use crate::http::error::ApiError;
use crate::http::heartbeat::{fresh_tasks, refusal};

impl V0 {
    /// Answers at once: the original does not wait for tasks. Like any heartbeat, only at a confirmed leader (P3).
    pub fn heartbeat(&self, peer: &PeerId) -> Result<Response, ApiError> {
        let node = &self.node;
        if !node.majority_confirmed() {
            return Err(ApiError::NoQuorum);
        }
        if refusal(node, peer, None).is_some() {
            return Ok(answered(&TasksResponse { ok: false, tasks: Vec::new() }));
        }
        let (working, failed) = self.given.said(peer);
        node.leadership.sign_of_life(peer);
        node.leadership.heartbeat(peer, &working, &failed, None);
        let tasks = self.given.take(node, peer, fresh_tasks(node, peer, &working));
        Ok(answered(&TasksResponse { ok: true, tasks }))
    }
}
