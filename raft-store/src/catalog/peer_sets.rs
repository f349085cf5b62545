//! The files that concern each peer: what it holds, refuses, waits for and has leased. All of it is derived: snapshots
//! neither contain nor copy it.
//!
//! Invariants
//! * `unnamed` are the holdings that were last stated before the peer's open listing began; without an open listing
//!   there are none. So completing a listing costs what it drops, however much it names.
//! * A cached digest is that of the current holdings: every change discards it. It is a function of the replicated
//!   state, so no result depends on which node has computed it, or when.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Catalog;
use super::tables::Id;
use super::tables::ids::Ids;
use crate::types::ContentHash;

/// With this many holdings a peer's digest is computed in advance, off the apply path. Fewer take a few milliseconds.
pub(super) const MANY_HOLDINGS: usize = 2_048;

/// The files that concern one peer, and where its idempotency keys are.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerSets {
    /// Files that it holds and has stated since its open listing began; without one, all that it holds.
    pub(super) named: Ids,
    /// Files that it holds and has not stated since.
    pub(super) unnamed: Ids,
    pub(super) refused: BTreeSet<Id>,
    /// Its tickets in wait queues by file, that of a pending grant included.
    pub(super) places: BTreeMap<Id, u64>,
    pub(super) leases: BTreeSet<Id>,
    /// The value of `Catalog::holding_changes` when its holdings last changed.
    pub(super) changed: u64,
    /// The digest of its holdings, if it was computed since.
    pub(super) digest: Option<ContentHash>,
    /// The slot of its idempotency keys, and [`super::keys::owners::Owners::forgotten`] when the slot was looked up.
    pub(super) keys: Option<(Id, u64)>,
}

/// Equal if the sets are; what is cached does not matter.
impl PartialEq for PeerSets {
    fn eq(&self, other: &Self) -> bool {
        let Self { named, unnamed, refused, places, leases, changed: _, digest: _, keys: _ } = self;
        (named, unnamed, refused) == (&other.named, &other.unnamed, &other.refused)
            && (places, leases) == (&other.places, &other.leases)
    }
}

impl PeerSets {
    pub(super) fn holdings(&self) -> impl Iterator<Item = Id> {
        self.named.iter().chain(self.unnamed.iter())
    }

    pub(super) fn holdings_count(&self) -> usize {
        self.named.len() + self.unnamed.len()
    }

    /// The holding with the lowest slot.
    pub(super) fn first_holding(&self) -> Option<Id> {
        self.named.iter().next().into_iter().chain(self.unnamed.iter().next()).min()
    }

    /// Up to `limit` holdings in slots from `from` on, in slot order.
    pub(super) fn holdings_from(&self, from: Id, limit: usize) -> Vec<Id> {
        let mut found: Vec<Id> = self.named.iter_from(from).take(limit).collect();
        found.extend(self.unnamed.iter_from(from).take(limit));
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Begins a listing: nothing is named yet. What an earlier listing left unnamed is treated like any other holding.
    pub(super) fn begin_listing(&mut self) {
        self.end_listing();
        self.unnamed = std::mem::take(&mut self.named);
    }

    /// Holdings that the open listing has not named, in slot order.
    pub(super) fn unnamed_holdings(&self) -> Vec<Id> {
        self.unnamed.iter().collect()
    }

    /// Voids the open listing: what it has not named is still held.
    pub(super) fn end_listing(&mut self) {
        if self.named.is_empty() {
            self.named = std::mem::take(&mut self.unnamed);
        } else {
            self.named.append(&mut self.unnamed);
        }
    }

    /// Adds a decoded holding.
    pub(super) fn restore(&mut self, file: Id, is_named: bool) {
        if is_named {
            self.named.insert(file);
        } else {
            self.unnamed.insert(file);
        }
    }

    pub(super) fn digest(&self) -> Option<ContentHash> {
        self.digest
    }
}

impl Catalog {
    pub(super) fn sets(&self, peer: Id) -> &PeerSets {
        &self.sets[peer as usize]
    }

    pub(super) fn sets_mut(&mut self, peer: Id) -> &mut PeerSets {
        &mut self.sets[peer as usize]
    }

    /// Empties the sets of a slot that a peer takes or leaves.
    pub(super) fn new_sets(&mut self, peer: Id) {
        let slots = self.sets.len().max(peer as usize + 1);
        self.sets.resize_with(slots, PeerSets::default);
        self.holding_changes += 1;
        self.sets[peer as usize] = PeerSets { changed: self.holding_changes, ..PeerSets::default() };
        self.undigested.remove(&peer);
    }

    /// Records that a peer states a holding. `changed`: it did not hold the file, or held another version.
    pub(super) fn state_holding(&mut self, peer: Id, file: Id, changed: bool) {
        let sets = self.sets_mut(peer);
        if changed || !sets.unnamed.is_empty() {
            sets.unnamed.remove(file);
            sets.named.insert(file);
        }
        if changed {
            self.holdings_changed(peer);
        }
    }

    pub(super) fn remove_holding(&mut self, peer: Id, file: Id) {
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

    /// Notes that a peer's digest should be computed in advance.
    pub(super) fn want_digest(&mut self, peer: Id) {
        let sets = self.sets(peer);
        if sets.digest.is_none() && sets.holdings_count() >= MANY_HOLDINGS {
            self.undigested.insert(peer);
        }
    }
}
