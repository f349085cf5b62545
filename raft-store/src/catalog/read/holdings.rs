//! The files that concern each peer, and the digest of what it holds (P2). All of it is derived: snapshots neither
//! contain nor copy it.
//!
//! Invariants
//! * `unnamed` are the holdings that were last stated before the peer's open listing began; without an open listing
//!   there are none. So a listing is completed at the cost of what it drops, however much it names.
//! * A digest that is kept is that of the holdings as they are: every change forgets it. It is a function of the
//!   replicated state, so it does not matter to any result which node has computed it already, or when.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::catalog::records::FileRecord;
use crate::catalog::state::Catalog;
use crate::catalog::tables::ids::Ids;
use crate::catalog::tables::slab::{Id, Slab};
use crate::types::{ContentHash, PeerId};

/// Holdings from which on a peer's digest is worth computing ahead, off the apply path: fewer take a few milliseconds.
pub(in crate::catalog) const MANY_HOLDINGS: usize = 2_048;

/// The files that concern one peer, and where its idempotency keys are.
#[derive(Debug, Clone, Default)]
pub(in crate::catalog) struct PeerSets {
    /// Files it holds and has stated since its open listing began, or holds at all without one.
    named: Ids,
    /// Files it holds and has not stated since.
    unnamed: Ids,
    pub(in crate::catalog) refused: BTreeSet<Id>,
    /// Its tickets by file, a pending grant's included.
    pub(in crate::catalog) places: BTreeMap<Id, u64>,
    pub(in crate::catalog) leases: BTreeSet<Id>,
    /// `Catalog::holding_changes` when its holdings changed last.
    changed: u64,
    /// The digest of its holdings, if it was asked for since.
    digest: Option<ContentHash>,
    /// Where its idempotency keys are, and [`crate::catalog::keys::owners::Owners::forgotten`] when that was looked up.
    pub(in crate::catalog) keys: Option<(Id, u64)>,
}

/// Equal if the sets are; when something was computed does not matter.
impl PartialEq for PeerSets {
    fn eq(&self, other: &Self) -> bool {
        let Self { named, unnamed, refused, places, leases, changed: _, digest: _, keys: _ } = self;
        (named, unnamed, refused) == (&other.named, &other.unnamed, &other.refused)
            && (places, leases) == (&other.places, &other.leases)
    }
}

impl PeerSets {
    pub(in crate::catalog) fn holdings(&self) -> impl Iterator<Item = Id> {
        self.named.iter().chain(self.unnamed.iter())
    }

    pub(in crate::catalog) fn holdings_count(&self) -> usize {
        self.named.len() + self.unnamed.len()
    }

    /// The holding with the lowest slot.
    pub(in crate::catalog) fn first_holding(&self) -> Option<Id> {
        self.named.iter().next().into_iter().chain(self.unnamed.iter().next()).min()
    }

    /// Up to `limit` holdings in slots from `from` on, in slot order.
    pub(in crate::catalog) fn holdings_from(&self, from: Id, limit: usize) -> Vec<Id> {
        let mut found: Vec<Id> = self.named.iter_from(from).take(limit).collect();
        found.extend(self.unnamed.iter_from(from).take(limit));
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// A listing begins: nothing is named yet. Whatever an earlier one left unnamed counts as any other holding.
    pub(in crate::catalog) fn begin_listing(&mut self) {
        self.end_listing();
        self.unnamed = std::mem::take(&mut self.named);
    }

    /// What the open listing has not named, in slot order.
    pub(in crate::catalog) fn unnamed_holdings(&self) -> Vec<Id> {
        self.unnamed.iter().collect()
    }

    /// The open listing is void: what it left unnamed is held all the same.
    pub(in crate::catalog) fn end_listing(&mut self) {
        if self.named.is_empty() {
            self.named = std::mem::take(&mut self.unnamed);
        } else {
            self.named.append(&mut self.unnamed);
        }
    }

    /// Puts a decoded holding in its place.
    pub(in crate::catalog) fn restore(&mut self, file: Id, is_named: bool) {
        if is_named {
            self.named.insert(file);
        } else {
            self.unnamed.insert(file);
        }
    }

    pub(in crate::catalog) fn digest(&self) -> Option<ContentHash> {
        self.digest
    }
}

/// A peer's holdings at one moment, for computing their digest while the catalog goes on.
#[derive(Debug)]
pub struct HoldingsImage {
    peer: Id,
    changed: u64,
    files: Slab<FileRecord>,
    holdings: Vec<Id>,
}

/// The digest of a peer's holdings, and which state of them it is of.
#[derive(Debug)]
pub struct HoldingsDigest {
    peer: Id,
    changed: u64,
    digest: ContentHash,
}

impl From<HoldingsDigest> for ContentHash {
    fn from(computed: HoldingsDigest) -> Self {
        computed.digest
    }
}

impl HoldingsImage {
    /// Computes the digest; some 100 ms for 100,000 holdings.
    pub fn digest(&self) -> HoldingsDigest {
        let digest = digest(&self.files, self.peer, self.holdings.iter().copied());
        HoldingsDigest { peer: self.peer, changed: self.changed, digest }
    }
}

impl Catalog {
    pub(in crate::catalog) fn sets(&self, peer: Id) -> &PeerSets {
        &self.sets[peer as usize]
    }

    pub(in crate::catalog) fn sets_mut(&mut self, peer: Id) -> &mut PeerSets {
        &mut self.sets[peer as usize]
    }

    /// Empty sets for a peer that takes this slot, or leaves it.
    pub(in crate::catalog) fn new_sets(&mut self, peer: Id) {
        let slots = self.sets.len().max(peer as usize + 1);
        self.sets.resize_with(slots, PeerSets::default);
        self.holding_changes += 1;
        self.sets[peer as usize] = PeerSets { changed: self.holding_changes, ..PeerSets::default() };
        self.undigested.remove(&peer);
    }

    /// A peer states that it holds a file; `changed`: it did not hold it, or another version of it.
    pub(in crate::catalog) fn state_holding(&mut self, peer: Id, file: Id, changed: bool) {
        let sets = self.sets_mut(peer);
        if changed || !sets.unnamed.is_empty() {
            sets.unnamed.remove(file);
            sets.named.insert(file);
        }
        if changed {
            self.holdings_changed(peer);
        }
    }

    pub(in crate::catalog) fn remove_holding(&mut self, peer: Id, file: Id) {
        let sets = self.sets_mut(peer);
        if !sets.named.remove(file) {
            sets.unnamed.remove(file);
        }
        self.holdings_changed(peer);
    }

    fn holdings_changed(&mut self, peer: Id) {
        self.holding_changes += 1;
        let changed = self.holding_changes;
        let sets = self.sets_mut(peer);
        sets.changed = changed;
        if sets.digest.take().is_some() {
            self.want_digest(peer);
        }
    }

    /// Notes that a digest is worth computing before somebody asks for it.
    pub(in crate::catalog) fn want_digest(&mut self, peer: Id) {
        let sets = self.sets(peer);
        if sets.digest.is_none() && sets.holdings_count() >= MANY_HOLDINGS {
            self.undigested.insert(peer);
        }
    }

    /// SHA-256 over the holdings sorted by name bytes, each `name NUL hash LF` (P2).
    pub(in crate::catalog) fn holdings_digest(&mut self, peer: Id) -> ContentHash {
        let sets = self.sets(peer);
        if let Some(known) = sets.digest {
            return known;
        }
        let digest = digest(&self.files, peer, sets.holdings());
        self.sets_mut(peer).digest = Some(digest);
        self.undigested.remove(&peer);
        digest
    }

    /// The digest of a peer's holdings, computed anew; what a kept one has to equal.
    pub(in crate::catalog) fn fresh_digest(&self, peer: Id) -> ContentHash {
        digest(&self.files, peer, self.sets(peer).holdings())
    }

    /// Peers with many holdings of which the digest is not known, and a number that changes with
    /// their holdings; at most `limit` of them.
    pub fn undigested(&self, limit: usize) -> Vec<(PeerId, u64)> {
        self.undigested.iter().take(limit).map(|peer| (self.peer_id(*peer), self.sets(*peer).changed)).collect()
    }

    /// A peer's holdings as they are now; `None` if there are few, or their digest is known. Costs less than a
    /// millisecond and shares the records with the catalog.
    pub fn holdings_image(&self, peer: &PeerId) -> Option<HoldingsImage> {
        let peer = self.peer_slot(peer)?;
        let sets = self.sets(peer);
        if sets.digest.is_some() || sets.holdings_count() < MANY_HOLDINGS {
            return None;
        }
        let (changed, holdings) = (sets.changed, sets.holdings().collect());
        Some(HoldingsImage { peer, changed, files: self.files.clone(), holdings })
    }

    /// Keeps a digest that was computed from an image of this catalog, unless the holdings have changed since.
    pub fn keep_digest(&mut self, computed: &HoldingsDigest) {
        let HoldingsDigest { peer, changed, digest } = *computed;
        if let Some(sets) = self.sets.get_mut(peer as usize).filter(|sets| sets.changed == changed) {
            sets.digest = Some(digest);
            self.undigested.remove(&peer);
        }
    }
}

fn digest(files: &Slab<FileRecord>, peer: Id, holdings: impl Iterator<Item = Id>) -> ContentHash {
    let line = |file: Id| {
        let record = &files[file];
        let holder = record.holders[record.holder(peer).ok()?];
        Some((&*record.name, record.hash_of(holder.version)?))
    };
    let mut lines: Vec<(&str, ContentHash)> = holdings.filter_map(line).collect();
    lines.sort_unstable_by_key(|(name, _)| *name);
    let mut sha = Sha256::new();
    let mut text = Vec::new();
    for (name, hash) in lines {
        text.clear();
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        text.extend(hash.0.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]));
        text.push(b'\n');
        sha.update(&text);
    }
    ContentHash(sha.finalize().into())
}

fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Announce, Batch, Command, Holding, Listing, ListingState, Op, Reply, check, tests::fixtures};
    use crate::types::FileName;

    fn holding(n: usize) -> Holding {
        let name = FileName::parse(format!("f{n}")).expect("valid");
        Holding { name, version: Some(1), size: Some(1), hash: ContentHash([n as u8; 32]) }
    }

    fn apply(catalog: &mut Catalog, op: Op) -> Reply {
        let applied = catalog.apply(1, &Batch { stamp: None, commands: vec![Command { key: None, op }] });
        applied.replies[0].result.clone().expect("not refused")
    }

    fn peer() -> PeerId {
        fixtures::peer("p")
    }

    fn register(listing: Listing) -> Op {
        fixtures::register("p", listing)
    }

    fn announce(n: usize) -> Op {
        Op::Announce(Announce { peer: peer(), holding: holding(n), token: None, keep_lease: false })
    }

    #[test]
    fn a_digest_computed_ahead_is_kept_until_the_holdings_change() {
        let mut catalog = Catalog::default();
        apply(&mut catalog, register(Listing::Whole((0..MANY_HOLDINGS).map(holding).collect())));
        let wanted = catalog.undigested(10);
        assert_eq!(wanted.len(), 1, "a complete listing is likely to be repeated as a digest");
        let image = catalog.holdings_image(&peer()).expect("many holdings");
        let late = catalog.holdings_image(&peer()).expect("many holdings");
        let computed = image.digest();
        catalog.keep_digest(&computed);
        assert!(catalog.undigested(10).is_empty() && catalog.holdings_image(&peer()).is_none());
        check(&catalog).expect("the digest kept is the one of the holdings");
        let digest = computed.digest;
        let reply = apply(&mut catalog, register(Listing::Unchanged { digest, count: None }));
        assert!(matches!(reply, Reply::Registered { listing: ListingState::Unchanged, .. }));

        apply(&mut catalog, announce(MANY_HOLDINGS));
        assert_ne!(catalog.undigested(10), wanted, "it is wanted again, for other holdings");
        catalog.keep_digest(&late.digest());
        assert_eq!(catalog.undigested(10).len(), 1, "a digest of what was before is not kept");
        let reply = apply(&mut catalog, register(Listing::Unchanged { digest, count: None }));
        assert!(matches!(reply, Reply::Registered { listing: ListingState::Wanted, .. }));
        check(&catalog).expect("nothing stale was kept");
    }

    #[test]
    fn holdings_are_walked_in_steps() {
        let mut catalog = Catalog::default();
        apply(&mut catalog, register(Listing::Whole((0..10).map(holding).collect())));
        let page = Listing::Page { id: "l".into(), last: false, files: (5..7).map(holding).collect() };
        apply(&mut catalog, register(page));
        let sets = catalog.sets(0);
        assert_eq!((sets.named.len(), sets.unnamed.len()), (2, 8));
        assert_eq!(sets.holdings_from(0, 4), [0, 1, 2, 3]);
        assert_eq!(sets.holdings_from(4, 4), [4, 5, 6, 7]);
        assert_eq!(sets.holdings_from(8, 4), [8, 9]);
        assert_eq!(sets.first_holding(), Some(0));
        check(&catalog).expect("an open listing is in its invariants");
    }
}
