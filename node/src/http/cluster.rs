//! The cluster's own paths: leader, health, members and their changes, digest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use client::api::{CheckpointDigest, ClusterNode, ClusterResponse, DigestResponse, LeaderInfo, Object, QuorumInfo};
use futures::future::join_all;
use raft_store::catalog::STATE_DIGEST_FORMAT;
use raft_store::raft::Member;
use raft_store::types::NodeId;
use serde::Deserialize;

use super::answer::ok_json;
use super::body::parse;
use super::error::ApiError;
use super::route::{Parts, Place, deadline_of, place, to_leader};
use crate::comparison::Checkpoint;
use crate::condition::Condition;
use crate::config::{MemberSpec, WAIT_MS_MAX, check_address};
use crate::deadline::left;
use crate::duties::bootstrap;
use crate::duties::membership;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{NodeStatus, Request, Response as NodeResponse};

/// How long another member may take to say how it is.
const STATUS_DEADLINE: Duration = Duration::from_millis(300);
/// How long a backup may wait for its snapshot.
const BACKUP_DEADLINE: Duration = Duration::from_secs(30);

/// `GET /leader`: only one that a majority confirmed a moment ago (R5).
pub async fn leader(State(node): State<Arc<Node>>) -> Result<Response, ApiError> {
    let leader = node.confirmed_leader().ok_or(ApiError::NoQuorum)?;
    Ok(ok_json(&LeaderInfo::from(leader), None))
}

/// `GET /healthz`.
pub async fn healthz() -> &'static str {
    "ok"
}

/// `GET /readyz`: can it serve linearizable reads and writes?
pub async fn readyz(State(node): State<Arc<Node>>) -> Response {
    if let Some(error) = node.condition.refusal().map(ApiError::from) {
        return not_ready(&error, &error.to_string());
    }
    if !node.takes_part() {
        return not_ready(&ApiError::NoQuorum, "no majority of the voters has recorded the start of this node yet");
    }
    // One that answers searches with `loading` would be sent requests in place of others that can answer them.
    if let Some(progress) = node.names.loading().filter(|_| node.identities.cluster().is_some()) {
        let error = ApiError::Loading { progress };
        return not_ready(&error, &error.to_string());
    }
    let reason = match place(&node, clock::now()).await {
        Err(error) => return not_ready(&error, &error.to_string()),
        Ok(Place::Here) if node.leads_confirmed() => return "ready: leading".into_response(),
        Ok(Place::Here) => "leading, but no majority confirms it".to_owned(),
        Ok(Place::There(leader)) => match node.ask(&leader, &Request::ReadIndex, 2 * STATUS_DEADLINE).await {
            // One that was started a moment ago has nothing to show before it has caught up.
            Ok(NodeResponse::ReadIndex(index)) if node.wait_applied(index, STATUS_DEADLINE).await => {
                return format!("ready: node {} leads", leader.id).into_response();
            }
            Ok(NodeResponse::ReadIndex(index)) => {
                format!("node {} leads; applied here is log index {} of {index}", leader.id, node.applied())
            }
            Ok(other) => format!("node {} leads and answered {other:?}", leader.id),
            Err(error) => error.to_string(),
        },
    };
    not_ready(&ApiError::NoQuorum, &reason)
}

fn not_ready(error: &ApiError, reason: &str) -> Response {
    error.response_saying(format!("not ready: {reason}"))
}

/// `GET /cluster`: what the members say of themselves now, and `null` where one says nothing (R5).
pub async fn cluster(State(node): State<Arc<Node>>) -> Response {
    let members = node.members();
    let voters = membership::voters(&node);
    let condition = node.condition.get();
    // A node that is no member, or no longer the one it was, is refused by the others: that says nothing about them.
    let can_tell = !matches!(condition, Condition::Removed { .. } | Condition::OlderCopy { .. });
    let (leader, term) = match node.confirmed_leader() {
        Some(leader) if can_tell => (Some(leader.id), leader.term),
        _ => (None, node.term()),
    };
    let asked = join_all(members.iter().map(|(id, member)| status_of(&node, *id, member))).await;
    let answers: BTreeMap<NodeId, NodeStatus> =
        members.keys().zip(asked).filter_map(|(id, status)| Some((*id, status?))).collect();
    let head = leader.and_then(|leader| answers.get(&leader)).map(|status| status.applied);
    let entry = |(id, member): (&NodeId, &Member)| {
        let status = answers.get(id);
        let voter = voters.contains(id);
        ClusterNode {
            id: *id,
            address: member.address.clone(),
            role: match status {
                Some(status) => Some(status.role.clone()),
                None => (!voter).then(|| "learner".to_owned()),
            },
            voter,
            last_contact_ms: status.and_then(|_| node.metrics.last_contact_ms(*id, node.config.id)),
            applied_index: status.map(|status| status.applied),
            lag: status.and_then(|status| Some(head?.saturating_sub(status.applied))),
            alive: (can_tell || status.is_some()).then_some(status.is_some()),
            condition: status.map(|status| status.condition.name().to_owned()),
            loading: status.and_then(|status| status.loading),
            version: status.map(|status| status.version.clone()),
        }
    };
    // A removed node is no member, whatever the last membership that it saw says.
    let removed = matches!(condition, Condition::Removed { .. });
    let nodes: Vec<_> = members.iter().filter(|(id, _)| !removed || **id != node.config.id).map(entry).collect();
    let healthy = answers.iter().filter(|(id, status)| voters.contains(id) && status.condition.is_healthy()).count();
    let answer = ClusterResponse {
        cluster_id: node.identities.cluster().map(|id| format!("{id:016x}")),
        leader,
        term,
        nodes,
        quorum: QuorumInfo {
            size: voters.len() / 2 + usize::from(!voters.is_empty()),
            healthy: can_tell.then_some(healthy),
        },
        condition: Some(condition.name().to_owned()),
        digest_alarm: node.divergence.alarm(),
    };
    ok_json(&answer, None)
}

async fn status_of(node: &Node, id: NodeId, member: &Member) -> Option<NodeStatus> {
    if id == node.config.id {
        return Some(node.status());
    }
    match node.pool.call(id, member, &Request::Status, STATUS_DEADLINE).await {
        Ok(NodeResponse::Status(status)) => {
            node.metrics.contact(id);
            Some(status)
        }
        _ => None,
    }
}

/// `GET /cluster/digest`.
pub async fn digest(State(node): State<Arc<Node>>) -> Result<Response, ApiError> {
    let image = node.state.read().digest_image();
    let applied_index = image.last_applied().map_or(0, |log_id| log_id.index);
    // Hashes what was written since it was asked last: not under the catalog's lock.
    let taken = tokio::task::spawn_blocking(move || image.digest()).await;
    let digest = taken.map_err(|error| ApiError::Overloaded(error.to_string()))?;
    let of = |checkpoint: Checkpoint| CheckpointDigest { index: checkpoint.index, digest: checkpoint.digest };
    let checkpoints = node.divergence.checkpoints().into_iter().map(of).collect();
    Ok(ok_json(&DigestResponse { applied_index, digest, format: STATE_DIGEST_FORMAT, checkpoints }, None))
}

/// `GET /cluster/backup`: a snapshot file of this node's state now; it carries its own checksum.
pub async fn backup(State(node): State<Arc<Node>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let until = deadline_of(&headers)?.named().unwrap_or(clock::now() + BACKUP_DEADLINE);
    if node.identities.cluster().is_none() {
        return Err(ApiError::NotInitialized);
    }
    let failed = |fatal: String| ApiError::StorageFailed(fatal);
    let wanted = node.applied();
    node.raft.trigger().snapshot().await.map_err(|fatal| failed(fatal.to_string()))?;
    while clock::now() < until {
        let newest = node.raft.get_snapshot().await.map_err(|error| failed(error.to_string()))?;
        if let Some(snapshot) = newest
            && snapshot.meta.last_log_id.is_some_and(|log_id| log_id.index >= wanted)
        {
            let bytes = snapshot.snapshot.bytes().await.map_err(|error| failed(error.to_string()))?;
            return Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(ApiError::Overloaded("no snapshot was ready in time".into()))
}

#[derive(Deserialize)]
struct InitRequest {
    nodes: Option<Vec<Object<InitNode>>>,
}

#[derive(Deserialize)]
struct InitNode {
    id: NodeId,
    address: String,
}

#[derive(Deserialize)]
struct LearnerRequest {
    id: NodeId,
    address: String,
}

#[derive(Deserialize)]
struct IdRequest {
    id: NodeId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromoteRequest {
    id: NodeId,
    wait_ms: Option<u64>,
}

fn ok() -> Response {
    ok_json(&serde_json::json!({"ok": true}), None)
}

/// `POST /cluster/init`.
pub async fn init(State(node): State<Arc<Node>>, request: HttpRequest) -> Response {
    init_inner(&node, request).await.unwrap_or_else(|error| error.response(true))
}

async fn init_inner(node: &Node, request: HttpRequest) -> Result<Response, ApiError> {
    let parts = Parts::of(request)?;
    let until = parts.deadline.until(Duration::ZERO);
    let request: InitRequest = parse(&parts.body)?;
    let own = || vec![MemberSpec { id: node.config.id, address: node.address.clone() }];
    let members: Vec<_> = match request.nodes {
        None => own(),
        Some(nodes) if nodes.is_empty() => own(),
        Some(nodes) => {
            nodes.into_iter().map(|Object(node)| MemberSpec { id: node.id, address: node.address }).collect()
        }
    };
    for member in &members {
        check_address(&member.address).map_err(ApiError::BadRequest)?;
    }
    check_distinct(&members)?;
    bootstrap::found(node, &members, until).await?;
    Ok(ok_json(
        &serde_json::json!({"ok": true, "clusterId": node.identities.cluster().map(|id| format!("{id:016x}"))}),
        None,
    ))
}

/// One member named twice would found another cluster than was meant.
fn check_distinct(members: &[MemberSpec]) -> Result<(), ApiError> {
    for (at, member) in members.iter().enumerate() {
        let earlier = &members[..at];
        if member.id == 0 {
            return Err(ApiError::BadRequest("node ids start at 1".into()));
        }
        if earlier.iter().any(|other| other.id == member.id || other.address == member.address) {
            return Err(ApiError::BadRequest(format!(
                "node {} at {} shares its id or its address with another node of the list",
                member.id, member.address
            )));
        }
    }
    Ok(())
}

/// What a change of members asks for, once its body was checked.
enum Change {
    AddLearner(LearnerRequest),
    Promote(NodeId, Duration),
    Demote(NodeId),
    Remove(NodeId),
    Transfer(NodeId),
    Snapshot,
}

/// `POST /cluster/learners`, `/promote`, `/demote`, `/remove`, `/transfer`, `/snapshot`.
pub async fn change(State(node): State<Arc<Node>>, request: HttpRequest) -> Response {
    let inner = async { change_inner(&node, &Parts::of(request)?).await };
    inner.await.unwrap_or_else(|error: ApiError| error.response(true))
}

async fn change_inner(node: &Arc<Node>, parts: &Parts) -> Result<Response, ApiError> {
    let id = || parse::<IdRequest>(&parts.body).map(|request| request.id);
    let change = match parts.uri.path() {
        "/cluster/learners" => {
            let request: LearnerRequest = parse(&parts.body)?;
            check_address(&request.address).map_err(ApiError::BadRequest)?;
            Change::AddLearner(request)
        }
        "/cluster/promote" => {
            let request: PromoteRequest = parse(&parts.body)?;
            let wait_ms = request.wait_ms.unwrap_or(0);
            if wait_ms > WAIT_MS_MAX {
                return Err(ApiError::BadRequest(format!("waitMs is {wait_ms}; it must be at most {WAIT_MS_MAX}")));
            }
            Change::Promote(request.id, Duration::from_millis(wait_ms))
        }
        "/cluster/demote" => Change::Demote(id()?),
        "/cluster/remove" => Change::Remove(id()?),
        "/cluster/transfer" => Change::Transfer(id()?),
        _ => Change::Snapshot,
    };
    if let Change::Snapshot = change {
        // Every node takes its own.
        node.raft.trigger().snapshot().await.map_err(|fatal| ApiError::StorageFailed(fatal.to_string()))?;
        return Ok(ok());
    }
    let wait = if let Change::Promote(_, wait) = change { wait } else { Duration::ZERO };
    let until = parts.deadline.until(wait);
    if let Some(answer) = to_leader(node, parts, left(until)).await? {
        return Ok(answer);
    }
    // A task of its own: a caller that disconnects must not leave the change halfway, in a joint configuration.
    let node = node.clone();
    let done = tokio::spawn(async move {
        match change {
            Change::AddLearner(request) => membership::add_learner(&node, request.id, &request.address, until).await,
            Change::Promote(id, wait) => membership::promote(&node, id, wait, until).await,
            Change::Demote(id) => membership::demote(&node, id, until).await,
            Change::Remove(id) => membership::remove(&node, id, until).await,
            Change::Transfer(id) => membership::transfer(&node, id, until).await,
            Change::Snapshot => Ok(()),
        }
    });
    done.await.map_err(|error| ApiError::Unknown(format!("the change was interrupted: {error}")))??;
    Ok(ok())
}

/// `POST /raft/…`: node-to-node traffic has a protocol of its own on this port.
pub async fn raft_only() -> Response {
    ApiError::Forbidden("node-to-node traffic uses a binary protocol on this port, not HTTP".into()).response(true)
}

/// `GET /openapi.json`.
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// `GET /`.
pub async fn console() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("console.html")).into_response()
}
