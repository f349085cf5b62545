//! Changes members while faults go on: a machine joins as a learner, is promoted, demoted,
//! removed, and leadership moves.
//!
//! Invariant: it asks for nothing but what an operator may ask for; what the cluster refuses stays refused.

use std::time::Duration;

use rand::Rng;
use serde_json::json;

use super::http::post;
use super::journal::Journal;
use super::net::address;
use super::plan::Plan;
use crate::workload::RawOutcome;

/// Pause between two changes in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..900;
/// Pause between two polls for a transfer to ask for.
const POLL_PAUSE: Duration = Duration::from_millis(1);
/// How long one change may take.
const WITHIN: Duration = Duration::from_secs(3);

/// Runs until the phase ends.
pub(super) async fn run(plan: Plan, journal: Journal) {
    let mut rng = plan.rng(2_000);
    while !journal.is_over() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(PAUSE_MS))).await;
        let asked = rng.random_range(1..=plan.founders);
        let spare = plan.machines;
        let any = rng.random_range(1..=plan.machines);
        let (path, counted, id) = match rng.random_range(0..10) {
            0..2 => ("/cluster/learners", "learners added", spare),
            2..4 => ("/cluster/promote", "promotions", any),
            4 => ("/cluster/demote", "demotions", any),
            5 => ("/cluster/remove", "removals", spare),
            6 => ("/cluster/snapshot", "snapshots asked for", asked),
            _ => ("/cluster/transfer", "transfers", rng.random_range(1..=plan.founders)),
        };
        let body = json!({"id": id, "address": address(id)});
        if let RawOutcome::Ok(..) = post(asked, path, &body, WITHIN).await {
            journal.count(counted);
        }
    }
}

/// Asks for the transfers that the faults wish for, until the phase ends.
pub(super) async fn hand_over(journal: Journal) {
    while !journal.is_over() {
        tokio::time::sleep(POLL_PAUSE).await;
        let Some((leader, target)) = journal.take_transfer() else { continue };
        let journal = journal.clone();
        tokio::task::spawn_local(async move {
            if let RawOutcome::Ok(..) = post(leader, "/cluster/transfer", &json!({"id": target}), WITHIN).await {
                journal.count("transfers");
            }
        });
    }
}
