//! Snapshots that nodes sent each other.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::{Registry, Unit};
use raft_store::storage::{SnapshotHistogram, SnapshotReading};

use super::encode::{Observed, Rows};

/// Snapshots that this node sent to others and received from them.
#[derive(Debug, Default)]
pub struct Transfers {
    /// From the first byte until the other node had installed it.
    pub sent: SnapshotHistogram,
    /// From the first byte to the last.
    pub received: SnapshotHistogram,
}

#[derive(Debug, Clone, Copy, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

impl Transfers {
    pub(super) fn register(&self, registry: &mut Registry) {
        let rows = |observed: fn(SnapshotReading) -> Observed| {
            let row = |direction, snapshots: &SnapshotHistogram| (Direction { direction }, observed(snapshots.read()));
            Rows(vec![row("sent", &self.sent), row("received", &self.received)])
        };
        registry.register_with_unit(
            "snapshot_transfer_duration",
            "Time to send a snapshot to another node, which installs it, or to receive one",
            Unit::Seconds,
            rows(|snapshots| Observed::seconds(&snapshots.took)),
        );
        registry.register_with_unit(
            "snapshot_transfer_size",
            "Size of snapshots sent to other nodes or received from them",
            Unit::Bytes,
            rows(|snapshots| Observed::of(&snapshots.bytes)),
        );
    }
}
