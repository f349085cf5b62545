//! Applying an entry: clock, clean-up, then the commands in order (T1, D1).
//!
//! Invariant: the result depends only on the entry and the state.

use super::command::Batch;
use super::reply::Applied;
use super::state::Catalog;

/// Room for events, per command. Few commands cause more: a version ends a lease, or adds a holder.
const EVENTS_PER_COMMAND: usize = 2;

impl Catalog {
    /// Applies one log entry: moves the clock, ends what is over, then runs the commands in order.
    ///
    /// `entry_term` is the term of the entry's own log id (T2).
    pub fn apply(&mut self, entry_term: u64, batch: &Batch) -> Applied {
        self.move_clock(entry_term, batch.stamp);
        self.clean_up();
        self.events.reserve(EVENTS_PER_COMMAND * batch.commands.len());
        let replies = batch.commands.iter().map(|command| self.run(entry_term, command)).collect();
        Applied { replies, events: std::mem::take(&mut self.events) }
    }
}
