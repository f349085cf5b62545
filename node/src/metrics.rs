//! Counters of this process and their Prometheus text (`GET /metrics`).

use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::api::headers::STALENESS_UNKNOWN_MS;
use parking_lot::Mutex;
use raft_store::types::NodeId;
use tokio::time::Instant;

use crate::clock::millis;
use crate::divergence::is_diverged;
use crate::http::stats_of;
use crate::logging::dropped_lines;
use crate::node::Node;

/// Paths counted by name; all others share one row, so that a scanner cannot grow the table.
const COUNTED_PATHS: [&str; 24] = [
    "/",
    "/announce",
    "/cluster",
    "/cluster/digest",
    "/delete",
    "/events",
    "/file",
    "/healthz",
    "/heartbeat",
    "/leader",
    "/lease",
    "/lease/leave",
    "/lease/release",
    "/lease/renew",
    "/metrics",
    "/openapi.json",
    "/peers",
    "/readyz",
    "/register",
    "/search",
    "/stats",
    "/why",
    "/cluster/init",
    "/cluster/snapshot",
];

/// The name under which a path is counted.
pub fn counted_path(path: &str) -> &'static str {
    COUNTED_PATHS.iter().find(|known| **known == path).copied().unwrap_or("other")
}

/// What goes wrong with connections, or is refused, without an answer that could be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// All places for connections of its kind were busy.
    Refused,
    /// It was closed to make room, or for its silence.
    Closed,
    /// A node sent what no node sends.
    BadFrame,
    /// The system could not hand over a connection.
    Accept,
}

/// Mishaps by name and explanation, in the order of [`Mishap`].
const MISHAPS: [(&str, &str); 4] = [
    ("connections_refused_total", "Connections refused because all places were busy."),
    ("connections_closed_total", "Connections closed to make room for others, or for being too slow."),
    ("bad_frames_total", "Connections of nodes ended by a bad frame."),
    ("accept_errors_total", "Errors while accepting connections, such as too many open files."),
];

/// What this process counted.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    contacts: Mutex<HashMap<NodeId, Instant>>,
    mishaps: [AtomicU64; MISHAPS.len()],
}

impl Metrics {
    /// Counts an answer; `path` as [`counted_path`] calls it.
    pub fn answered(&self, path: &'static str, status: StatusCode) {
        *self.requests.lock().entry((path, status.as_u16())).or_default() += 1;
    }

    /// Counts a mishap.
    pub fn mishap(&self, mishap: Mishap) {
        self.mishaps[mishap as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a member answered.
    pub fn contact(&self, id: NodeId) {
        self.contacts.lock().insert(id, Instant::now());
    }

    /// Milliseconds since a member answered; 0 for this node itself.
    pub fn last_contact_ms(&self, id: NodeId, own: NodeId) -> Option<u64> {
        if id == own {
            return Some(0);
        }
        self.contacts.lock().get(&id).map(|heard| millis(heard.elapsed()))
    }
}

/// Handler of `GET /metrics`.
pub async fn metrics(State(node): State<Arc<Node>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&node)).into_response()
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
    for ((name, help), count) in MISHAPS.iter().zip(&node.metrics.mishaps) {
        counter(name, help, count.load(Ordering::Relaxed));
    }
    counter("digest_comparisons_total", "Comparisons of the members' states.", node.divergence.comparisons());
    counter("digest_disagreements_total", "Those that found different states.", node.divergence.disagreements());
    counter("log_lines_dropped_total", "Log lines that could not be written.", dropped_lines());
    let _ = writeln!(
        out,
        "# HELP raftshare_http_requests_total Answers by path and status.\n# TYPE raftshare_http_requests_total counter"
    );
    for ((path, status), count) in node.metrics.requests.lock().iter() {
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
