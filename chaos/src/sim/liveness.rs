//! Demands that writes go on under a fault wherever somebody can lead (C7).
//!
//! Invariants: it is asked in quiet worlds only, where one fault lasts at a time; a gap is counted from the fault or
//! from the newest acknowledged write, whichever is later; where Raft can elect nobody, nothing is demanded.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::faults::Faults;
use super::journal::Journal;
use super::machine::Machine;
use super::watch::Watch;

/// Longest time without a write that is sent and acknowledged: two seconds (C7) and the slack of a network and disks
/// that are slower, and election timeouts that are longer, than those of the default settings.
const GAP_MAX: Duration = Duration::from_millis(2_500);

/// What is demanded, and whether it was missed already.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// The fault whose gap was told already.
    told: Option<Duration>,
    /// The fault that was seen to leave somebody who can lead, and was survived.
    counted: Option<Duration>,
}

impl Liveness {
    /// After every step.
    pub(super) fn observe(
        &mut self,
        now: Duration,
        faults: &Faults,
        machines: &[Machine],
        journal: &Journal,
        watch: &mut Watch,
    ) {
        let Some(since) = faults.since() else { return };
        let newest = journal.newest_acknowledged().map(Duration::from_micros).unwrap_or_default();
        if newest > since && self.counted != Some(since) {
            self.counted = Some(since);
            journal.count("writes acknowledged under a fault");
            watch.expect(true, String::new);
        }
        if now.saturating_sub(newest.max(since)) <= GAP_MAX || self.told == Some(since) {
            return;
        }
        self.told = Some(since);
        let up = faults.running(machines);
        let logs: Vec<(u64, u64)> = machines.iter().map(|machine| (machine.id, last_log(machine))).collect();
        let log_of = |id| logs.iter().find(|(of, _)| *of == id).map_or(0, |(_, index)| *index);
        let able = faults.cuts.electable(machines.len(), &up, log_of);
        if able.is_empty() {
            journal.count("faults under which nobody can lead");
            return;
        }
        let words = faults.log.last().map(|(_, kind, words)| format!("{}: {words}", kind.name())).unwrap_or_default();
        watch.expect(false, || {
            format!("no write was acknowledged for {GAP_MAX:?} though nodes {able:?} can lead ({words}; logs {logs:?})")
        });
    }
}

fn last_log(machine: &Machine) -> u64 {
    let Some(node) = machine.node() else { return 0 };
    let metrics = node.raft.metrics();
    metrics.borrow_watched().last_log_index.unwrap_or(0)
}
