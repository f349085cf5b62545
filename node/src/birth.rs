//! How a cluster is founded, exactly once, and how a node joins one (C1, C3).
//!
//! Invariant: nothing is founded unless every listed node answered and none of them belongs to
//! a cluster that has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request as HttpRequest;
use axum::http::header::CONTENT_TYPE;
use futures::future::join_all;
use openraft::errors::{InitializeError, RaftError};
use raft_store::catalog::{Op, SetReplicas};
use raft_store::raft::Member;
use raft_store::types::{NodeId, limits};
use tokio::time::{Instant, timeout_at};

use crate::config::{Birth, MemberSpec};
use crate::net::Net;
use crate::node::Node;
use crate::transport::{Identity, Request, Response, birth_call};

/// How long one listed node may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// How long one attempt to found may take.
const FOUND_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two attempts to found or join.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause of a node that waits to be taken in again.
const RETURN_PAUSE: Duration = Duration::from_millis(200);
/// How often the wait for others is logged.
const TELL_PAUSE: Duration = Duration::from_secs(3);
/// How long the founding node waits for the others (consul's and rqlite's bootstrap-expect take the same).
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);

/// How long a node may take to set its data directory aside and start anew.
const SET_ASIDE_DEADLINE: Duration = Duration::from_secs(4);
/// How often the cluster may refuse a joining node with the same words before it gives up: a
/// change under way ends by itself.
const REFUSALS_MAX: u32 = 3;
/// How long one attempt to join may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long the leader may wait for this node to catch up before it promotes it.
const CATCH_UP_WAIT: Duration = Duration::from_secs(20);

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

/// Founds a cluster of these members, `until` at the latest; this node must be among them.
pub async fn found(node: &Node, members: &[MemberSpec], until: Instant) -> Result<(), BirthError> {
    if node.is_initialized().await.map_err(BirthError::Unreachable)? {
        return Err(BirthError::AlreadyInitialized("this node already belongs to a cluster".into()));
    }
    if !members.iter().any(|member| member.id == node.config.id) {
        return Err(BirthError::BadList(format!("the list does not name this node, {}", node.config.id)));
    }
    let too_late =
        |_| BirthError::Unreachable("the listed nodes did not all answer in time; nothing was founded".into());
    let asked = join_all(members.iter().map(|member| ask(node, member)));
    let identities = timeout_at(until, asked).await.map_err(too_late)?;
    let mut founding = BTreeMap::new();
    for (member, identity) in members.iter().zip(identities) {
        founding.insert(member.id, check(member, identity?)?);
    }
    let cluster = rand::random::<u64>().max(1);
    // A node that was bound to a cluster that was not founded is bound to the next one.
    let adopted = join_all(members.iter().map(|member| adopt(node, member, cluster, members)));
    for outcome in timeout_at(until, adopted).await.map_err(too_late)? {
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
    let own = match node.config.id == member.id {
        true => Some(node.identity().await.map_err(BirthError::Unreachable)?),
        false => None,
    };
    if let Some(own) = own.as_ref().filter(|_| member.address == node.address) {
        return Ok(own.clone());
    }
    let there = who(&*node.net, &member.address)
        .await
        .map_err(|reason| BirthError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))?;
    // An address that is not this node's own would be told to all others.
    match own {
        Some(own) if own.side.store != there.side.store => {
            Err(BirthError::BadList(format!("at {} listens another node than this one", member.address)))
        }
        _ => Ok(there),
    }
}

/// Asks whoever listens at an address who it is.
pub async fn who(net: &dyn Net, address: &str) -> Result<Identity, String> {
    who_within(net, address, ASK_DEADLINE).await
}

/// The same, with a deadline of the caller's.
pub async fn who_within(net: &dyn Net, address: &str, deadline: Duration) -> Result<Identity, String> {
    match birth_call(net, address, &Request::Who, deadline).await? {
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
            "node {} at {} already belongs to cluster {:016x}; to add this node to it, start it with --join and an id of its own",
            member.id,
            member.address,
            identity.cluster.unwrap_or(0)
        )));
    }
    Ok(Member { address: member.address.clone(), store_id: identity.side.store })
}

async fn adopt(node: &Node, member: &MemberSpec, cluster: u64, founders: &[MemberSpec]) -> Result<(), BirthError> {
    let outcome = if member.id == node.config.id {
        node.adopt(cluster).await
    } else {
        let request = Request::Adopt { cluster, founders: founders.to_vec() };
        birth_call(&*node.net, &member.address, &request, ASK_DEADLINE).await.map(|_| ())
    };
    outcome.map_err(|reason| BirthError::Unreachable(format!("node {} at {}: {reason}", member.id, member.address)))
}

/// Does what `--bootstrap-expect` or `--join` ask for, until it is done. A node that belongs to a cluster ignores both,
/// but says so if the listed members belong to another one. An error means that this node must not go on.
pub async fn run(node: Arc<Node>) -> Result<(), BirthError> {
    let initialized = node.is_initialized().await.map_err(BirthError::Unreachable)?;
    match node.config.birth.clone() {
        Birth::Bootstrap { members } if initialized => check_same_cluster(&node, &members).await,
        Birth::Bootstrap { members } => bootstrap(&node, &members).await,
        Birth::Join { servers, learner } if !initialized => join(&node, &servers, learner).await,
        Birth::Wait if !initialized => {
            tracing::info!("belongs to no cluster yet; waiting for `raftshare-node init`");
            Ok(())
        }
        Birth::Wait | Birth::Join { .. } => Ok(()),
    }
}

/// Who the other listed members say they are; silent ones are left out.
async fn ask_others(node: &Node, members: &[MemberSpec]) -> Vec<(NodeId, Identity)> {
    let others = members.iter().filter(|member| member.id != node.config.id);
    let asked = others.map(|member| async move { Some((member.id, who(&*node.net, &member.address).await.ok()?)) });
    join_all(asked).await.into_iter().flatten().collect()
}

/// A data directory of another cluster would only be refused by every member, in silence for whoever started it.
async fn check_same_cluster(node: &Node, members: &[MemberSpec]) -> Result<(), BirthError> {
    let own = node.identities.cluster();
    let others = ask_others(node, members).await;
    // Where a member has moved away from, somebody else may listen now (C4).
    if others.iter().any(|(_, identity)| identity.cluster == own) {
        return Ok(());
    }
    for (id, identity) in others {
        if identity.initialized && identity.cluster != own {
            return Err(BirthError::AlreadyInitialized(format!(
                "the data directory {} belongs to cluster {:016x}, but node {id} of --members belongs to {:016x}; \
                 start with the right --data or the right --members",
                node.config.data.display(),
                own.unwrap_or(0),
                identity.cluster.unwrap_or(0),
            )));
        }
    }
    Ok(())
}

/// The listed node with the lowest id founds; the others wait to be adopted. All run the same command.
async fn bootstrap(node: &Arc<Node>, members: &[MemberSpec]) -> Result<(), BirthError> {
    let founder = members.iter().map(|member| member.id).min() == Some(node.config.id);
    let started = Instant::now();
    let mut last_told = started;
    let mut returning = false;
    loop {
        if await_return(node, members).await? {
            // Nothing is to be founded: the cluster of this directory goes on without it.
            tokio::time::sleep(RETURN_PAUSE).await;
            returning = true;
            continue;
        }
        if returning {
            // It was taken in.
            return Ok(());
        }
        let until = Instant::now() + FOUND_DEADLINE;
        let outcome = if founder { found(node, members, until).await } else { await_adoption(node, members).await };
        match outcome {
            Ok(()) if founder => {
                set_replicas(node).await;
                return Ok(());
            }
            Ok(()) => return Ok(()),
            Err(BirthError::Unreachable(reason)) if started.elapsed() < BOOTSTRAP_DEADLINE => {
                if last_told.elapsed() > TELL_PAUSE {
                    last_told = Instant::now();
                    tracing::info!(%reason, "waiting for the other founding members");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether this directory, empty, belongs to a cluster that has begun: one that was set aside was here before, and the
/// node waits to be taken in again (C3).
async fn await_return(node: &Node, members: &[MemberSpec]) -> Result<bool, BirthError> {
    let Some(own) = node.identities.cluster() else { return Ok(false) };
    if node.is_initialized().await.map_err(BirthError::Unreachable)? {
        return Ok(false);
    }
    let others = ask_others(node, members).await;
    Ok(others.iter().any(|(_, identity)| identity.initialized && identity.cluster == Some(own)))
}

/// Waits until the founder took this node in.
async fn await_adoption(node: &Node, members: &[MemberSpec]) -> Result<(), BirthError> {
    if let Some(reason) = node.founding_refused.lock().clone() {
        return Err(BirthError::BadList(reason));
    }
    let others = ask_others(node, members).await;
    // Looked at after the others answered: a founder adopts every member before its cluster begins.
    let own = node.identities.cluster();
    if own.is_some() && node.is_initialized().await.map_err(BirthError::Unreachable)? {
        return Ok(());
    }
    match others.iter().find(|(_, identity)| identity.initialized && identity.cluster != own) {
        Some((id, identity)) => Err(BirthError::AlreadyInitialized(format!(
            "node {id} already belongs to cluster {:016x}, and this data directory is empty; a node that lost its disk \
             must not vote again: remove it from the cluster and start it with --join under a new --id",
            identity.cluster.unwrap_or(0)
        ))),
        None => Err(BirthError::Unreachable("the cluster has not begun yet".into())),
    }
}

/// The founder makes its own default number of copies the cluster's (M1).
async fn set_replicas(node: &Arc<Node>) {
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

/// Where a node is added.
const LEARNERS: &str = "/cluster/learners";

/// Asks the listed servers to add this node as a learner, and to promote it unless it stays one.
async fn join(node: &Arc<Node>, servers: &[String], learner: bool) -> Result<(), BirthError> {
    let wait_ms = crate::clock::millis(CATCH_UP_WAIT);
    let body = serde_json::json!({"id": node.config.id, "address": node.address, "waitMs": wait_ms}).to_string();
    let mut refusals = Refusals::default();
    let mut steps = vec![LEARNERS];
    if !learner {
        steps.push("/cluster/promote");
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
                        tracing::warn!(%url, status, %reason, "not taken in yet");
                        if status == 409 && step == LEARNERS {
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
    /// An error once the same was said often enough to be definite.
    fn note(&mut self, answer: &str) -> Result<(), BirthError> {
        let problem: Option<client::api::Problem> = serde_json::from_str(answer).ok();
        let reason = problem.map_or_else(|| answer.to_owned(), |problem| problem.detail);
        self.count = if reason == self.reason { self.count + 1 } else { 1 };
        self.reason = reason;
        match self.count < REFUSALS_MAX {
            true => Ok(()),
            false => Err(BirthError::BadList(format!("the cluster does not take this node in: {}", self.reason))),
        }
    }
}

/// Has a node set its older copy of a data directory aside, and waits until it is there again with an empty one (C3).
async fn set_aside(net: &dyn Net, address: &str, store: u64) -> Result<Identity, String> {
    birth_call(net, address, &Request::SetAside, ASK_DEADLINE).await?;
    let until = Instant::now() + SET_ASIDE_DEADLINE;
    loop {
        match who_within(net, address, RETRY_PAUSE * 4).await {
            Ok(identity) if identity.side.store != store => return Ok(identity),
            Ok(_) | Err(_) if Instant::now() < until => tokio::time::sleep(RETRY_PAUSE).await,
            _ => return Err("it did not come back with an empty data directory in time; try again".into()),
        }
    }
}

/// Another node asks this one to belong to a cluster. An empty directory takes the first that asks, but with
/// `--members` or `--join` only the one that these lead to (N1).
pub async fn adopted(node: &Node, cluster: u64, founders: &[MemberSpec]) -> Result<(), String> {
    if node.identities.cluster() == Some(cluster) || node.is_initialized().await? {
        return node.adopt(cluster).await;
    }
    let own = node.config.birth.members();
    if !founders.is_empty() && !own.is_empty() {
        if !same_members(own, founders) {
            let reason = format!(
                "node {} was started with --members {}, and the founding node with {}; start all of them with the same list",
                node.config.id,
                list(own),
                list(founders)
            );
            tracing::warn!(%reason, "refused to be founded");
            *node.founding_refused.lock() = Some(reason.clone());
            return Err(reason);
        }
        return node.adopt(cluster).await;
    }
    let led_to = node.config.birth.addresses();
    if !led_to.is_empty() {
        let asked = led_to.iter().filter(|address| **address != node.address);
        let asked = join_all(asked.map(|address| who(&*node.net, address))).await;
        if !asked.iter().flatten().any(|identity| identity.cluster == Some(cluster)) {
            return Err(format!(
                "this node was started with --members or --join, and none of the nodes there belongs to cluster {cluster:016x}"
            ));
        }
    }
    node.adopt(cluster).await
}

fn same_members(one: &[MemberSpec], other: &[MemberSpec]) -> bool {
    let sorted = |members: &[MemberSpec]| {
        let mut members: Vec<_> = members.iter().map(|member| (member.id, member.address.clone())).collect();
        members.sort();
        members
    };
    sorted(one) == sorted(other)
}

fn list(members: &[MemberSpec]) -> String {
    let members: Vec<_> = members.iter().map(|member| format!("{}={}", member.id, member.address)).collect();
    members.join(",")
}

/// Everything the leader needs to know to add a node (C3: it comes with its own store id).
pub async fn as_member(net: &dyn Net, id: NodeId, address: &str, cluster: u64) -> Result<Member, BirthError> {
    let spec = MemberSpec { id, address: address.to_owned() };
    let unreachable = |reason| BirthError::Unreachable(format!("node {id} at {address}: {reason}"));
    let mut identity = who(net, address).await.map_err(unreachable)?;
    if identity.older_copy && identity.cluster == Some(cluster) {
        identity = set_aside(net, address, identity.side.store).await.map_err(unreachable)?;
    }
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
    let request = Request::Adopt { cluster, founders: Vec::new() };
    birth_call(net, address, &request, ASK_DEADLINE).await.map_err(unreachable)?;
    Ok(member)
}
