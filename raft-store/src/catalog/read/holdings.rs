//! The digest of what a peer holds (P2), computed on the apply path for few holdings and off it for many.
//!
//! Invariant: a digest computed off the apply path is kept only if the holdings have not changed since.

use sha2::{Digest, Sha256};

use crate::catalog::peer_sets::MANY_HOLDINGS;
use crate::catalog::records::FileRecord;
use crate::catalog::state::Catalog;
use crate::catalog::tables::slab::{Id, Slab};
use crate::types::{ContentHash, PeerId};

/// A peer's holdings at one moment, so that their digest can be computed while the catalog goes on.
#[derive(Debug)]
pub struct HoldingsImage {
    peer: Id,
    changed: u64,
    files: Slab<FileRecord>,
    holdings: Vec<Id>,
}

/// The digest of a peer's holdings, and the state of the holdings that it belongs to.
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
    /// Computes the digest: about 100 ms for 100,000 holdings.
    pub fn digest(&self) -> HoldingsDigest {
        let digest = digest(&self.files, self.peer, self.holdings.iter().copied());
        HoldingsDigest { peer: self.peer, changed: self.changed, digest }
    }
}

impl Catalog {
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

    /// The digest of a peer's holdings, computed anew. A cached one has to equal it.
    pub(in crate::catalog) fn fresh_digest(&self, peer: Id) -> ContentHash {
        digest(&self.files, peer, self.sets(peer).holdings())
    }

    /// Up to `limit` peers with many holdings whose digest is not known, each with a number that changes whenever its
    /// holdings do.
    pub fn undigested(&self, limit: usize) -> Vec<(PeerId, u64)> {
        self.undigested.iter().take(limit).map(|peer| (self.peer_id(*peer), self.sets(*peer).changed)).collect()
    }

    /// A peer's current holdings; `None` if there are few, or their digest is known. Takes less than a millisecond and
    /// shares the records with the catalog.
    pub fn holdings_image(&self, peer: &PeerId) -> Option<HoldingsImage> {
        let peer = self.peer_slot(peer)?;
        let sets = self.sets(peer);
        if sets.digest.is_some() || sets.holdings_count() < MANY_HOLDINGS {
            return None;
        }
        let (changed, holdings) = (sets.changed, sets.holdings().collect());
        Some(HoldingsImage { peer, changed, files: self.files.clone(), holdings })
    }

    /// Caches a digest that was computed from an image of this catalog, unless the holdings have changed since.
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
        let applied =
            catalog.apply(fixtures::entry(1), &Batch { stamp: None, commands: vec![Command { key: None, op }] });
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
        check(&catalog).expect("the cached digest is that of the holdings");
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
