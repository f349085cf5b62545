//! The log clock, and the clean-up that time drives (T1, T2, D4).
//!
//! Invariant: only stamps of the entry's own term move the clock, and never back. One entry cleans up a bounded number
//! of items, earliest deadline first; items that it does not reach count as over all the same (see `leases`).

use super::command::Stamp;
use super::state::{Catalog, Due};

impl Catalog {
    pub(super) fn move_clock(&mut self, entry_term: u64, stamp: Option<Stamp>) {
        if let Some(stamp) = stamp.filter(|stamp| stamp.term == entry_term) {
            self.clock = self.clock.max(stamp.at);
        }
    }

    /// Ends at most a bounded number of the things whose time is over, in (deadline, position) order.
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
