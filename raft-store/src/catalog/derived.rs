//! Builds everything that is derived from the stored records: indexes, deadlines, peers' sets and totals.
//!
//! Invariant: it is a function of the stored records. `check::invariants` compares what applying kept up to date with
//! what this builds anew.

use std::collections::BTreeMap;

use super::records::FileRecord;
use super::state::{Catalog, Due};

impl Catalog {
    /// Builds everything that is derived. The stored tables must be valid.
    pub(super) fn with_indexes(mut self) -> Self {
        let (files, peers) = (self.files.clone(), self.peers.clone());
        let mut listing_since = BTreeMap::new();
        for (id, peer) in peers.iter() {
            self.new_sets(id);
            self.peer_ids.insert(peer.id.as_str(), id);
            match peer.forget_at {
                Some(deadline) => drop(self.due.insert(deadline, Due::Peer(id))),
                None => self.totals.peers_live += 1,
            }
            if let Some(listing) = &peer.listing {
                listing_since.insert(id, listing.started);
            }
        }
        for (id, file) in files.iter() {
            self.names.insert(&file.name, id);
            if file.hash.is_some() {
                self.totals.files += 1;
                self.totals.bytes += u128::from(file.size.unwrap_or(0));
            }
            self.totals.records += u64::from(file.is_record());
            self.totals.tombstones += u64::from(file.is_tombstone());
            for holder in &file.holders {
                let is_named = listing_since.get(&holder.peer).is_none_or(|started| holder.touched >= *started);
                self.sets_mut(holder.peer).restore(id, is_named);
            }
            file.refused.iter().for_each(|peer| {
                self.sets_mut(*peer).refused.insert(id);
            });
            self.index_contention(id, file);
        }
        peers.iter().for_each(|(id, _)| self.want_digest(id));
        self.index_answers();
        self
    }

    fn index_contention(&mut self, id: u32, file: &FileRecord) {
        let Some(contention) = &file.contention else { return };
        self.contended.insert(id);
        if let Some(lease) = &contention.lease {
            self.due.insert(lease.deadline, Due::Lease(id));
            self.sets_mut(lease.peer).leases.insert(id);
            self.totals.leases += 1;
        }
        if let Some(offer) = &contention.offer {
            self.due.insert(offer.deadline, Due::Offer(id));
            self.sets_mut(offer.peer).places.insert(id, offer.ticket);
            self.totals.waiting += 1;
        }
        for waiter in &contention.queue {
            self.sets_mut(waiter.peer).places.insert(id, waiter.ticket);
            self.totals.waiting += 1;
        }
    }

    fn index_answers(&mut self) {
        self.answers = std::mem::take(&mut self.answers).with_indexes();
        for (owner, keys) in self.answers.owners.iter() {
            for (session, known) in keys.sessions.iter() {
                self.due.insert(known.due, Due::Session { owner: owner.clone(), session: session.clone() });
            }
            for (key, known) in keys.opaque.iter() {
                self.due.insert(known.due, Due::OpaqueKey { owner: owner.clone(), key: key.clone() });
            }
        }
    }
}
