//! The other side of founding and joining: this node adopts a cluster that asks, or takes a node into its own.
//!
//! Invariant: a node with an empty directory adopts only a cluster that its own command line leads to, if that names
//! any node (N1).

use std::time::Duration;

use futures::future::join_all;
use raft_store::raft::Member;
use raft_store::types::NodeId;

use super::{ASK_DEADLINE, BootstrapError, RETRY_PAUSE, check};
use crate::config::MemberSpec;
use crate::node::Node;
use crate::sys::clock;
use crate::sys::net::Net;
use crate::transport::{Identity, Request, outsider_call, who, who_within};

/// How long a node may take to set its data directory aside and start anew.
const SET_ASIDE_DEADLINE: Duration = Duration::from_secs(4);

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
