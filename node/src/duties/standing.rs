//! Whether somebody is a member: what this node answers others, and how it finds out about itself (C6, N1).
//!
//! Invariant: this node calls itself removed only if a leader that a majority has just confirmed says so, from a
//! committed membership. Any other answer is only a suspicion.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{sleep, timeout};

use crate::condition::Condition;
use crate::duties::starts::{set_condition, starting, taking_part};
use crate::identities::{Side, Told};
use crate::node::Node;
use crate::transport::{Request, Response, Roster, Standing, outsider_call};

/// How long one node may take to say whether somebody is a member.
const ASK_DEADLINE: Duration = Duration::from_millis(800);
/// How long a leader may take to be confirmed for that.
const CONFIRM_DEADLINE: Duration = Duration::from_millis(500);
/// Pause between two inquiries of a node about itself.
const PAUSE: Duration = Duration::from_millis(250);
/// The same for a node that was removed, which may be readmitted.
const REMOVED_PAUSE: Duration = Duration::from_secs(1);
/// Addresses asked in one inquiry at most.
const ADDRESSES_MAX: usize = 64;

/// The members as this node's log has them; none before the first entry.
pub fn recorded(node: &Node) -> Roster {
    Roster::of(&node.raft.metrics().borrow_watched().membership_config)
}

/// Whether `side` is a member, as far as this node knows.
pub async fn of(node: &Node, side: Side) -> Standing {
    let term = node.term();
    let leads = node.takes_part() && node.leads();
    // First, so that the membership read below is at least as new.
    let confirmed = leads && timeout(CONFIRM_DEADLINE, node.local_read_index()).await.is_ok_and(|read| read.is_ok());
    let metrics = node.raft.metrics().borrow_watched().clone();
    let membership = &metrics.membership_config;
    let as_of = *membership.log_id();
    let leader = node.leader().map(|leader| node.identities.address_of(&leader.member));
    let member = membership.membership().get_node(&side.node).is_some_and(|member| member.store_id == side.store);
    Standing {
        cluster: node.identities.cluster(),
        member,
        roster: member.then(|| Roster::of(membership)),
        as_of,
        confirmed: confirmed && metrics.current_term == term && as_of <= metrics.cluster_committed,
        leader,
    }
}

/// Asks every node that this one can find whether `side` is a member, until an answer satisfies `enough`.
pub async fn ask_around(node: &Node, side: Side, enough: impl Fn(&Standing) -> bool) -> Option<Standing> {
    let mut known: Vec<String> = Vec::new();
    let members = node.recorded_members();
    let others = members.iter().filter(|(id, _)| **id != node.config.id);
    let listed = others.flat_map(|(id, member)| node.identities.addresses_of(*id, member));
    let listed = listed.chain(node.config.bootstrap.addresses());
    let mut to_ask: Vec<String> = listed.chain(node.identities.callers()).collect();
    let mut asked = FuturesUnordered::new();
    loop {
        for address in to_ask.drain(..) {
            if address != node.address && !known.contains(&address) && known.len() < ADDRESSES_MAX {
                known.push(address.clone());
                asked.push(
                    async move { outsider_call(&*node.net, &address, &Request::IsMember(side), ASK_DEADLINE).await },
                );
            }
        }
        let answer = asked.next().await?;
        let Ok(Response::Standing(standing)) = answer else { continue };
        if standing.cluster.is_none() || standing.cluster != node.identities.cluster() {
            continue;
        }
        to_ask.extend(standing.leader.clone());
        if enough(&standing) {
            return Some(standing);
        }
    }
}

/// Acts on what others say about this node, until the process ends.
pub async fn run(node: Arc<Node>) {
    loop {
        match node.identities.told().await {
            Told::OlderCopy(reason) => become_older_copy(&node, reason),
            Told::NotMember => {
                inquire(&node).await;
                let removed = matches!(node.condition.get(), Condition::Removed { .. });
                sleep(if removed { REMOVED_PAUSE } else { PAUSE }).await;
            }
        }
    }
}

fn become_older_copy(node: &Node, reason: String) {
    if !matches!(node.condition.get(), Condition::OlderCopy { .. }) {
        let id = node.config.id;
        tracing::warn!(
            %reason,
            "this data directory is an older copy, and the node neither votes nor acknowledges with it; if the node runs elsewhere, \
             stop this process, else replace the node by itself: raftshare-node replace {id} {id} --addr {}",
            node.address
        );
        set_condition(node, Condition::OlderCopy { reason });
    }
}

/// Sets this node's older copy of its data directory aside, because the leader wants to readmit it. Whoever asks, it is
/// done only after a confirmed leader says that the directory is no member's any more.
pub async fn set_aside(node: &Node) -> Result<(), String> {
    if !matches!(node.condition.get(), Condition::OlderCopy { .. }) {
        return Err("the data directory of this node is not an older copy".into());
    }
    match ask_around(node, node.identities.side(), |standing| standing.confirmed).await {
        Some(standing) if !standing.member => {
            node.set_aside.notify_one();
            Ok(())
        }
        Some(_) => Err("the data directory is still a member's; remove the node first".into()),
        None => Err("no confirmed leader was found to ask".into()),
    }
}

/// Says that this node was removed, and what to do.
pub fn say_removed(as_of: u64) {
    tracing::warn!(
        as_of,
        "this node was removed from its cluster; stop it, or start a node with a new --id, an empty --data and --join"
    );
}

/// Finds out whether this node was removed, or readmitted.
async fn inquire(node: &Node) {
    if matches!(node.condition.get(), Condition::OlderCopy { .. }) {
        return;
    }
    let Some(standing) = ask_around(node, node.identities.side(), |standing| standing.confirmed).await else { return };
    let as_of = standing.as_of.map_or(0, |log_id| log_id.index);
    let removed = (!standing.member).then_some(as_of);
    if node.identities.starts.read(|starts| starts.removed) != removed
        && let Err(error) = node.identities.starts.update(|starts| starts.removed = removed).await
    {
        tracing::debug!(%error, "could not note whether this node was removed");
        return;
    }
    match removed {
        Some(as_of) if set_condition(node, Condition::Removed { as_of }) => say_removed(as_of),
        None if matches!(node.condition.get(), Condition::Removed { .. }) => {
            // Its start may have to be recorded first.
            let recorded = node.identities.starts.read(|starts| starts.confirmed);
            set_condition(node, if recorded { taking_part(node) } else { starting(node) });
            tracing::info!("this node is a member again");
        }
        Some(_) | None => {}
    }
}
