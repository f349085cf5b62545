//! Asks a running cluster to add this node, and repeats that until it is done or refused for good.

use std::sync::Arc;
use std::time::Duration;

use client::contract::{AddLearner, Endpoint, ErrorCode, Problem, Promote};
use hyper::Request as HttpRequest;
use hyper::header::CONTENT_TYPE;

use super::BootstrapError;
use crate::node::Node;
use crate::sys::clock;

/// How often the cluster may give a joining node the same refusal before the node gives up. Not once: a change of
/// members that is in progress ends by itself.
const REFUSALS_MAX: u32 = 3;
/// How long one attempt to join may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long the leader may wait for this node to catch up before it promotes it.
const CATCH_UP_WAIT: Duration = Duration::from_secs(20);

/// Asks the listed servers to add this node as a learner, and to promote it unless it is to stay one.
pub(super) async fn join(node: &Arc<Node>, servers: &[String], learner: bool) -> Result<(), BootstrapError> {
    let wait_ms = clock::millis(CATCH_UP_WAIT);
    let body = serde_json::json!({"id": node.config.id, "address": node.address, "waitMs": wait_ms}).to_string();
    let mut refusals = Refusals::default();
    let mut steps = vec![AddLearner::PATH];
    if !learner {
        steps.push(Promote::PATH);
    }
    for step in steps {
        'again: loop {
            for server in servers {
                let url = format!("{}{step}", server.trim_end_matches('/'));
                let request =
                    HttpRequest::post(&url).header(CONTENT_TYPE, "application/json").body(body.clone().into());
                let Ok(request) = request else {
                    tracing::warn!(%url, "is no URL");
                    continue;
                };
                match node.net.send(request, JOIN_DEADLINE).await {
                    Ok(answer) if answer.status().is_success() => break 'again,
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        let reason = String::from_utf8_lossy(answer.body());
                        tracing::warn!(%url, status, %reason, "not admitted yet");
                        if status == ErrorCode::MembershipRefused.status() && step == AddLearner::PATH {
                            refusals.note(&reason)?;
                        }
                    }
                    Err(error) => tracing::warn!(%url, %error, "cannot reach the cluster"),
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tracing::info!(step, "done");
    }
    Ok(())
}

/// Counts equal refusals in a row.
#[derive(Default)]
struct Refusals {
    reason: String,
    count: u32,
}

impl Refusals {
    /// Fails once the same refusal has come often enough to be final.
    fn note(&mut self, answer: &str) -> Result<(), BootstrapError> {
        let problem: Option<Problem> = serde_json::from_str(answer).ok();
        let reason = problem.map_or_else(|| answer.to_owned(), |problem| problem.detail);
        self.count = if reason == self.reason { self.count + 1 } else { 1 };
        self.reason = reason;
        match self.count < REFUSALS_MAX {
            true => Ok(()),
            false => Err(BootstrapError::BadList(format!("the cluster does not take this node in: {}", self.reason))),
        }
    }
}
