//! `GET /healthz` and `GET /readyz`: liveness and readiness of this node.

use client::contract::{Healthz, Readyz};

use super::cluster::STATUS_DEADLINE;
use super::error::ApiError;
use super::handle::{Call, Handle, nothing_to_check};
use super::reply::Reply;
use super::route::{Place, place};
use crate::sys::clock::now;
use crate::transport::{Request, Response as NodeResponse};

impl Handle for Healthz {
    nothing_to_check!();

    async fn answer(_call: &Call, (): ()) -> Result<Reply<String>, ApiError> {
        Ok(Reply::Answer("ok".to_owned()))
    }
}

/// Checks whether the node can serve writes and linearizable reads.
impl Handle for Readyz {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<String>, ApiError> {
        let node = &call.node;
        if let Some(error) = node.condition.refusal().map(ApiError::from) {
            return Ok(not_ready(&error, &error.to_string()));
        }
        if !node.takes_part() {
            let reason = "no majority of the voters has recorded the start of this node yet";
            return Ok(not_ready(&ApiError::NoQuorum, reason));
        }
        // A node that still answers searches with `loading` is not ready: others can answer them.
        if let Some(progress) = node.names.loading().filter(|_| node.identities.cluster().is_some()) {
            let error = ApiError::Loading { progress };
            return Ok(not_ready(&error, &error.to_string()));
        }
        let reason = match place(node, now()).await {
            Err(error) => return Ok(not_ready(&error, &error.to_string())),
            Ok(Place::Here) if node.leads_confirmed() => return Ok(Reply::Answer("ready: leading".to_owned())),
            Ok(Place::Here) => "leading, but no majority confirms it".to_owned(),
            Ok(Place::There(leader)) => match node.ask(&leader, &Request::ReadIndex, 2 * STATUS_DEADLINE).await {
                // A node that has just started is not ready before it has caught up.
                Ok(NodeResponse::ReadIndex(index)) if node.wait_applied(index, STATUS_DEADLINE).await => {
                    return Ok(Reply::Answer(format!("ready: node {} leads", leader.id)));
                }
                Ok(NodeResponse::ReadIndex(index)) => {
                    format!("node {} leads; applied here is log index {} of {index}", leader.id, node.applied())
                }
                Ok(other) => format!("node {} leads and answered {other:?}", leader.id),
                Err(error) => error.to_string(),
            },
        };
        Ok(not_ready(&ApiError::NoQuorum, &reason))
    }
}

fn not_ready(error: &ApiError, reason: &str) -> Reply<String> {
    Reply::Whole(error.response_saying(format!("not ready: {reason}")))
}
