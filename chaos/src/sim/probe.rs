//! A client that only writes, through one node, again and again: it tells when writes are acknowledged.
//!
//! Invariant: what counts is when an acknowledged write was sent, so that one from before a
//! fault says nothing about it.

use std::time::Duration;

use hyper::Request;
use serde_json::json;

use super::actor::call;
use super::journal::{Journal, now};
use super::net::address;
use crate::workload::RawOutcome;

/// Limit of one write.
const WITHIN: Duration = Duration::from_millis(250);
/// Pause between two writes.
const PAUSE: Duration = Duration::from_millis(40);

/// Writes through `node` until the phase ends.
pub(super) async fn run(node: u64, journal: Journal) {
    let peer = format!("probe-{node}");
    let body = json!({"peerId": peer, "address": "http://127.0.0.1:9", "serving": false, "files": []}).to_string();
    while !journal.is_over() {
        let sent = now();
        let request =
            Request::post(format!("http://{}/register", address(node))).header("content-type", "application/json");
        if let RawOutcome::Ok(..) = call(request, body.clone(), WITHIN, &mut 0).await {
            journal.acknowledged(sent);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
