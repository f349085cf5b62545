//! Peers: liveness and forgetting (P3, P5).
//!
//! Invariant: a peer is live exactly while no deadline is set to forget it, so expiry changes one field, at constant
//! cost. Forgetting removes everything that names the peer, a bounded piece at a time, and then the record itself.

use crate::catalog::event::{Event, LeaseEnd, LineEnd};
use crate::catalog::state::{Catalog, Due};
use crate::catalog::tables::slab::Id;
use crate::types::{PeerId, limits};

/// A sign of life postpones the end of a peer's retention only if that gains this much log time, in milliseconds.
/// Otherwise a peer that only writes would change the table of deadlines with each of its commands.
const RETENTION_STEP_MS: u64 = 60 * 1_000;

impl Catalog {
    /// Sets liveness, at constant cost (P5). A peer that is not live has a deadline at which it is forgotten.
    pub(in crate::catalog) fn set_live(&mut self, peer: Id, live: bool) {
        let before = self.peers[peer].forget_at.take();
        if let Some(deadline) = before {
            self.due.remove(&deadline);
        }
        self.totals.peers_live -= u64::from(before.is_none());
        self.totals.peers_live += u64::from(live);
        if !live {
            let deadline = self.deadline_in(limits::PEER_RETENTION_MS);
            self.peers[peer].forget_at = Some(deadline);
            self.due.insert(deadline, Due::Peer(peer));
        }
    }

    /// Keeps the record of a peer that is not live but still sends commands.
    pub(in crate::catalog) fn sign_of_life(&mut self, peer: &PeerId) {
        let Some(peer) = self.peer_slot(peer) else { return };
        let newest = self.clock.saturating_add(limits::PEER_RETENTION_MS);
        if self.peers[peer].forget_at.is_some_and(|deadline| deadline.at.saturating_add(RETENTION_STEP_MS) <= newest) {
            self.set_live(peer, false);
        }
    }

    /// Forgets one thing about a peer whose retention is over: a holding, a refusal, a place, a lease, or finally the
    /// record.
    pub(in crate::catalog) fn forget_piece(&mut self, peer: Id) {
        let sets = self.sets(peer);
        if let Some(file) = sets.first_holding() {
            self.drop_holder(file, peer, false);
        } else if let Some(file) = sets.refused.first().copied() {
            self.forget_refusal(file, peer);
        } else if let Some((file, _)) = sets.places.first_key_value().map(|(file, ticket)| (*file, *ticket)) {
            self.leave_queue(file, peer, LineEnd::Forgotten);
        } else if let Some(file) = sets.leases.first().copied() {
            // Leases are shorter than the retention, so this one has ended; its own deadline has passed.
            self.end_lease(file, LeaseEnd::Expired);
            self.offer_next(file);
        } else if let Some(record) = self.peers.remove(peer) {
            if let Some(deadline) = record.forget_at {
                self.due.remove(&deadline);
            }
            self.peer_ids.remove(record.id.as_str(), peer);
            self.new_sets(peer);
            self.emit(Event::PeerForgotten { peer: record.id });
        }
    }
}
