//! `GET /metrics`: this process's counters and gauges in the Prometheus text format.

use client::contract::Metrics;
use client::contract::headers::STALENESS_UNKNOWN_MS;
use openraft::async_runtime::WatchReceiver;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use raft_store::raft::LogId;

use super::error::ApiError;
use super::handle::{Call, Handle, nothing_to_check};
use super::reply::Reply;
use super::stats::stats_of;
use crate::duties::divergence::is_diverged;
use crate::metrics::encode::{counter, gauge};
use crate::metrics::register_storage;
use crate::node::Node;
use crate::sys::logging::dropped_lines;

/// Prefix of all names.
const PREFIX: &str = "raftshare";

impl Handle for Metrics {
    nothing_to_check!();

    async fn answer(call: &Call, (): ()) -> Result<Reply<String>, ApiError> {
        Ok(Reply::Answer(render(&call.node)))
    }
}

fn render(node: &Node) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    register_raft(node, &mut registry);
    register_storage(&node.stats.read(), &node.stats.histograms(), &mut registry);
    register_index(node, &mut registry);
    register_comparisons(node, &mut registry);
    node.metrics.register(&mut registry);
    counter(&mut registry, "log_lines_dropped", "Log lines that could not be written", dropped_lines());
    registry.register("build", "Version of this build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let mut text = String::new();
    if let Err(error) = prometheus_text::encode(&mut text, &registry) {
        tracing::warn!(%error, "cannot write the metrics as text");
    }
    text
}

fn flag(is_set: bool) -> u64 {
    u64::from(is_set)
}

fn register_raft(node: &Node, to: &mut Registry) {
    let raft = node.raft.metrics().borrow_watched().clone();
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
    let leads = flag(node.leads_confirmed());
    gauge(to, "raft_is_leader", "1 while this node leads and a majority confirms it", leads);
    gauge(to, "raft_term", "Current term", raft.current_term);
    gauge(to, "raft_commit_index", "Highest committed log index known here", index(raft.local_committed));
    gauge(to, "raft_applied_index", "Highest applied log index", node.applied());
    let queued = node.proposer.queued() as u64;
    gauge(to, "raft_proposals_queued", "Commands waiting to be proposed", queued);
    let staleness = Some(node.staleness_ms()).filter(|ms| *ms < STALENESS_UNKNOWN_MS);
    let seconds = staleness.map_or(f64::NAN, |ms| ms as f64 / 1_000.0);
    gauge(to, "read_staleness_seconds", "Age of this node's state; NaN if it is not known", seconds);
}

fn register_index(node: &Node, to: &mut Registry) {
    let stats = stats_of(node);
    gauge(to, "peers", "Live peers", stats.peers);
    gauge(to, "files", "Files whose current version exists", stats.files);
    // Absent except at a confirmed leader: zero would mean that all is well (R5).
    if let (Some(below), Some(tasks)) = (stats.under_replicated, stats.tasks) {
        gauge(to, "files_below_r", "Files with fewer live copies than wanted; only at the leader", below);
        gauge(to, "replication_tasks", "Tasks assigned and not done; only at the leader", tasks);
    }
    gauge(to, "lease_active", "Live leases", stats.leases);
    gauge(to, "lease_waiting", "Peers in wait queues", stats.waiting);
    gauge(to, "answers_remembered", "Remembered answers of idempotency keys", stats.answers);
}

fn register_comparisons(node: &Node, to: &mut Registry) {
    let (diverged, alarm) = (flag(is_diverged(node)), flag(node.divergence.alarm().is_some()));
    gauge(to, "diverged", "1 while the state of this node differs from the majority's (N3)", diverged);
    gauge(to, "digest_alarm", "1 while the members' states differ and no majority agrees (N3)", alarm);
    counter(to, "digest_comparisons", "Comparisons of the members' states", node.divergence.comparisons());
    counter(to, "digest_disagreements", "Comparisons that found different states", node.divergence.disagreements());
}
