//! Registrations: how a peer states everything it holds, whole, in pages, or by a digest (P2).
//!
//! Invariant: when a listing is complete, the peer's holdings are those it named, and those it
//! announced since the first page. A holding that was named but contradicts the catalog is reported and
//! not kept: its bytes are not that version's.

use crate::catalog::command::{Holding, Listing, Register};
use crate::catalog::records::OpenListing;
use crate::catalog::reply::{Conflict, Event, ListingState, Rejection, Reply};
use crate::catalog::rules::holding::Stated;
use crate::catalog::state::{By, Catalog};
use crate::catalog::tables::slab::Id;

/// Ids of complete and void listings that a peer's record remembers.
const CLOSED_LISTINGS_PER_PEER: usize = 4;

/// What a page is to the catalog.
enum PageOf {
    /// The first of a new listing.
    New,
    /// Another of the open one.
    Open(Id),
    /// A late one of a listing that is complete or void.
    Closed(Id),
}

impl Catalog {
    /// `Register`.
    pub(in crate::catalog) fn register(&mut self, register: &Register) -> Result<Reply, Rejection> {
        match &register.listing {
            Listing::Whole(files) => {
                let peer = self.incarnate(register);
                self.close_listing(peer);
                self.sets_mut(peer).begin_listing();
                let conflicts = self.take_in(By { slot: peer, id: &register.peer }, files);
                self.complete(peer);
                Ok(self.registered(peer, ListingState::Accepted, conflicts))
            }
            Listing::Page { id, last, files } => Ok(self.register_page(register, id, *last, files)),
            Listing::Unchanged { digest, count } => {
                let peer = self.incarnate(register);
                self.close_listing(peer);
                let held = self.sets(peer).holdings_count() as u64;
                let count_differs = count.is_some_and(|count| count != held);
                if count_differs || self.holdings_digest(peer) != *digest {
                    return Ok(self.registered(peer, ListingState::Wanted, Vec::new()));
                }
                self.emit(Event::PeerListed { peer: register.peer.clone() });
                Ok(self.registered(peer, ListingState::Unchanged, Vec::new()))
            }
        }
    }

    fn registered(&self, peer: Id, listing: ListingState, conflicts: Vec<Conflict>) -> Reply {
        Reply::Registered { incarnation: self.peers[peer].incarnation, listing, conflicts }
    }

    fn register_page(&mut self, register: &Register, id: &str, last: bool, files: &[Holding]) -> Reply {
        let peer = match self.page_of(register, id) {
            PageOf::Closed(peer) => return self.registered(peer, ListingState::Wanted, Vec::new()),
            PageOf::Open(peer) => {
                self.describe(peer, register);
                self.refresh_liveness(peer, register.serving);
                peer
            }
            PageOf::New => {
                let peer = self.incarnate(register);
                self.close_listing(peer);
                let (id, started) = (id.to_owned(), self.sequence);
                self.peers[peer].listing = Some(OpenListing { id, started, deleted: Default::default() });
                self.sets_mut(peer).begin_listing();
                peer
            }
        };
        let conflicts = self.take_in(By { slot: peer, id: &register.peer }, files);
        if last {
            self.complete(peer);
        }
        self.registered(peer, ListingState::Accepted, conflicts)
    }

    /// An open listing belongs to the peer's current incarnation: every new one closes it.
    fn page_of(&self, register: &Register, id: &str) -> PageOf {
        let Some(peer) = self.peer_slot(&register.peer) else { return PageOf::New };
        let record = &self.peers[peer];
        if record.listing.as_ref().is_some_and(|listing| listing.id == id) {
            PageOf::Open(peer)
        } else if record.closed_listings.iter().any(|closed| closed == id) {
            PageOf::Closed(peer)
        } else {
            PageOf::New
        }
    }

    /// A page is a sign of life even if the peer expired between two pages.
    fn refresh_liveness(&mut self, peer: Id, live: bool) {
        if self.peers[peer].is_live() != live {
            self.set_live(peer, live);
            let record = &self.peers[peer];
            let event = Event::PeerRegistered { peer: record.id.clone(), incarnation: record.incarnation, live };
            self.emit(event);
        }
    }

    /// Voids the open listing, if there is one.
    fn close_listing(&mut self, peer: Id) {
        if self.retire_listing(peer) {
            self.sets_mut(peer).end_listing();
        }
    }

    /// Takes the open listing's id among those that are over.
    fn retire_listing(&mut self, peer: Id) -> bool {
        let record = &mut self.peers[peer];
        let Some(listing) = record.listing.take() else { return false };
        if record.closed_listings.len() == CLOSED_LISTINGS_PER_PEER {
            record.closed_listings.pop_front();
        }
        record.closed_listings.push_back(listing.id);
        true
    }

    fn take_in(&mut self, by: By<'_>, files: &[Holding]) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for holding in files {
            let deleted = |listing: &OpenListing| listing.deleted.contains(holding.name.as_str());
            if self.peers[by.slot].listing.as_ref().is_some_and(deleted) {
                continue;
            }
            if self.hold(by, holding, Stated::Listed).is_err() {
                let (current_version, hash) = self.current(&holding.name);
                conflicts.push(Conflict { name: holding.name.clone(), current_version, hash });
            }
        }
        conflicts
    }

    /// Drops the holdings that nothing has stated since the listing began. Costs what is dropped, not what is held.
    fn complete(&mut self, peer: Id) {
        self.retire_listing(peer);
        for file in self.sets(peer).unnamed_holdings() {
            self.drop_holder(file, peer, false);
        }
        self.want_digest(peer);
        self.emit(Event::PeerListed { peer: self.peer_id(peer) });
    }
}
