//! Computes the digests of large peers' holdings in advance, so that their next registration is checked quickly (P2).
//!
//! A digest is derived from the catalog, so computing it in advance changes no answer. It only moves work from the
//! apply path, which all writers share, to a thread that holds no lock.
//!
//! Invariant: one digest is computed at a time, and only of holdings that did not change between two scans.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use raft_store::types::PeerId;
use tokio::sync::Semaphore;

use crate::node::Node;

/// How often peers whose holdings changed are scanned, and how long holdings have to stay unchanged.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Peers in one scan; more wait for the next.
const PEERS_PER_SCAN: usize = 1_024;

/// One digest at a time. Whoever waited for the same peer's digest then finds it computed.
static PLACE: Semaphore = Semaphore::const_new(1);

/// Looks for digests to compute, until the process ends.
pub async fn run(node: Arc<Node>) {
    let mut interval = tokio::time::interval(SCAN_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = HashMap::new();
    loop {
        interval.tick().await;
        let found = node.catalog().undigested(PEERS_PER_SCAN);
        for (peer, changed) in &found {
            if seen.get(peer) == Some(changed) {
                compute(&node, peer).await;
            }
        }
        seen = found.into_iter().collect();
    }
}

/// Computes the digest of a peer's holdings, unless it is known or they are too few to matter.
pub async fn compute(node: &Node, peer: &PeerId) {
    if node.state.holdings_digest(peer).is_none() {
        return;
    }
    let Ok(place) = PLACE.acquire().await else { return };
    if let Some(work) = node.state.holdings_digest(peer) {
        // It ends by itself, and its result is useful even if nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work.run();
        });
        let _ = done.await;
    }
}
