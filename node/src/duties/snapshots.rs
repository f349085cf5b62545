//! When a snapshot is taken: once the log has grown by the size of the last snapshot. So the cost of snapshots per
//! written byte stays the same, however large the catalog gets.
//!
//! Invariant: between two snapshots a log grows by at most one and a half times the larger of [`LOG_BYTES_MIN`] and the
//! last snapshot's bytes, and by what is written while the next snapshot is made. Raft purges what a snapshot covers.
//!
//! Nodes with equal logs would all take their snapshots at the same time and disturb every majority, so each waits for
//! a different share of that half. With `--snapshot-every` Raft counts entries instead, and this module does nothing.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use raft_store::types::NodeId;

use crate::node::Node;

/// Growth of the log below which no snapshot is taken, in bytes, with [`ENTRY_BYTES`] counted for each entry. Bounds
/// what is applied again after a restart: about a second's work.
pub const LOG_BYTES_MIN: u64 = 48 * 1_024 * 1_024;
/// What an entry weighs besides its bytes: a record of its own on disk, and its purge.
pub const ENTRY_BYTES: u64 = 256;
/// Classes of nodes, by id. Each class waits for more growth than the one before, by one part in [`GROWTH_PARTS`].
const CLASSES: u64 = 3;
/// See [`CLASSES`].
const GROWTH_PARTS: u64 = 4;
/// How often the log is scanned.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Scans after which a snapshot that did not come is triggered again.
const SCANS_PER_TRIGGER: u32 = 30;

/// The state of a log and its newest snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LogState {
    /// Bytes of all entries appended so far; never falls.
    appended_bytes: u64,
    /// Index of the last applied entry.
    applied: u64,
    /// Index that the newest snapshot covers; 0 without one.
    snapshot: u64,
}

/// Decides when a snapshot is due.
#[derive(Debug)]
struct Policy {
    /// What the newest snapshot covers.
    covered: LogState,
    /// How many scans ago a snapshot was triggered that has not come yet.
    triggered: Option<u32>,
    /// The class of the node.
    class: u64,
}

impl Policy {
    /// The policy of a process that found a snapshot up to this index. The entries that it found with the snapshot
    /// count as growth, so that the log does not grow for ever across restarts.
    fn since(snapshot: u64, id: NodeId) -> Self {
        let covered = LogState { appended_bytes: 0, applied: snapshot, snapshot };
        Self { covered, triggered: None, class: id % CLASSES }
    }

    /// The growth that this node waits for where the first class waits for `bytes`.
    fn patience(&self, bytes: u64) -> u64 {
        bytes + bytes / GROWTH_PARTS * self.class
    }

    /// Whether to trigger a snapshot now. Calls `snapshot_bytes`, the size of the newest one, only if it matters.
    fn is_due(&mut self, now: LogState, snapshot_bytes: impl FnOnce() -> u64) -> bool {
        if now.snapshot > self.covered.snapshot {
            self.covered = self.covering(now);
            self.triggered = None;
        }
        if let Some(scans) = &mut self.triggered {
            *scans += 1;
            if *scans < SCANS_PER_TRIGGER {
                return false;
            }
        }
        let entries = now.applied.saturating_sub(self.covered.applied);
        let grown = (now.appended_bytes - self.covered.appended_bytes).saturating_add(entries * ENTRY_BYTES);
        let is_due = entries > 0 && grown >= self.patience(LOG_BYTES_MIN) && grown >= self.patience(snapshot_bytes());
        if is_due {
            self.triggered = Some(0);
        }
        is_due
    }

    /// What a new snapshot covers, whoever asked for it. It gets the share of the bytes since the last one that it has
    /// of the entries.
    fn covering(&self, now: LogState) -> LogState {
        let entries = now.applied.saturating_sub(self.covered.applied).max(1);
        let covered = now.snapshot.saturating_sub(self.covered.applied).min(entries);
        let bytes = now.appended_bytes - self.covered.appended_bytes;
        let share = u128::from(bytes) * u128::from(covered) / u128::from(entries);
        let appended_bytes = self.covered.appended_bytes + u64::try_from(share).unwrap_or(bytes);
        LogState { appended_bytes, applied: now.snapshot, snapshot: now.snapshot }
    }
}

/// Scans the log from time to time, until the process ends.
pub async fn run(node: Arc<Node>) {
    if node.config.snapshot_every.is_some() {
        return std::future::pending().await;
    }
    let mut policy = Policy::since(node.stats.read().snapshot_index.unwrap_or(0), node.config.id);
    let mut interval = tokio::time::interval(SCAN_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = {
            let metrics = node.raft.metrics();
            let metrics = metrics.borrow_watched();
            LogState {
                appended_bytes: node.stats.appended_bytes(),
                applied: metrics.last_applied.as_ref().map_or(0, |log_id| log_id.index),
                snapshot: metrics.snapshot.as_ref().map_or(0, |log_id| log_id.index),
            }
        };
        if policy.is_due(now, || node.stats.snapshot_bytes())
            && let Err(error) = node.raft.trigger().snapshot().await
        {
            // Raft has stopped; the node ends, and the reason is logged elsewhere.
            tracing::debug!(%error, "no snapshot was triggered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the entries of this test.
    const BYTES: u64 = 1_024;

    fn at(entries: u64, snapshot: u64) -> LogState {
        LogState { appended_bytes: entries * BYTES, applied: entries, snapshot }
    }

    /// Writes `entries` and answers at which of them snapshots were begun; the newest one weighs what `weigh` says.
    fn written(entries: u64, weigh: impl Fn(u64) -> u64) -> Vec<u64> {
        let (mut policy, mut snapshot, mut begun) = (Policy::since(0, 0), 0, Vec::new());
        for entry in (0..entries).step_by(100) {
            if policy.is_due(at(entry, snapshot), || weigh(snapshot)) {
                begun.push(entry);
                // It is there at the next scan.
                snapshot = entry;
            }
        }
        begun
    }

    #[test]
    fn snapshots_cost_the_same_for_every_entry_however_large_the_catalog_is() {
        // Everything written stays in the catalog: half of it is in the newest snapshot when the next one is taken.
        let begun = written(10_000_000, |snapshot| snapshot * (BYTES + ENTRY_BYTES));
        assert!(begun.len() < 12, "{begun:?}");
        assert!(begun.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{begun:?}");
        let encoded: u64 = begun.iter().sum();
        assert!(encoded < 20_000_000, "every entry is encoded twice at most: {encoded}");
    }

    #[test]
    fn a_small_catalog_keeps_a_log_of_the_least_size() {
        let begun = written(1_000_000, |_| 1_000);
        let per_snapshot = LOG_BYTES_MIN / (BYTES + ENTRY_BYTES);
        assert_eq!(begun.len() as u64, 1_000_000 / (per_snapshot + 100), "{begun:?}");
    }

    #[test]
    fn nothing_is_triggered_twice_nor_for_an_idle_log() {
        let mut policy = Policy::since(0, 0);
        let due = at(100_000, 0);
        assert!(policy.is_due(due, || 0));
        assert!(!policy.is_due(at(200_000, 0), || 0), "one is under way");
        assert!(!policy.is_due(at(200_000, 190_000), || 0), "somebody else's snapshot came first");
        assert!(!policy.is_due(at(200_000, 200_000), || 0), "nothing was applied since");
        let mut policy = Policy::since(0, 0);
        assert!(policy.is_due(due, || 0));
        let again = (0..SCANS_PER_TRIGGER).filter(|_| policy.is_due(due, || 0)).count();
        assert_eq!(again, 1, "one that does not come is triggered again, after a while");
    }

    #[test]
    fn nodes_with_one_log_take_their_snapshots_at_different_times() {
        let due_at = |id| {
            let mut policy = Policy::since(0, id);
            (1..).map(|n| n * 1_000).find(|entries| policy.is_due(at(*entries, 0), || 0))
        };
        let [first, second, third] = [3, 1, 2].map(|id| due_at(id).expect("due at some time"));
        assert!(first < second && second < third && third < first * 2, "{first} {second} {third}");
    }

    #[test]
    fn a_restart_forgets_no_growth() {
        let found = LogState { appended_bytes: LOG_BYTES_MIN, applied: 70_000, snapshot: 50_000 };
        assert!(Policy::since(50_000, 0).is_due(found, || 0));
    }
}
