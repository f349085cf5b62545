//! Applying an entry: clock, clean-up, then the commands in order (T1, D1).
//!
//! Invariant: the result depends only on the entry and the state.

use super::command::{Batch, CommandId, EntryId};
use super::reply::Applied;
use super::state::Catalog;

/// Room for events, per command. Few commands cause more: a version ends a lease, or adds a holder.
const EVENTS_PER_COMMAND: usize = 2;

impl Catalog {
    /// Applies one log entry: moves the clock, ends what is over, then runs the commands in order.
    pub fn apply(&mut self, entry: EntryId, batch: &Batch) -> Applied {
        self.move_clock(entry.term, batch.stamp);
        self.clean_up();
        self.events.reserve(EVENTS_PER_COMMAND * batch.commands.len());
        let numbered = batch.commands.iter().zip(0..);
        let replies = numbered.map(|(command, position)| self.run(CommandId { entry, position }, command)).collect();
        Applied { replies, events: std::mem::take(&mut self.events) }
    }
}
