//! Founds a cluster: every listed node is asked, adopts the new cluster, and then the cluster begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::errors::{InitializeError, RaftError};
use raft_store::catalog::{Op, SetReplicas};
use raft_store::types::limits;
use tokio::time::{Instant, timeout_at};

use super::{ASK_DEADLINE, BootstrapError, RETRY_PAUSE, ask_others, check};
use crate::config::MemberSpec;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{Identity, Request, outsider_call, who};

/// How long one attempt to found a cluster may take.
const FOUND_DEADLINE: Duration = Duration::from_secs(5);
/// Pause of a node that waits to be readmitted.
const RETURN_PAUSE: Duration = Duration::from_millis(200);
/// How often the wait for others is logged.
const TELL_PAUSE: Duration = Duration::from_secs(3);
/// How long the founding node waits for the others; the same as bootstrap-expect in consul and rqlite.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);

/// Founds a cluster of these members, `until` at the latest; this node must be among them. Its default number of copies
/// becomes the cluster's as soon as there is a leader (M1).
pub async fn found(node: &Arc<Node>, members: &[MemberSpec], until: Instant) -> Result<(), BootstrapError> {
    if node.is_initialized().await.map_err(BootstrapError::Unreachable)? {
        return Err(BootstrapError::AlreadyInitialized("this node already belongs to a cluster".into()));
    }
    if !members.iter().any(|member| member.id == node.config.id) {
        return Err(BootstrapError::BadList(format!("the list does not name this node, {}", node.config.id)));
    }
    let too_late =
        |_| BootstrapError::Unreachable("the listed nodes did not all answer in time; nothing was founded".into());
    let asked = join_all(members.iter().map(|member| ask(node, member)));
    let identities = timeout_at(until, asked).await.map_err(too_late)?;
    let mut founding = BTreeMap::new();
    for (member, identity) in members.iter().zip(identities) {
        founding.insert(member.id, check(member, identity?)?);
    }
    let cluster = rand::random::<u64>().max(1);
    // A node may have adopted an earlier attempt's cluster, which was never founded; it then adopts this one.
    let adopted = join_all(members.iter().map(|member| adopt(node, member, cluster, members)));
    for outcome in timeout_at(until, adopted).await.map_err(too_late)? {
        outcome?;
    }
    match node.raft.initialize(founding).await {
        Ok(()) => {
            tracing::info!(cluster = format!("{cluster:016x}"), members = members.len(), "founded the cluster");
            tokio::spawn(set_replicas(node.clone()));
            Ok(())
        }
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
            Err(BootstrapError::AlreadyInitialized("this node already belongs to a cluster".into()))
        }
        Err(error) => Err(BootstrapError::Unreachable(error.to_string())),
    }
}

async fn ask(node: &Node, member: &MemberSpec) -> Result<Identity, BootstrapError> {
    let own = match node.config.id == member.id {
        true => Some(node.identity().await.map_err(BootstrapError::Unreachable)?),
        false => None,
    };
    if let Some(own) = own.as_ref().filter(|_| member.address == node.address) {
        return Ok(own.clone());
    }
    let there = who(&*node.net, &member.address)
        .await
        .map_err(|reason| BootstrapError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))?;
    // The address goes to all others, so it must reach this node.
    match own {
        Some(own) if own.side.store != there.side.store => {
            Err(BootstrapError::BadList(format!("at {} listens another node than this one", member.address)))
        }
        _ => Ok(there),
    }
}

async fn adopt(node: &Node, member: &MemberSpec, cluster: u64, founders: &[MemberSpec]) -> Result<(), BootstrapError> {
    let outcome = if member.id == node.config.id {
        node.adopt(cluster).await
    } else {
        let request = Request::Adopt { cluster, founders: founders.to_vec() };
        outsider_call(&*node.net, &member.address, &request, ASK_DEADLINE).await.map(|_| ())
    };
    outcome.map_err(|reason| BootstrapError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))
}

/// Of the listed nodes, which all run the same command, the one with the lowest id founds the cluster. The others wait
/// until it has them adopt it.
pub(super) async fn bootstrap(node: &Arc<Node>, members: &[MemberSpec]) -> Result<(), BootstrapError> {
    let founder = members.iter().map(|member| member.id).min() == Some(node.config.id);
    let started = clock::now();
    let mut last_told = started;
    let mut returning = false;
    loop {
        if await_return(node, members).await? {
            // Nothing is to be founded: this directory's cluster exists, and runs without this node.
            tokio::time::sleep(RETURN_PAUSE).await;
            returning = true;
            continue;
        }
        if returning {
            // It was readmitted.
            return Ok(());
        }
        let until = clock::now() + FOUND_DEADLINE;
        let outcome = if founder { found(node, members, until).await } else { await_adoption(node, members).await };
        match outcome {
            Ok(()) => return Ok(()),
            Err(BootstrapError::Unreachable(reason)) if started.elapsed() < BOOTSTRAP_DEADLINE => {
                if last_told.elapsed() > TELL_PAUSE {
                    last_told = clock::now();
                    tracing::info!(%reason, "waiting for the other founding members");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether this empty directory belongs to a cluster that has begun. Then it replaces one that was set aside, and the
/// node waits to be readmitted (C3).
async fn await_return(node: &Node, members: &[MemberSpec]) -> Result<bool, BootstrapError> {
    let Some(own) = node.identities.cluster() else { return Ok(false) };
    if node.is_initialized().await.map_err(BootstrapError::Unreachable)? {
        return Ok(false);
    }
    let others = ask_others(node, members).await;
    Ok(others.iter().any(|(_, identity)| identity.initialized && identity.cluster == Some(own)))
}

/// Checks whether the founder has founded the cluster with this node; `Unreachable` means not yet.
async fn await_adoption(node: &Node, members: &[MemberSpec]) -> Result<(), BootstrapError> {
    if let Some(reason) = node.founding_refused.lock().clone() {
        return Err(BootstrapError::BadList(reason));
    }
    let others = ask_others(node, members).await;
    // Read after the others have answered: every member has adopted a cluster before it begins.
    let own = node.identities.cluster();
    if own.is_some() && node.is_initialized().await.map_err(BootstrapError::Unreachable)? {
        return Ok(());
    }
    match others.iter().find(|(_, identity)| identity.initialized && identity.cluster != own) {
        Some((id, identity)) => Err(BootstrapError::AlreadyInitialized(format!(
            "node {id} already belongs to cluster {:016x}, and this data directory is empty; a node that lost its disk \
             must not vote again: remove it from the cluster and start it with --join under a new --id",
            identity.cluster.unwrap_or(0)
        ))),
        None => Err(BootstrapError::Unreachable("the cluster has not begun yet".into())),
    }
}

/// The founder proposes its own default number of copies as the cluster's (M1).
async fn set_replicas(node: Arc<Node>) {
    let replicas = node.config.replicas;
    if replicas == limits::REPLICAS_DEFAULT {
        return;
    }
    for _ in 0..100 {
        if node.proposer.propose_op(Op::SetReplicas(SetReplicas { replicas })).await.is_ok() {
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    tracing::warn!(replicas, "could not set the default number of copies; it stays at the built-in one");
}
