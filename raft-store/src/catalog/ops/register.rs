//! `Register`: a peer says where it is and states everything that it holds: at once, in pages, or by a digest (P1, P2).
//!
//! Invariant: when a listing is complete, the peer's holdings are those it named, and those it announced since the
//! first page. A holding that was named but contradicts the catalog is reported and not kept: its bytes are not that
//! version's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::command::Holding;
use crate::catalog::records::{OpenListing, PeerRecord};
use crate::catalog::rules::Stated;
use crate::catalog::state::By;
use crate::catalog::tables::Id;
use crate::catalog::{Catalog, CommandId, Conflict, Event, ListingState, Rejection, Reply};
use crate::types::{ContentHash, PeerId};

/// Ids of complete or void listings that a peer's record remembers.
const CLOSED_LISTINGS_PER_PEER: usize = 4;

/// A registration (P1, P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Who registers.
    pub peer: PeerId,
    /// Base URL of the peer's HTTP server.
    pub address: String,
    /// Failure zone, for spreading copies.
    pub zone: Option<String>,
    /// How many bytes the peer is willing to hold.
    pub capacity_bytes: Option<u64>,
    /// False for a peer that only writes and serves no files. Such a peer is known but not live.
    pub serving: bool,
    /// What it holds.
    pub listing: Listing,
}

/// The forms in which a registration states the peer's holdings (P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// Everything in one request.
    Whole(Vec<Holding>),
    /// One page of several.
    Page {
        /// The listing's id. An id other than that of the open listing starts a new one.
        id: String,
        /// Whether this page completes the listing.
        last: bool,
        /// This page's holdings.
        files: Vec<Holding>,
    },
    /// Nothing has changed since the last complete listing; a digest over the holdings proves it.
    Unchanged {
        /// SHA-256 over the holdings sorted by name bytes, each `name NUL hash-hex LF`.
        digest: ContentHash,
        /// Number of holdings, if sent.
        count: Option<u64>,
    },
}

impl Operation for Register {
    /// A registration sets the peer's liveness itself.
    const IS_SIGN_OF_LIFE: bool = false;

    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        match &self.listing {
            Listing::Whole(files) => {
                let peer = catalog.incarnate(self);
                catalog.close_listing(peer);
                catalog.sets_mut(peer).begin_listing();
                let conflicts = catalog.take_in(By { slot: peer, id: &self.peer }, files);
                catalog.complete(peer);
                Ok(catalog.registered(peer, ListingState::Accepted, conflicts))
            }
            Listing::Page { id, last, files } => Ok(catalog.register_page(self, id, *last, files)),
            Listing::Unchanged { digest, count } => {
                let peer = catalog.incarnate(self);
                catalog.close_listing(peer);
                let held = catalog.sets(peer).holdings_count() as u64;
                let count_differs = count.is_some_and(|count| count != held);
                if count_differs || catalog.holdings_digest(peer) != *digest {
                    return Ok(catalog.registered(peer, ListingState::Wanted, Vec::new()));
                }
                catalog.emit(Event::PeerListed { peer: self.peer.clone() });
                Ok(catalog.registered(peer, ListingState::Unchanged, Vec::new()))
            }
        }
    }
}

/// Which listing a page belongs to.
enum PageOf {
    /// A new listing; this is its first page.
    New,
    /// The open listing.
    Open(Id),
    /// A listing that is complete or void; the page is late.
    Closed(Id),
}

impl Catalog {
    /// Records what a registration says about the peer itself, and begins a new incarnation (P1).
    fn incarnate(&mut self, register: &Register) -> Id {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let peer = self.peer_slot(&register.peer).unwrap_or_else(|| self.new_peer(register));
        self.peers[peer].incarnation = incarnation;
        self.describe(peer, register);
        self.set_live(peer, register.serving);
        self.emit(Event::PeerRegistered { peer: register.peer.clone(), incarnation, live: register.serving });
        peer
    }

    fn new_peer(&mut self, register: &Register) -> Id {
        let peer = self.peers.insert(PeerRecord {
            id: register.peer.clone(),
            address: Arc::default(),
            zone: None,
            capacity_bytes: None,
            incarnation: 0,
            forget_at: None,
            listing: None,
            closed_listings: Default::default(),
        });
        self.new_sets(peer);
        self.peer_ids.insert(register.peer.as_str(), peer);
        self.totals.peers_live += 1;
        peer
    }

    /// Sets address, zone and capacity as the newest request states them.
    fn describe(&mut self, peer: Id, register: &Register) {
        let record = &mut self.peers[peer];
        if *record.address != *register.address {
            record.address = register.address.as_str().into();
        }
        record.zone.clone_from(&register.zone);
        record.capacity_bytes = register.capacity_bytes;
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

    /// A page is a sign of life, even if the peer expired between two pages.
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

    /// Moves the open listing's id to the closed ones; false if no listing is open.
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

    /// Completes the listing: drops the holdings that nothing has stated since it began. Costs only what is dropped.
    fn complete(&mut self, peer: Id) {
        self.retire_listing(peer);
        for file in self.sets(peer).unnamed_holdings() {
            self.drop_holder(file, peer, false);
        }
        self.want_digest(peer);
        self.emit(Event::PeerListed { peer: self.peer_id(peer) });
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: register doc=x@2/100 zone=z`, `P: page LISTING doc=x [last]`, `P: unchanged doc=x`; holdings are
    /// `NAME=BYTES[@VERSION][/SIZE]`.
    impl Exercised for Register {
        const WORDS: &[&str] = &["register", "page", "unchanged"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let peer = arguments.peer()?;
            let address = arguments.text("address").map_or(format!("http://{peer}"), str::to_owned);
            let zone = arguments.text("zone").map(str::to_owned);
            let capacity_bytes = arguments.number("capacity")?;
            let serving = arguments.text("serving") != Some("false");
            let listing = match arguments.word() {
                "register" => Listing::Whole(arguments.holdings()?),
                "page" => {
                    let (id, last) = (arguments.next()?.to_owned(), arguments.flag("last")?);
                    Listing::Page { id, last, files: arguments.holdings()? }
                }
                _ => {
                    let count = arguments.number("count")?;
                    Listing::Unchanged { digest: digest(arguments.holdings()?), count }
                }
            };
            Ok(Register { peer, address, zone, capacity_bytes, serving, listing })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let register = |(peer, listing, serving)| {
                let (address, zone) = (format!("http://{peer}"), None);
                Register { peer, address, zone, capacity_bytes: None, serving, listing }
            };
            (2, (any_peer(), any_listing(), weighted(0.9)).prop_map(register).boxed())
        }

        fn samples() -> Vec<Self> {
            let register = |id, listing| {
                let (address, zone, capacity_bytes) = (format!("http://p{id}"), Some("z".into()), Some(300));
                Register { peer: peer(id), address, zone, capacity_bytes, serving: id != 3, listing }
            };
            let whole = vec![holding(1, None, Some(200), 1), holding(2, Some(1), None, 2)];
            let page = Listing::Page { id: "l".into(), last: false, files: vec![holding(3, None, None, 3)] };
            let unchanged = Listing::Unchanged { digest: hash(7), count: Some(2) };
            vec![register(1, Listing::Whole(whole)), register(2, page), register(3, unchanged)]
        }
    }

    fn any_listing() -> impl Strategy<Value = Listing> {
        let files = || vec(any_holding(), 0..4);
        prop_oneof![
            files().prop_map(Listing::Whole),
            (0..3u8, any::<bool>(), files()).prop_map(|(id, last, files)| Listing::Page {
                id: format!("l{id}"),
                last,
                files
            }),
            (0..2u8, option::of(0..3u64))
                .prop_map(|(digest, count)| Listing::Unchanged { digest: hash(digest), count }),
        ]
    }

    /// P2's digest, computed from what the script states; independent of the catalog's own.
    fn digest(mut holdings: Vec<Holding>) -> ContentHash {
        holdings.sort_by(|a, b| a.name.as_str().as_bytes().cmp(b.name.as_str().as_bytes()));
        let lines: String = holdings.iter().map(|holding| format!("{}\0{}\n", holding.name, holding.hash)).collect();
        hash_of(&lines)
    }
}
