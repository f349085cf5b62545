//! Entries in flight: proposed and not applied yet. Their number and size decide when the next one is proposed.
//!
//! Invariant: an entry is counted from before it is proposed until its fate is known, however its task ends.

use raft_store::types::limits;
use tokio::sync::watch;

/// Entries proposed and not yet applied.
const PROPOSALS_IN_FLIGHT: usize = 4;
/// While this many are in flight, the next entry waits until it is full: each entry costs every voter a flush, and all
/// of them together at least a millisecond, whatever is in it. With fewer in flight, the next entry goes as soon as it
/// is as large as those. So the entries of many writers grow, and a few writers wait for nobody.
const PARTIAL_IN_FLIGHT: usize = 2;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UnderWay {
    entries: usize,
    /// Commands in all of them.
    commands: usize,
}

impl UnderWay {
    /// How many commands the next entry needs in order to go now; `None` while no more may be in flight.
    pub(super) fn wanted(self) -> Option<usize> {
        match self.entries {
            0 => Some(1),
            PROPOSALS_IN_FLIGHT.. => None,
            PARTIAL_IN_FLIGHT.. => Some(limits::ENTRY_COMMANDS_MAX),
            _ => Some(self.commands.clamp(1, limits::ENTRY_COMMANDS_MAX)),
        }
    }
}

/// One entry in flight; it counts while this lives.
pub(super) struct InFlight {
    under_way: watch::Sender<UnderWay>,
    commands: usize,
}

impl InFlight {
    pub(super) fn take(under_way: &watch::Sender<UnderWay>, commands: usize) -> Self {
        under_way.send_modify(|all| {
            all.entries += 1;
            all.commands += commands;
        });
        Self { under_way: under_way.clone(), commands }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.under_way.send_modify(|all| {
            all.entries -= 1;
            all.commands -= self.commands;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_waits_until_it_is_as_large_as_what_is_under_way() {
        let wanted = |entries, commands| UnderWay { entries, commands }.wanted();
        assert_eq!(wanted(0, 0), Some(1), "nothing to wait for");
        assert_eq!(wanted(1, 1), Some(1), "two writers do not wait for each other");
        assert_eq!(wanted(1, 100), Some(100));
        assert_eq!(wanted(1, 10 * limits::ENTRY_COMMANDS_MAX), Some(limits::ENTRY_COMMANDS_MAX), "more would not fit");
        assert_eq!(wanted(PARTIAL_IN_FLIGHT, 2), Some(limits::ENTRY_COMMANDS_MAX));
        assert_eq!(wanted(PROPOSALS_IN_FLIGHT, 4), None);
    }

    #[test]
    fn an_entry_that_ends_is_counted_no_more() {
        let (entries, under_way) = watch::channel(UnderWay::default());
        let (first, second) = (InFlight::take(&entries, 3), InFlight::take(&entries, 4));
        assert_eq!(*under_way.borrow(), UnderWay { entries: 2, commands: 7 });
        drop(first);
        assert_eq!(*under_way.borrow(), UnderWay { entries: 1, commands: 4 });
        drop(second);
        assert_eq!(*under_way.borrow(), UnderWay::default());
    }
}
