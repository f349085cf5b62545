//! A peer that serves and falls silent, and registers again at the moment at which the leader gives it up.
//!
//! Invariant: it is silent for about its time to live, so that its registration and its expiry cross on their way into
//! the log; the registration must not be expired then (P3), which the watch checks.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;

use super::http::post;
use super::journal::Journal;
use super::plan::{PEER_TTL, Plan};
use crate::workload::RawOutcome;

/// Limit of one request.
const WITHIN: Duration = Duration::from_secs(1);
/// The leader checks for silent peers every 200 ms; the registration arrives before, at, or after that moment.
const AROUND_MS: std::ops::Range<u64> = 0..300;

/// A guest.
pub(super) struct Guest {
    name: String,
    journal: Journal,
    rng: StdRng,
    founders: u64,
}

impl Guest {
    /// Guest number `number` of a plan.
    pub(super) fn new(number: u64, plan: &Plan, journal: Journal) -> Self {
        Self { name: format!("guest-{number}"), journal, rng: plan.rng(5_000 + number), founders: plan.founders }
    }

    /// Comes and goes until the phase ends.
    pub(super) async fn run(mut self) {
        while !self.journal.is_over() {
            let silence = if self.register().await {
                self.journal.count("registrations of silent peers");
                PEER_TTL - Duration::from_millis(50) + Duration::from_millis(self.rng.random_range(AROUND_MS))
            } else {
                Duration::from_millis(self.rng.random_range(AROUND_MS))
            };
            tokio::time::sleep(silence).await;
        }
    }

    async fn register(&mut self) -> bool {
        let node = self.rng.random_range(1..=self.founders);
        let body = json!({"peerId": self.name, "address": "http://127.0.0.1:9", "serving": true, "files": []});
        matches!(post(node, "/register", &body, WITHIN).await, RawOutcome::Ok(..))
    }
}
