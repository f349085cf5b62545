//! `GET /metrics`: what this process counted and what it knows of itself, in the text format of Prometheus.

use std::fmt::Write;

use client::contract::headers::STALENESS_UNKNOWN_MS;
use client::contract::{Metrics, Route};
use openraft::async_runtime::WatchReceiver;

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::stats::stats_of;
use crate::duties::divergence::is_diverged;
use crate::node::Node;
use crate::sys::logging::dropped_lines;

/// The name under which a path is counted; paths that are none of the contract's share one row, so that a scanner
/// cannot grow the table.
pub fn counted_path(route: Option<&'static Route>) -> &'static str {
    route.map_or("other", |route| route.path)
}

impl Handle for Metrics {
    type Checked = ();

    fn check(_sent: Sent<'_, Self>) -> Result<(), ApiError> {
        Ok(())
    }

    async fn answer(call: &Call, (): ()) -> Result<Reply<String>, ApiError> {
        Ok(Reply::Answer(render(&call.node)))
    }
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn render(node: &Node) -> String {
    let mut out = String::new();
    let stats = stats_of(node);
    let stored = node.stats.read();
    let raft = node.raft.metrics().borrow_watched().clone();
    let index = |log_id: &Option<_>| {
        log_id
            .as_ref()
            .map_or(0, |log_id: &openraft::type_config::alias::LogIdOf<raft_store::raft::TypeConfig>| log_id.index)
    };
    let mut gauge = |name: &str, help: &str, value: f64| {
        let _ =
            writeln!(out, "# HELP raftshare_{name} {help}\n# TYPE raftshare_{name} gauge\nraftshare_{name} {value}");
    };
    gauge(
        "raft_is_leader",
        "1 while this node leads and a majority confirms it.",
        f64::from(u8::from(node.leads_confirmed())),
    );
    gauge("raft_term", "Current term.", raft.current_term as f64);
    gauge("raft_commit_index", "Highest committed log index known here.", index(&raft.local_committed) as f64);
    gauge("raft_applied_index", "Highest applied log index.", node.applied() as f64);
    gauge("raft_log_entries", "Log entries kept.", stats.log_entries as f64);
    gauge("raft_log_bytes", "Bytes of the log on disk.", stats.log_bytes as f64);
    gauge("raft_snapshot_index", "Log index of the newest snapshot.", stats.snapshot_index as f64);
    gauge("raft_snapshot_bytes", "Bytes of the newest snapshot.", stats.snapshot_bytes as f64);
    gauge("raft_proposals_queued", "Commands waiting to be proposed.", node.proposer.queued() as f64);
    gauge("raft_log_flushes", "Flushes of the log since the start.", stored.flushes as f64);
    gauge("raft_log_flushed_entries", "Entries made durable since the start.", stored.flushed_entries as f64);
    let staleness = Some(node.staleness_ms()).filter(|ms| *ms < STALENESS_UNKNOWN_MS);
    let seconds = staleness.map_or(f64::NAN, |ms| ms as f64 / 1_000.0);
    gauge("read_staleness_seconds", "Age of this node's state; NaN if it is not known.", seconds);
    gauge("peers", "Live peers.", stats.peers as f64);
    gauge("files", "Files whose current version exists.", stats.files as f64);
    // Absent anywhere but at a confirmed leader: zero would say that all is well (R5).
    if let (Some(below), Some(tasks)) = (stats.under_replicated, stats.tasks) {
        gauge("files_below_r", "Files with fewer live copies than wanted; only at the leader.", below as f64);
        gauge("replication_tasks", "Tasks given out and not done; only at the leader.", tasks as f64);
    }
    gauge("lease_active", "Live leases.", stats.leases as f64);
    gauge("lease_waiting", "Peers waiting in lines.", stats.waiting as f64);
    gauge("diverged", "1 while the state of this node differs from the majority's (N3).", flag(is_diverged(node)));
    gauge(
        "digest_alarm",
        "1 while the members' states differ and no majority agrees (N3).",
        flag(node.divergence.alarm().is_some()),
    );
    gauge("answers_remembered", "Remembered answers of idempotency keys.", stats.answers as f64);
    let mut counter = |name: &str, help: &str, value: u64| {
        let _ =
            writeln!(out, "# HELP raftshare_{name} {help}\n# TYPE raftshare_{name} counter\nraftshare_{name} {value}");
    };
    for (name, help, count) in node.metrics.mishaps() {
        counter(name, help, count);
    }
    counter("digest_comparisons_total", "Comparisons of the members' states.", node.divergence.comparisons());
    counter("digest_disagreements_total", "Those that found different states.", node.divergence.disagreements());
    counter("log_lines_dropped_total", "Log lines that could not be written.", dropped_lines());
    let _ = writeln!(
        out,
        "# HELP raftshare_http_requests_total Answers by path and status.\n# TYPE raftshare_http_requests_total counter"
    );
    for ((path, status), count) in node.metrics.answers() {
        let _ = writeln!(out, "raftshare_http_requests_total{{route=\"{path}\",code=\"{status}\"}} {count}");
    }
    let _ = writeln!(
        out,
        "# HELP raftshare_build_info Version of this build.\n# TYPE raftshare_build_info gauge\n\
         raftshare_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    out
}
