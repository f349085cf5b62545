//! `GET /stats`: counts and the state of the planner.

use client::contract::{Stats, StatsResponse};

use super::consistency::Source;
use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::{DerivedFrom, Reply};
use crate::node::Node;

impl Handle for Stats {
    type Checked = ();
    const SOURCE: Source = Source::Planner;

    fn check(_sent: Sent<'_, Self>) -> Result<(), ApiError> {
        Ok(())
    }

    async fn answer(call: &Call, (): ()) -> Result<Reply<StatsResponse>, ApiError> {
        let derived = planned_from(&call.node);
        Ok(Reply::Derived(stats_of(&call.node), derived))
    }
}

/// How far the plan has followed the log. Events are published last, so everything that follows the log has come at
/// least as far.
pub fn planned_from(node: &Node) -> DerivedFrom {
    let applied = node.events.newest();
    DerivedFrom { applied, as_of: node.names_as_of(applied) }
}

/// The figures of `/stats`, as this node knows them.
pub(super) fn stats_of(node: &Node) -> StatsResponse {
    let counts = node.catalog().counts();
    let planned = node.planned();
    let stored = node.stats.read();
    StatsResponse {
        peers: counts.peers_live,
        files: counts.files,
        records: counts.records,
        bytes: counts.bytes,
        under_replicated: planned.map(|planned| planned.under_replicated),
        tasks: planned.map(|planned| planned.tasks),
        leases: counts.leases,
        waiting: counts.waiting,
        answers: counts.answers,
        log_bytes: stored.log_bytes,
        log_entries: stored.log_entries,
        snapshot_bytes: stored.snapshot_bytes,
        snapshot_index: stored.snapshot_index.unwrap_or(0),
        grace_remaining_ms: planned.map(|planned| planned.grace_remaining_ms),
    }
}
