//! How a cluster is founded, exactly once, and how a node joins one (C1, C3).
//!
//! ```text
//! found.rs   what `--bootstrap-expect` and `init` do: ask all listed nodes, have them adopt the cluster, begin it
//! join.rs    what `--join` does: ask a running cluster to add this node
//! admit.rs   the other side: adopting a cluster that asks, and taking a node into one
//! ```
//!
//! Invariant: nothing is founded unless every listed node answered and none of them belongs to a cluster that has
//! begun.

mod admit;
mod found;
mod join;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use raft_store::raft::Member;
use raft_store::types::NodeId;

pub use self::admit::{adopted, as_member};
pub use self::found::found;
use crate::config::{Bootstrap, MemberSpec};
use crate::node::Node;
use crate::transport::{Identity, who};

/// How long one listed node may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// Pause between two attempts to found or join a cluster.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

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

/// Carries out `--bootstrap-expect` or `--join`. A node that belongs to a cluster ignores both, but fails if the listed
/// members belong to another cluster. After an error this node must not go on.
pub async fn run(node: Arc<Node>) -> Result<(), BootstrapError> {
    let initialized = node.is_initialized().await.map_err(BootstrapError::Unreachable)?;
    match node.config.bootstrap.clone() {
        Bootstrap::Found { members } if initialized => check_same_cluster(&node, &members).await,
        Bootstrap::Found { members } => found::bootstrap(&node, &members).await,
        Bootstrap::Join { servers, learner } if !initialized => join::join(&node, &servers, learner).await,
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

/// The entry in the membership of a node that answered; fails unless it is the listed one and belongs to no cluster
/// yet.
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
