//! How a cluster is founded, exactly once, and how a node joins one (C1, C3).
//!
//! Invariant: nothing is founded unless every listed node answered and none of them belongs to a cluster that has
//! begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hyper::Request as HttpRequest;
use hyper::header::CONTENT_TYPE;
use openraft::errors::{InitializeError, RaftError};
use raft_store::catalog::Op;
use raft_store::raft::Member;
use raft_store::types::{NodeId, limits};
use tokio::time::{Instant, timeout_at};

use crate::config::{Bootstrap, MemberSpec};
use crate::node::Node;
use crate::sys::clock;
use crate::sys::net::Net;
use crate::transport::{Identity, Request, outsider_call, who, who_within};

/// How long one listed node may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// How long one attempt to found a cluster may take.
const FOUND_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two attempts to found or join a cluster.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause of a node that waits to be readmitted.
const RETURN_PAUSE: Duration = Duration::from_millis(200);
/// How often the wait for others is logged.
const TELL_PAUSE: Duration = Duration::from_secs(3);
/// How long the founding node waits for the others; the same as bootstrap-expect in consul and rqlite.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);

/// How long a node may take to set its data directory aside and start anew.
const SET_ASIDE_DEADLINE: Duration = Duration::from_secs(4);
/// How often the cluster may give a joining node the same refusal before the node gives up. Not once: a change of
/// members that is in progress ends by itself.
const REFUSALS_MAX: u32 = 3;
/// How long one attempt to join may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long the leader may wait for this node to catch up before it promotes it.
const CATCH_UP_WAIT: Duration = Duration::from_secs(20);

/// Why no cluster was founded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BootstrapError {
    /// A listed node, or this one, belongs to a cluster that has begun.
    #[error("{0}")]
    AlreadyInitialized(String),
    /// A listed node did not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The list is wrong.
    #[error("{0}")]
    BadList(String),
}

/// Founds a cluster of these members, `until` at the latest; this node must be among them.
pub async fn found(node: &Node, members: &[MemberSpec], until: Instant) -> Result<(), BootstrapError> {
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

fn check(member: &MemberSpec, identity: Identity) -> Result<Member, BootstrapError> {
    if identity.side.node != member.id {
        return Err(BootstrapError::BadList(format!(
            "at {} listens node {}, not node {}",
            member.address, identity.side.node, member.id
        )));
    }
    if identity.initialized {
        return Err(BootstrapError::AlreadyInitialized(format!(
            "node {} at {} already belongs to cluster {:016x}; to add this node to it, start it with --join and an id of its own",
            member.id,
            member.address,
            identity.cluster.unwrap_or(0)
        )));
    }
    Ok(Member { address: member.address.clone(), store_id: identity.side.store })
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

/// Carries out `--bootstrap-expect` or `--join`. A node that belongs to a cluster ignores both, but fails if the listed
/// members belong to another cluster. After an error this node must not go on.
pub async fn run(node: Arc<Node>) -> Result<(), BootstrapError> {
    let initialized = node.is_initialized().await.map_err(BootstrapError::Unreachable)?;
    match node.config.bootstrap.clone() {
        Bootstrap::Found { members } if initialized => check_same_cluster(&node, &members).await,
        Bootstrap::Found { members } => bootstrap(&node, &members).await,
        Bootstrap::Join { servers, learner } if !initialized => join(&node, &servers, learner).await,
        Bootstrap::Wait if !initialized => {
            tracing::info!("belongs to no cluster yet; waiting for `raftshare-node init`");
            Ok(())
        }
        Bootstrap::Wait | Bootstrap::Join { .. } => Ok(()),
    }
}

/// The identities of the other listed members that answer.
async fn ask_others(node: &Node, members: &[MemberSpec]) -> Vec<(NodeId, Identity)> {
    let others = members.iter().filter(|member| member.id != node.config.id);
    let asked = others.map(|member| async move { Some((member.id, who(&*node.net, &member.address).await.ok()?)) });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Fails if the listed members belong to another cluster than this directory. Every member would refuse this node, and
/// whoever started it would not learn why.
async fn check_same_cluster(node: &Node, members: &[MemberSpec]) -> Result<(), BootstrapError> {
    let own = node.identities.cluster();
    let others = ask_others(node, members).await;
    // Somebody else may listen now at an address that a member has left (C4).
    if others.iter().any(|(_, identity)| identity.cluster == own) {
        return Ok(());
    }
    for (id, identity) in others {
        if identity.initialized && identity.cluster != own {
            return Err(BootstrapError::AlreadyInitialized(format!(
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

/// Of the listed nodes, which all run the same command, the one with the lowest id founds the cluster. The others wait
/// until it has them adopt it.
async fn bootstrap(node: &Arc<Node>, members: &[MemberSpec]) -> Result<(), BootstrapError> {
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
            Ok(()) if founder => {
                set_replicas(node).await;
                return Ok(());
            }
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

/// The path that adds a node.
const LEARNERS: &str = "/cluster/learners";

/// Asks the listed servers to add this node as a learner, and to promote it unless it is to stay one.
async fn join(node: &Arc<Node>, servers: &[String], learner: bool) -> Result<(), BootstrapError> {
    let wait_ms = clock::millis(CATCH_UP_WAIT);
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
                        tracing::warn!(%url, status, %reason, "not admitted yet");
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
    /// Fails once the same refusal has come often enough to be final.
    fn note(&mut self, answer: &str) -> Result<(), BootstrapError> {
        let problem: Option<client::api::Problem> = serde_json::from_str(answer).ok();
        let reason = problem.map_or_else(|| answer.to_owned(), |problem| problem.detail);
        self.count = if reason == self.reason { self.count + 1 } else { 1 };
        self.reason = reason;
        match self.count < REFUSALS_MAX {
            true => Ok(()),
            false => Err(BootstrapError::BadList(format!("the cluster does not take this node in: {}", self.reason))),
        }
    }
}

/// Asks a node to set its older copy of a data directory aside, and waits until it is back with an empty one (C3).
async fn set_aside(net: &dyn Net, address: &str, store: u64) -> Result<Identity, String> {
    outsider_call(net, address, &Request::SetAside, ASK_DEADLINE).await?;
    let until = clock::now() + SET_ASIDE_DEADLINE;
    loop {
        match who_within(net, address, RETRY_PAUSE * 4).await {
            Ok(identity) if identity.side.store != store => return Ok(identity),
            Ok(_) | Err(_) if clock::now() < until => tokio::time::sleep(RETRY_PAUSE).await,
            _ => return Err("it did not come back with an empty data directory in time; try again".into()),
        }
    }
}

/// Another node asks this one to adopt a cluster. An empty directory accepts the first cluster that asks; with
/// `--members` or `--join`, only the one that these lead to (N1).
pub async fn adopted(node: &Node, cluster: u64, founders: &[MemberSpec]) -> Result<(), String> {
    if node.identities.cluster() == Some(cluster) || node.is_initialized().await? {
        return node.adopt(cluster).await;
    }
    let own = node.config.bootstrap.members();
    if !founders.is_empty() && !own.is_empty() {
        if !same_members(own, founders) {
            let reason = format!(
                "node {} was started with --members {}, and the founding node with {}; start all of them with the same list",
                node.config.id,
                list(own),
                list(founders)
            );
            tracing::warn!(%reason, "refused to take part in founding a cluster");
            *node.founding_refused.lock() = Some(reason.clone());
            return Err(reason);
        }
        return node.adopt(cluster).await;
    }
    let led_to = node.config.bootstrap.addresses();
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

/// The entry in the membership of a node to be added, which brings its own store id (C3). Has the node adopt the
/// cluster.
pub async fn as_member(net: &dyn Net, id: NodeId, address: &str, cluster: u64) -> Result<Member, BootstrapError> {
    let spec = MemberSpec { id, address: address.to_owned() };
    let unreachable = |reason| BootstrapError::Unreachable(format!("node {id} at {address}: {reason}"));
    let mut identity = who(net, address).await.map_err(unreachable)?;
    if identity.older_copy && identity.cluster == Some(cluster) {
        identity = set_aside(net, address, identity.side.store).await.map_err(unreachable)?;
    }
    let known = identity.cluster == Some(cluster);
    let member = if known {
        if identity.side.node != id {
            return Err(BootstrapError::BadList(format!(
                "at {address} listens node {}, not node {id}",
                identity.side.node
            )));
        }
        Member { address: address.to_owned(), store_id: identity.side.store }
    } else {
        check(&spec, identity)?
    };
    let request = Request::Adopt { cluster, founders: Vec::new() };
    outsider_call(net, address, &request, ASK_DEADLINE).await.map_err(unreachable)?;
    Ok(member)
}
