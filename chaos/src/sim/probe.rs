//! A client that only writes, through one node, again and again: it tells when writes are acknowledged.
//!
//! Invariant: what counts is when an acknowledged write was sent, so that one from before a
//! fault says nothing about it.

use std::time::Duration;

use super::http::post;
use super::journal::{Journal, now};
use crate::workload::RawOutcome;
use crate::workload::write::Write;

/// Limit of one write.
const WITHIN: Duration = Duration::from_millis(250);
/// Pause between two writes.
const PAUSE: Duration = Duration::from_millis(40);

/// Writes through `node` until the phase ends.
pub(super) async fn run(node: u64, journal: Journal) {
    let Write { path, body, .. } = Write::register(&format!("probe-{node}"), false);
    while !journal.is_over() {
        let sent = now();
        if let RawOutcome::Ok(..) = post(node, path, &body, WITHIN).await {
            journal.acknowledged(sent);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
