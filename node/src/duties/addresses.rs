//! Members that have moved: the leader changes their address in the membership (C4).
//!
//! Invariant: an address is changed only if that member's directory answers at the new one and not at the old one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use raft_store::raft::Member;
use raft_store::types::NodeId;
use tokio::time::sleep;

use crate::node::Node;
use crate::transport::who_within;

/// How often the leader looks for members that have moved.
const PAUSE: Duration = Duration::from_millis(500);
/// How long an address may take to answer.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);

/// Changes the addresses of members that have moved, whenever this node leads.
pub async fn run(node: Arc<Node>) {
    loop {
        sleep(PAUSE).await;
        if !node.leads() || !node.majority_confirmed() {
            continue;
        }
        for (id, member) in node.recorded_members() {
            let Some(now) = moved_to(&node, id, &member).await else { continue };
            let Ok(_turn) = node.changes.try_acquire() else { continue };
            let moved = Member { address: now.clone(), store_id: member.store_id };
            let change = ChangeMembers::SetNodes(BTreeMap::from([(id, moved)]));
            match node.raft.change_membership(change, true).await {
                Ok(_) => tracing::info!(node = id, from = member.address, to = now, "a member has moved"),
                Err(error) => tracing::debug!(node = id, %error, "could not change a member's address yet"),
            }
        }
    }
}

/// The address a member has moved to, if it has.
async fn moved_to(node: &Node, id: NodeId, member: &Member) -> Option<String> {
    let now = match id == node.config.id {
        true => node.address.clone(),
        false => {
            let told = node.identities.starts.read(|starts| {
                starts.store(member.store_id).filter(|known| known.start.is_some()).map(|known| known.address.clone())
            });
            told.filter(|address| !address.is_empty())?
        }
    };
    if now == member.address || answers(node, &member.address, member.store_id).await {
        return None;
    }
    answers(node, &now, member.store_id).await.then_some(now)
}

async fn answers(node: &Node, address: &str, store: u64) -> bool {
    who_within(&*node.net, address, PROBE_DEADLINE).await.is_ok_and(|identity| identity.side.store == store)
}
