//! The wait queue of a lease; callers know it as the line (L5).
//!
//! Invariant: a peer has at most one place per file, and a pending grant is a place. Tickets ascend along the queue.
//! While a grant is pending, only the offered peer gets the lease.

use crate::catalog::event::{Event, LineEnd};
use crate::catalog::records::{Offer, Waiter};
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::Reply;
use crate::catalog::state::{Catalog, Deadline, Due};
use crate::catalog::tables::slab::Id;
use crate::types::limits;

impl Catalog {
    /// The answer while another peer has the lease or a pending grant. A peer that wants to wait joins at the tail, or
    /// keeps its place.
    pub(in crate::catalog) fn deny(
        &mut self,
        file: Id,
        peer: Id,
        holder: Id,
        deadline: Deadline,
        wait: bool,
    ) -> Result<Reply, Rejection> {
        let position = if wait { Some(self.enqueue(file, peer)?) } else { None };
        Ok(Reply::Denied { holder: self.peer_id(holder), deadline: deadline.at, position })
    }

    fn enqueue(&mut self, file: Id, peer: Id) -> Result<u64, Rejection> {
        if !self.sets(peer).places.contains_key(&file) {
            self.join(file, peer)?;
        }
        Ok(self.position(file, peer).unwrap_or(0))
    }

    fn join(&mut self, file: Id, peer: Id) -> Result<(), Rejection> {
        let line_length = self.limits.line_length as usize;
        let record = &mut self.files[file];
        let contention = record.contention.get_or_insert_default();
        if contention.queue.len() >= line_length {
            return Err(Rejection::Overloaded { what: format!("{line_length} peers wait for this file already") });
        }
        self.tickets += 1;
        let ticket = self.tickets;
        contention.queue.push_back(Waiter { peer, ticket });
        let name = record.file_name();
        self.sets_mut(peer).places.insert(file, ticket);
        self.totals.waiting += 1;
        let peer = self.peer_id(peer);
        self.emit(Event::LineJoined { file: name, peer, ticket });
        Ok(())
    }

    /// A waiter's position, 1 = next; `None` if it does not wait, or its grant is pending.
    pub(in crate::catalog) fn position(&self, file: Id, peer: Id) -> Option<u64> {
        let ticket = *self.sets(peer).places.get(&file)?;
        let queue = &self.files[file].contention.as_ref()?.queue;
        let index = queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()?;
        Some(index as u64 + 1)
    }

    /// Offers an ended lease to the next waiter. If nobody waits, the name is free.
    pub(in crate::catalog) fn offer_next(&mut self, file: Id) {
        let next = self.files[file].contention.as_mut().and_then(|contention| contention.queue.pop_front());
        let Some(Waiter { peer, ticket }) = next else {
            self.files[file].contention = None;
            self.contended.remove(&file);
            self.remove_if_vacant(file);
            return;
        };
        let deadline = self.deadline_in(limits::CLAIM_WINDOW_MS);
        let record = &mut self.files[file];
        record.contention.get_or_insert_default().offer = Some(Offer { peer, ticket, deadline });
        let name = record.file_name();
        self.due.insert(deadline, Due::Offer(file));
        self.contended.insert(file);
        let peer = self.peer_id(peer);
        self.emit(Event::LeaseOffered { file: name, peer, deadline: deadline.at });
    }

    /// Removes the pending grant. The caller must then grant the lease, or offer it to the next waiter.
    pub(in crate::catalog) fn take_offer(&mut self, file: Id) -> Option<Offer> {
        let offer = self.files[file].contention.as_mut()?.offer.take()?;
        self.due.remove(&offer.deadline);
        self.sets_mut(offer.peer).places.remove(&file);
        self.totals.waiting -= 1;
        Some(offer)
    }

    pub(in crate::catalog) fn withdraw_offer(&mut self, file: Id, cause: LineEnd) {
        if let Some(offer) = self.take_offer(file) {
            let event = Event::LineLeft { file: self.files[file].file_name(), peer: self.peer_id(offer.peer), cause };
            self.emit(event);
        }
    }

    /// Removes a peer from the wait queue, if it is in it.
    pub(in crate::catalog) fn take_place(&mut self, file: Id, peer: Id) -> bool {
        let Some(ticket) = self.sets(peer).places.get(&file).copied() else { return false };
        let Some(contention) = &mut self.files[file].contention else { return false };
        let Ok(index) = contention.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket) else { return false };
        contention.queue.remove(index);
        self.sets_mut(peer).places.remove(&file);
        self.totals.waiting -= 1;
        true
    }

    /// Gives up a place or a pending grant; does nothing without one.
    pub(in crate::catalog) fn leave_queue(&mut self, file: Id, peer: Id, cause: LineEnd) {
        if self.files[file].offer().is_some_and(|offer| offer.peer == peer) {
            self.withdraw_offer(file, cause);
            self.offer_next(file);
        } else if self.take_place(file, peer) {
            let event = Event::LineLeft { file: self.files[file].file_name(), peer: self.peer_id(peer), cause };
            self.emit(event);
        }
    }
}
