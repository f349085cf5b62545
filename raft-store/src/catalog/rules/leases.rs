//! Leases: how they are granted, how they end, and who may use one (L1–L4, L6).
//!
//! ```text
//!            acquire                       release, publish, expiry
//!   free ──────────────► leased ─────────────────────────────────────► offered to the next waiter ───────► free
//!                         │  ▲                                          │ claim                 (nobody waits)
//!          newer incarnation │                                          ▼
//!                         └──┘ new tokens                             leased
//! ```
//!
//! Invariant: a file has a lease, or a pending grant, or neither; with neither, nobody waits (L1). Fencing tokens come
//! from one counter, one step per grant (L2, D2). A lease past its deadline is over even before its clean-up: every
//! command first settles the name that it is about ([`Catalog::settled`]).

use crate::catalog::event::{Event, LeaseEnd, LineEnd};
use crate::catalog::records::{EndedLease, Lease};
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::{Grant, Reply};
use crate::catalog::state::{Catalog, Due};
use crate::catalog::tables::slab::Id;
use crate::types::{FileName, LeaseToken, PeerId};

/// Ended leases whose tokens a file remembers.
pub(in crate::catalog) const ENDED_LEASES_PER_FILE: usize = 8;

impl Catalog {
    /// The slot of a name. First ends the lease or the pending grant if its deadline has passed; the record may vanish
    /// with it (L6).
    pub(in crate::catalog) fn settled(&mut self, name: &FileName) -> Option<Id> {
        let file = self.file_id(name)?;
        let record = &self.files[file];
        let deadline = record.lease().map(|lease| lease.deadline).or(record.offer().map(|offer| offer.deadline));
        if deadline.is_some_and(|deadline| self.is_over(deadline)) {
            self.lapse(file);
            return self.file_id(name);
        }
        Some(file)
    }

    /// Ends the lease or the pending grant of a file, whose deadline has passed, and offers the lease to the next
    /// waiter.
    pub(in crate::catalog) fn lapse(&mut self, file: Id) {
        if self.files[file].lease().is_some() {
            self.end_lease(file, LeaseEnd::Expired);
        } else {
            self.withdraw_offer(file, LineEnd::PassedOver);
        }
        self.offer_next(file);
    }

    /// The peer that has the lease or may claim it.
    pub(in crate::catalog) fn claimant(&self, file: Id) -> Option<Id> {
        let record = &self.files[file];
        record.lease().map(|lease| lease.peer).or(record.offer().map(|offer| offer.peer))
    }

    /// The live lease, if the peer shows its token (F5). Incarnation and liveness do not matter.
    pub(in crate::catalog) fn authorize(
        &self,
        file: Id,
        peer: Id,
        token: Option<&LeaseToken>,
    ) -> Result<Lease, Rejection> {
        let record = &self.files[file];
        let Some(token) = token else { return Err(self.lease_required(file)) };
        if let Some(lease) = record.lease()
            && lease.peer == peer
            && lease.token == *token
        {
            return Ok(*lease);
        }
        match record.ended_under(token) {
            Some(_) => Err(self.lease_expired(Some(file), token)),
            None => Err(self.lease_required(file)),
        }
    }

    fn lease_expired(&self, file: Option<Id>, token: &LeaseToken) -> Rejection {
        Rejection::LeaseExpired {
            current_version: file.map_or(0, |file| self.files[file].version),
            holder: file.and_then(|file| self.claimant(file)).map(|peer| self.peer_id(peer)),
            fencing_token: file.and_then(|file| self.files[file].ended_under(token)),
        }
    }

    /// Grants a free lease.
    pub(in crate::catalog) fn grant(&mut self, file: Id, peer: Id, ttl_ms: u64, token: LeaseToken) -> Grant {
        // A peer that waited behind its own earlier incarnation now has what it waited for.
        self.take_place(file, peer);
        self.fencing_tokens += 1;
        let deadline = self.deadline_in(ttl_ms);
        let incarnation = self.peers[peer].incarnation;
        let lease = Lease { peer, incarnation, token, fencing_token: self.fencing_tokens, ttl_ms, deadline };
        self.files[file].contention.get_or_insert_default().lease = Some(lease);
        self.due.insert(deadline, Due::Lease(file));
        self.contended.insert(file);
        self.sets_mut(peer).leases.insert(file);
        self.totals.leases += 1;
        let grant = self.grant_of(file, &lease);
        self.emit(Event::LeaseGranted {
            file: grant.file.clone(),
            peer: self.peer_id(peer),
            fencing_token: lease.fencing_token,
            deadline: deadline.at,
        });
        grant
    }

    pub(in crate::catalog) fn grant_of(&self, file: Id, lease: &Lease) -> Grant {
        let record = &self.files[file];
        Grant {
            file: record.file_name(),
            token: lease.token,
            fencing_token: lease.fencing_token,
            ttl_ms: lease.ttl_ms,
            deadline: lease.deadline.at,
            version: record.version,
        }
    }

    /// Ends the lease. The caller must then grant it or offer it to the next waiter: nobody waits for a free file.
    pub(in crate::catalog) fn end_lease(&mut self, file: Id, cause: LeaseEnd) {
        let record = &mut self.files[file];
        let Some(lease) = record.contention.as_mut().and_then(|contention| contention.lease.take()) else { return };
        if record.ended.len() == ENDED_LEASES_PER_FILE {
            record.ended.remove(0);
        }
        record.ended.push(EndedLease { token: lease.token, fencing_token: lease.fencing_token });
        let name = record.file_name();
        self.due.remove(&lease.deadline);
        self.sets_mut(lease.peer).leases.remove(&file);
        self.totals.leases -= 1;
        let (peer, fencing_token) = (self.peer_id(lease.peer), lease.fencing_token);
        self.emit(Event::LeaseEnded { file: name, peer, fencing_token, cause });
    }

    /// The live lease of the peer under the token. With any other token the lease counts as over.
    pub(in crate::catalog) fn shown_lease(
        &mut self,
        peer: &PeerId,
        name: &FileName,
        token: &LeaseToken,
    ) -> Result<(Id, Lease), Rejection> {
        let peer = self.known(peer)?;
        let file = self.settled(name);
        let lease = file.and_then(|file| self.authorize(file, peer, Some(token)).ok());
        match (file, lease) {
            (Some(file), Some(lease)) => Ok((file, lease)),
            _ => Err(self.lease_expired(file, token)),
        }
    }

    /// A remembered grant as it is now: with the lease's current deadline, or refused if the lease has ended (X1).
    pub(in crate::catalog) fn refresh(&self, grant: Grant) -> Result<Reply, Rejection> {
        let file = self.file_id(&grant.file);
        let lease = file.and_then(|file| self.files[file].lease());
        if let Some(lease) = lease
            && lease.fencing_token == grant.fencing_token
            && !self.is_over(lease.deadline)
        {
            return Ok(Reply::Granted(Grant { deadline: lease.deadline.at, ..grant }));
        }
        let holder = lease.filter(|lease| !self.is_over(lease.deadline)).map(|lease| self.peer_id(lease.peer));
        Err(Rejection::LeaseExpired {
            current_version: file.map_or(0, |file| self.files[file].version),
            holder,
            fencing_token: Some(grant.fencing_token),
        })
    }
}
