//! The log clock, and the clean-up that time drives (T1, T2, D4).
//!
//! Invariant: only a stamp of the entry's own term moves the clock, and only forward. One entry cleans up a bounded
//! number of items, earliest deadline first. An item past its deadline counts as over even before its clean-up (see
//! `rules::leases`).

use super::command::Stamp;
use super::state::{Catalog, Due};

impl Catalog {
    /// Moves the clock to the stamp.
    pub(super) fn move_clock(&mut self, entry_term: u64, stamp: Option<Stamp>) {
        if let Some(stamp) = stamp.filter(|stamp| stamp.term == entry_term) {
            self.clock = self.clock.max(stamp.at);
        }
    }

    /// Ends what is past its deadline, in the order of deadlines; at most `cleanup_items` items in one entry (D4).
    pub(super) fn clean_up(&mut self) {
        for _ in 0..self.limits.cleanup_items {
            let Some((deadline, due)) = self.due.first_key_value() else { return };
            if !self.is_over(*deadline) {
                return;
            }
            match due.clone() {
                Due::Lease(file) | Due::Offer(file) => self.lapse(file),
                Due::Peer(peer) => self.forget_piece(peer),
                Due::OpaqueKey { owner, key } => self.forget_opaque_piece(&owner, &key),
                Due::Session { owner, session } => self.forget_session_piece(&owner, &session),
            }
        }
    }
}
