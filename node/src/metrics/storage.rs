//! What `raft-store` counts of the log and the snapshots.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::{Registry, Unit};
use raft_store::storage::{SnapshotReading, StorageHistograms, StorageStats};

use super::encode::{Observed, Rows, counter, gauge};

#[derive(Debug, Clone, Copy, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

/// Puts the figures of the storage into a registry.
pub fn register(stats: &StorageStats, histograms: &StorageHistograms, registry: &mut Registry) {
    gauge(registry, "raft_log_entries", "Log entries kept", stats.log_entries);
    gauge(registry, "raft_log_bytes", "Bytes of the log on disk", stats.log_bytes);
    gauge(registry, "raft_log_queued_operations", "Operations waiting for the log's flusher", stats.queued_operations);
    gauge(
        registry,
        "raft_log_queued_bytes",
        "Bytes of records that wait for the log's flusher or are being written",
        stats.queued_bytes,
    );
    gauge(
        registry,
        "raft_snapshot_index",
        "Log index of the newest snapshot",
        stats.snapshot_index.unwrap_or_default(),
    );
    gauge(registry, "raft_snapshot_bytes", "Bytes of the newest snapshot", stats.snapshot_bytes);
    counter(registry, "raft_log_flushes", "Flushes of the log", histograms.syncs.count());
    counter(registry, "raft_log_flushed_entries", "Entries made durable", histograms.flush_entries.sum());
    registry.register_with_unit(
        "raft_log_append_duration",
        "Time to write the records of a flush, before they are synced",
        Unit::Seconds,
        Observed::seconds(&histograms.writes),
    );
    registry.register_with_unit(
        "raft_log_fsync_duration",
        "Time to sync the log to the disk",
        Unit::Seconds,
        Observed::seconds(&histograms.syncs),
    );
    registry.register(
        "raft_log_flush_entries",
        "Entries per flush; flushes without any are not counted",
        Observed::of(&histograms.flush_entries),
    );
    registry.register(
        "raft_log_flush_commands",
        "Commands per flush that has entries",
        Observed::of(&histograms.flush_commands),
    );
    let rows = |observed: fn(&SnapshotReading) -> Observed| {
        let row = |operation, snapshots| (Operation { operation }, observed(snapshots));
        Rows(vec![row("build", &histograms.built), row("install", &histograms.installed)])
    };
    registry.register_with_unit(
        "raft_snapshot_duration",
        "Time to build a snapshot, or to install one that was received",
        Unit::Seconds,
        rows(|snapshots| Observed::seconds(&snapshots.took)),
    );
    registry.register_with_unit(
        "raft_snapshot_size",
        "Size of snapshots built or installed",
        Unit::Bytes,
        rows(|snapshots| Observed::of(&snapshots.bytes)),
    );
}
