//! What is derived from applied entries, on every node: the planner's view, the name index, the event stream; and how fresh
//! this node's state is.
//!
//! Invariant: events are handed on in log order and once each; whoever missed some is rebuilt from the catalog.

use std::sync::Arc;
use std::time::Duration;

use raft_store::catalog::{Catalog, FileNumber};
use raft_store::storage::FeedItem;
use raft_store::types::FileName;

use crate::node::Node;
use crate::transport::{Request, Response};

/// How often a follower asks its leader how fresh its state is.
const BEACON_INTERVAL: Duration = Duration::from_millis(100);

/// Hands every applied entry's events to the planner, the name index and the event stream, in log order.
pub async fn follow_events(node: Arc<Node>) {
    let (names, mut feed) = node.state.subscribe(|view| names_of(view.catalog()));
    node.names.replace(names);
    loop {
        match feed.next().await {
            FeedItem::Applied(entry) => {
                if !entry.events.is_empty() {
                    if node.leadership.term().is_some() {
                        node.leadership.observe(&node.catalog(), &entry.events);
                    }
                    node.names.update(&entry.events);
                    node.observer.observe(&entry.events);
                }
                node.events.push(entry.log_index, &entry.events);
            }
            FeedItem::Replaced { upto } => {
                let upto = upto.map_or(0, |log_id| log_id.index);
                tracing::info!(upto, "took over a snapshot; rebuilding derived state");
                let names = rebuild_derived(&node, &node.catalog(), upto);
                node.names.replace(names);
            }
            FeedItem::Lagged { missed } => {
                // Derived state is rebuilt from the catalog; the event stream tells its readers of the gap.
                tracing::warn!(missed, "fell behind the applied entries; rebuilding derived state");
                let (names, again) = node.state.subscribe(|view| {
                    let upto = view.last_applied().map_or(0, |log_id| log_id.index);
                    rebuild_derived(&node, view.catalog(), upto)
                });
                node.names.replace(names);
                feed = again;
            }
            FeedItem::Closed => return,
        }
    }
}

/// All but the name index, which is built without the catalog's lock: of the names that this answers.
fn rebuild_derived(node: &Node, catalog: &Catalog, upto: u64) -> Vec<(FileNumber, FileName)> {
    node.leadership.rebuild(catalog, &node.config);
    node.events.gap(upto);
    names_of(catalog)
}

fn names_of(catalog: &Catalog) -> Vec<(FileNumber, FileName)> {
    catalog.numbered_files().collect()
}

/// Followers ask the leader how fresh its word is; a leader notes its own (R2).
pub async fn follow_freshness(node: Arc<Node>) {
    let mut interval = tokio::time::interval(BEACON_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let Some(leader) = node.leader() else { continue };
        node.freshness.note_leader(leader.id, leader.term);
        if leader.id == node.config.id {
            node.staleness_ms();
            continue;
        }
        let asked = tokio::time::Instant::now();
        let deadline = (3 * BEACON_INTERVAL).max(node.config.election.1);
        if let Ok(Response::Beacon(beacon)) = node.ask(&leader, &Request::Beacon, deadline).await {
            node.freshness.confirm(leader.id, &beacon, asked);
            node.clock.set_estimate(beacon.log_time, asked);
        }
    }
}
