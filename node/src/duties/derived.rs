//! What every node derives from applied entries: the planner's view, the name index and the event stream. Also keeps
//! track of how fresh the state is.
//!
//! Invariant: each event is passed on once, in log order. A consumer that missed some is rebuilt from the catalog.

use std::sync::Arc;
use std::time::Duration;

use raft_store::storage::{Feed, FeedItem};

use super::observer::Observer;
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{Request, Response};

/// How often a follower asks its leader how fresh its state is.
const BEACON_INTERVAL: Duration = Duration::from_millis(100);

/// Hands every applied entry's events to the planner, the name index and the event stream, in log order. The event
/// stream comes last, so what it has seen all have seen.
pub async fn follow_events(node: Arc<Node>, observer: Arc<Observer>) {
    let mut feed = begin(&node);
    loop {
        match feed.next().await {
            FeedItem::Applied(entry) => {
                if !entry.events.is_empty() {
                    if node.leadership.term().is_some() {
                        node.leadership.observe(&node.catalog(), &entry.events);
                    }
                    observer.observe(&entry.events);
                }
                node.names.follow(entry.log_index, &entry.events);
                node.events.push(entry.log_index, &entry.events);
            }
            FeedItem::Replaced { upto } => {
                let upto = upto.map_or(0, |log_id| log_id.index);
                tracing::info!(upto, "took over a snapshot; rebuilding derived state");
                node.leadership.rebuild(&node.catalog(), &node.config);
                restart(&node, upto);
            }
            FeedItem::Lagged { missed } => {
                // Derived state is rebuilt from the catalog, and the event stream tells its readers of the gap.
                tracing::warn!(missed, "fell behind the applied entries; rebuilding derived state");
                feed = begin(&node);
            }
            FeedItem::Closed => return,
        }
    }
}

/// Subscribes to the state, and begins to rebuild from it what is derived.
fn begin(node: &Node) -> Feed {
    let (upto, feed) = node.state.subscribe(|view| {
        node.leadership.rebuild(view.catalog(), &node.config);
        view.last_applied().map_or(0, |log_id| log_id.index)
    });
    restart(node, upto);
    feed
}

/// Restarts the name index, which a task of its own loads step by step, and the event stream. Not to be called under
/// the catalog's lock: the loader takes that one while it holds the index's.
fn restart(node: &Node, upto: u64) {
    node.names.begin(upto);
    node.events.gap(upto);
}

/// Followers ask the leader when a majority last confirmed it; a leader notes that by itself (R2).
pub async fn follow_freshness(node: Arc<Node>) {
    let mut interval = tokio::time::interval(BEACON_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let Some(leader) = node.leader() else { continue };
        node.freshness.note_leader(leader.id, leader.term);
        if leader.id == node.config.id {
            node.staleness_ms();
            node.names_as_of(node.events.newest());
            continue;
        }
        let asked = clock::now();
        let deadline = (3 * BEACON_INTERVAL).max(node.config.election.1);
        if let Ok(Response::Beacon(beacon)) = node.ask(&leader, &Request::Beacon, deadline).await {
            node.freshness.confirm(leader.id, &beacon, asked);
            node.names.freshness().confirm(leader.id, &beacon, asked);
            node.clock.set_estimate(beacon.log_time, asked);
        }
    }
}
