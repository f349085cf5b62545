//! The cluster as this node sees it: members, leader, digest, backup, snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use client::contract::{
    Backup, CheckpointDigest, Cluster, ClusterNode, ClusterResponse, Digest, DigestResponse, Done, Leader, LeaderInfo,
    QuorumInfo, Snapshot,
};
use futures::future::join_all;
use raft_store::catalog::STATE_DIGEST_FORMAT;
use raft_store::raft::Member;
use raft_store::types::NodeId;

use super::error::ApiError;
use super::handle::{Call, Handle, nothing_to_check};
use super::reply::Reply;
use super::route::deadline_of;
use crate::comparison::Checkpoint;
use crate::condition::Condition;
use crate::duties::membership;
use crate::node::Node;
use crate::sys::clock::now;
use crate::transport::{NodeStatus, Request, Response as NodeResponse};

/// How long another member may take to report its status.
pub const STATUS_DEADLINE: Duration = Duration::from_millis(300);
/// How long a backup may wait for a snapshot.
const BACKUP_DEADLINE: Duration = Duration::from_secs(30);

/// The leader, if a majority confirmed it recently (R5).
impl Handle for Leader {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<LeaderInfo>, ApiError> {
        let leader = call.node.confirmed_leader().ok_or(ApiError::NoQuorum)?;
        Ok(Reply::Answer(leader.into()))
    }
}

/// What the members report of themselves now; `null` for those that do not answer (R5).
impl Handle for Cluster {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<ClusterResponse>, ApiError> {
        let node = &call.node;
        let members = node.members();
        let voters = membership::voters(node);
        let condition = node.condition.get();
        // The others refuse a node that is not a member or whose identity changed. A refusal says nothing about them.
        let can_tell = !matches!(condition, Condition::Removed { .. } | Condition::OlderCopy { .. });
        let (leader, term) = match node.confirmed_leader() {
            Some(leader) if can_tell => (Some(leader.id), leader.term),
            _ => (None, node.term()),
        };
        let asked = join_all(members.iter().map(|(id, member)| status_of(node, *id, member))).await;
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
        // A removed node is not a member, even if the last membership that it saw includes it.
        let removed = matches!(condition, Condition::Removed { .. });
        let nodes: Vec<_> = members.iter().filter(|(id, _)| !removed || **id != node.config.id).map(entry).collect();
        let healthy =
            answers.iter().filter(|(id, status)| voters.contains(id) && status.condition.is_healthy()).count();
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
        Ok(Reply::Answer(answer))
    }
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

impl Handle for Digest {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<DigestResponse>, ApiError> {
        let image = call.node.state.read().digest_image();
        let applied_index = image.last_applied().map_or(0, |log_id| log_id.index);
        // Hashes everything written since the last request, so it must not run under the catalog lock.
        let taken = tokio::task::spawn_blocking(move || image.digest()).await;
        let digest = taken.map_err(|error| ApiError::Overloaded(error.to_string()))?;
        let of = |checkpoint: Checkpoint| CheckpointDigest { index: checkpoint.index, digest: checkpoint.digest };
        let checkpoints = call.node.divergence.checkpoints().into_iter().map(of).collect();
        Ok(Reply::Answer(DigestResponse { applied_index, digest, format: STATE_DIGEST_FORMAT, checkpoints }))
    }
}

/// A snapshot file of this node's current state; it contains its own checksum.
impl Handle for Backup {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<Body>, ApiError> {
        let node = &call.node;
        let until = deadline_of(&call.parts.headers)?.named().unwrap_or(now() + BACKUP_DEADLINE);
        if node.identities.cluster().is_none() {
            return Err(ApiError::NotInitialized);
        }
        let failed = |fatal: String| ApiError::StorageFailed(fatal);
        let wanted = node.applied();
        node.raft.trigger().snapshot().await.map_err(|fatal| failed(fatal.to_string()))?;
        while now() < until {
            let newest = node.raft.get_snapshot().await.map_err(|error| failed(error.to_string()))?;
            if let Some(snapshot) = newest
                && snapshot.meta.last_log_id.is_some_and(|log_id| log_id.index >= wanted)
            {
                let bytes = snapshot.snapshot.bytes().await.map_err(|error| failed(error.to_string()))?;
                return Ok(Reply::Answer(bytes.into()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(ApiError::Overloaded("no snapshot was ready in time".into()))
    }
}

impl Handle for Snapshot {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<Done>, ApiError> {
        let begun = call.node.raft.trigger().snapshot().await;
        begun.map_err(|fatal| ApiError::StorageFailed(fatal.to_string()))?;
        Ok(Reply::Answer(Done { ok: true }))
    }
}
