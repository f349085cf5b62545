//! What this node answers another node.
//!
//! Invariant: a node that takes no part answers nothing that counts in an election or for a commit (C3, C6).

use std::sync::Arc;

use bytes::Bytes;
use raft_store::types::NodeId;

use crate::duties::bootstrap;
use crate::duties::divergence;
use crate::duties::failover;
use crate::duties::standing;
use crate::duties::starts;
use crate::node::Node;
use crate::sys::clock::millis_up;
use crate::transport::{Beacon, PeerRequests, Request, Response, SnapshotHead, check_snapshot};

/// Installs a snapshot from the leader, whose bytes have all arrived.
pub(super) async fn install(node: &Node, sender: NodeId, head: SnapshotHead, bytes: Vec<u8>) -> Response {
    if !node.takes_part() {
        return takes_no_part(node);
    }
    // Damage in transit, or an unknown format, must not count as a failure of this node's own storage.
    let (found, snapshot) = match node.snapshot_receiver.receive(Bytes::from(bytes)).await {
        Ok(received) => received,
        Err(error) => return Response::Failed(format!("the snapshot cannot be used: {error}")),
    };
    // Checked again: time has passed since its head was checked, and now its content is known as well.
    if let Err(refusal) = check_snapshot(&node.raft, sender, &head, &found) {
        tracing::warn!(%refusal, sender, "refused a snapshot");
        return Response::Failed(refusal);
    }
    let snapshot = openraft::storage::Snapshot { meta: head.meta, snapshot };
    match node.raft.install_full_snapshot(head.vote, snapshot).await {
        Ok(response) => Response::Snapshot(response),
        Err(error) => Response::Failed(error.to_string()),
    }
}

/// Answers one request.
pub(super) async fn answer(node: &Arc<Node>, allowed: PeerRequests, request: Request) -> Response {
    fn or_failed<T, E: std::fmt::Display>(outcome: Result<T, E>, wrap: impl FnOnce(T) -> Response) -> Response {
        outcome.map_or_else(|error| Response::Failed(error.to_string()), wrap)
    }
    match (request, allowed) {
        (Request::Who, _) => or_failed(node.identity().await, Response::Who),
        (Request::Adopt { cluster, founders }, _) => {
            or_failed(bootstrap::adopted(node, cluster, &founders).await, |()| Response::Adopted)
        }
        (Request::SetAside, _) => or_failed(standing::set_aside(node).await, |()| Response::SettingAside),
        (Request::IsMember(side), _) => Response::Standing(standing::of(node, side).await),
        (_, PeerRequests::Outsider) => Response::Failed("only a member may ask that".into()),
        (Request::Start(notice), PeerRequests::Member(from)) if notice.side == from => {
            or_failed(starts::record(node, &notice).await, Response::Start)
        }
        (Request::Start(_), _) => Response::Failed("a start is announced by its own node".into()),
        (
            Request::Append(_)
            | Request::Vote(_)
            | Request::PreVote(_)
            | Request::Transfer(_)
            | Request::LeaderGone { .. }
            | Request::ReadIndex,
            _,
        ) if !node.takes_part() => takes_no_part(node),
        (Request::Append(rpc), _) => or_failed(node.raft.append_entries(rpc).await, Response::Append),
        (Request::Vote(rpc), _) => or_failed(node.raft.vote(rpc).await, Response::Vote),
        (Request::PreVote(rpc), _) => or_failed(node.raft.pre_vote(rpc).await, Response::Vote),
        (Request::Transfer(_), _) if divergence::is_diverged(node) => {
            Response::Failed("the state of this node differs from the majority's, so it does not lead".into())
        }
        (Request::Transfer(rpc), _) => or_failed(node.raft.handle_transfer_leader(rpc).await, Response::Transfer),
        (Request::LeaderGone { leader, term }, _) => {
            Response::LeaderGone(failover::found_gone(node, leader, term).await)
        }
        (Request::Status, _) => Response::Status(node.status()),
        (Request::Beacon, _) => match beacon(node) {
            Some(beacon) => Response::Beacon(beacon),
            None => Response::Failed("this node does not lead".into()),
        },
        (Request::Digest { index }, _) => Response::Digest(divergence::digest_at(node, index)),
        (Request::Verdict(verdict), _) => {
            divergence::judged(node, verdict);
            Response::Noted
        }
        (Request::Compare, _) => {
            node.divergence.want();
            Response::Noted
        }
        (Request::State { wanted, at, offset }, _) => {
            or_failed(divergence::state_part(node, wanted, at, offset), Response::State)
        }
        (Request::ReadIndex, _) => or_failed(node.local_read_index().await, Response::ReadIndex),
        (Request::Snapshot(_), PeerRequests::Member(_)) => Response::Failed("a snapshot is not answered here".into()),
    }
}

fn takes_no_part(node: &Node) -> Response {
    Response::Failed(format!("node {} takes no part: {}", node.config.id, node.condition.get().name()))
}

fn beacon(node: &Node) -> Option<Beacon> {
    let (term, committed, quorum_age) = node.leader_confirmation()?;
    let log_time = node.clock.anchor()?.now();
    Some(Beacon { term, committed, quorum_age_ms: millis_up(quorum_age), log_time })
}
