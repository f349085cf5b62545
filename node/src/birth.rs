//! How a cluster is born, exactly once, and how a node joins one (C1, C3).
//!
//! Invariant: nothing is founded unless every listed node answered and none of them belongs to a cluster that has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use openraft::errors::{InitializeError, RaftError};
use raft_store::catalog::Op;
use raft_store::raft::Member;
use raft_store::types::{NodeId, limits};

use crate::config::{Birth, MemberSpec};
use crate::node::Node;
use crate::transport::{Identity, Request, Response, birth_call};

/// How long one listed node may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// Pause between two attempts to found or join.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long the founding node waits for the others (consul's and rqlite's bootstrap-expect take the same).
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);

/// Why no cluster was founded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BirthError {
    /// A listed node, or this one, belongs to a cluster that has begun.
    #[error("{0}")]
    AlreadyInitialized(String),
    /// A listed node did not answer, or is another one than listed.
    #[error("{0}")]
    Unreachable(String),
    /// The list is wrong.
    #[error("{0}")]
    BadList(String),
}

/// Founds a cluster of these members; this node must be among them.
pub async fn found(node: &Node, members: &[MemberSpec]) -> Result<(), BirthError> {
    if node.is_initialized().await.map_err(BirthError::Unreachable)? {
        return Err(BirthError::AlreadyInitialized("this node already belongs to a cluster".into()));
    }
    if !members.iter().any(|member| member.id == node.config.id) {
        return Err(BirthError::BadList(format!("the list does not name this node, {}", node.config.id)));
    }
    let identities = join_all(members.iter().map(|member| ask(node, member))).await;
    let mut founding = BTreeMap::new();
    for (member, identity) in members.iter().zip(identities) {
        founding.insert(member.id, check(member, identity?)?);
    }
    let cluster = rand::random::<u64>().max(1);
    for outcome in join_all(members.iter().map(|member| adopt(node, member, cluster))).await {
        outcome?;
    }
    match node.raft.initialize(founding).await {
        Ok(()) => {
            tracing::info!(cluster = format!("{cluster:016x}"), members = members.len(), "founded the cluster");
            Ok(())
        }
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
            Err(BirthError::AlreadyInitialized("this node already belongs to a cluster".into()))
        }
        Err(error) => Err(BirthError::Unreachable(error.to_string())),
    }
}

async fn ask(node: &Node, member: &MemberSpec) -> Result<Identity, BirthError> {
    if member.id == node.config.id {
        return node.identity().await.map_err(BirthError::Unreachable);
    }
    who(&member.address)
        .await
        .map_err(|reason| BirthError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))
}

/// Asks whoever listens at an address who it is.
pub async fn who(address: &str) -> Result<Identity, String> {
    match birth_call(address, &Request::Who, ASK_DEADLINE).await? {
        Response::Who(identity) => Ok(identity),
        other => Err(format!("unexpected answer {other:?}")),
    }
}

fn check(member: &MemberSpec, identity: Identity) -> Result<Member, BirthError> {
    if identity.side.node != member.id {
        return Err(BirthError::BadList(format!(
            "at {} listens node {}, not node {}",
            member.address, identity.side.node, member.id
        )));
    }
    if identity.initialized {
        return Err(BirthError::AlreadyInitialized(format!(
            "node {} at {} already belongs to cluster {:016x}",
            member.id,
            member.address,
            identity.cluster.unwrap_or(0)
        )));
    }
    Ok(Member { address: member.address.clone(), store_id: identity.side.store })
}

async fn adopt(node: &Node, member: &MemberSpec, cluster: u64) -> Result<(), BirthError> {
    let outcome = if member.id == node.config.id {
        node.adopt(cluster).await
    } else {
        birth_call(&member.address, &Request::Adopt { cluster }, ASK_DEADLINE).await.map(|_| ())
    };
    outcome.map_err(|reason| BirthError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))
}

/// Does what `--bootstrap-expect` or `--join` ask for, until it is done. A node that belongs to a cluster ignores both.
pub async fn run(node: Arc<Node>) {
    if node.is_initialized().await.unwrap_or(true) {
        return;
    }
    match node.config.birth.clone() {
        Birth::Wait => tracing::info!("belongs to no cluster yet; waiting for `raftshare-node init`"),
        Birth::Bootstrap { members } => bootstrap(&node, &members).await,
        Birth::Join { servers, learner } => join(&node, &servers, learner).await,
    }
}

/// The listed node with the lowest id founds; the others wait to be adopted. All run the same command.
async fn bootstrap(node: &Arc<Node>, members: &[MemberSpec]) {
    let founder = members.iter().map(|member| member.id).min();
    if founder != Some(node.config.id) {
        return;
    }
    let started = Instant::now();
    let mut last_told = None;
    loop {
        match found(node, members).await {
            Ok(()) => return set_replicas(node).await,
            Err(BirthError::Unreachable(reason)) if started.elapsed() < BOOTSTRAP_DEADLINE => {
                if last_told.is_none_or(|told: Instant| told.elapsed() > Duration::from_secs(3)) {
                    last_told = Some(Instant::now());
                    tracing::info!(%reason, "waiting for the other founding members");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, "the cluster was not founded; fix the cause and run raftshare-node init");
                return;
            }
        }
    }
}

/// The founder makes its own default number of copies the cluster's (M1).
async fn set_replicas(node: &Arc<Node>) {
    let replicas = node.config.replicas;
    if replicas == limits::REPLICAS_DEFAULT {
        return;
    }
    for _ in 0..100 {
        if node.proposer.propose_op(Op::SetReplicas { replicas }).await.is_ok() {
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    tracing::warn!(replicas, "could not set the default number of copies; it stays at the built-in one");
}

/// Asks the listed servers to add this node as a learner, and to promote it unless it stays one.
async fn join(node: &Arc<Node>, servers: &[String], learner: bool) {
    let body = serde_json::json!({"id": node.config.id, "address": node.address});
    let mut steps = vec!["/cluster/learners"];
    if !learner {
        steps.push("/cluster/promote");
    }
    for step in steps {
        'again: loop {
            for server in servers {
                let url = format!("{}{step}", server.trim_end_matches('/'));
                match node.http.post(&url).timeout(Duration::from_secs(30)).json(&body).send().await {
                    Ok(answer) if answer.status().is_success() => break 'again,
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        let reason = answer.text().await.unwrap_or_default();
                        tracing::warn!(%url, status, %reason, "not taken in yet");
                    }
                    Err(error) => tracing::warn!(%url, %error, "cannot reach the cluster"),
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tracing::info!(step, "done");
    }
}

/// Everything the leader needs to know to add a node (C3: it comes with its own store id).
pub async fn as_member(id: NodeId, address: &str, cluster: u64) -> Result<Member, BirthError> {
    let spec = MemberSpec { id, address: address.to_owned() };
    let unreachable = |reason| BirthError::Unreachable(format!("node {id} at {address}: {reason}"));
    let identity = who(address).await.map_err(unreachable)?;
    let known = identity.cluster == Some(cluster);
    let member = if known {
        if identity.side.node != id {
            return Err(BirthError::BadList(format!(
                "at {address} listens node {}, not node {id}",
                identity.side.node
            )));
        }
        Member { address: address.to_owned(), store_id: identity.side.store }
    } else {
        check(&spec, identity)?
    };
    birth_call(address, &Request::Adopt { cluster }, ASK_DEADLINE).await.map_err(unreachable)?;
    Ok(member)
}
