//! Records by their names, files by theirs and peers by theirs: found by the name's bytes in one step.
//!
//! Invariant: every record is in it once. The tables are this process's own, with a secret of its own, and nothing that is replicated
//! depends on their order.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::slab::{Id, Slab};
use crate::hasher::Hasher;

/// Tables that grow by themselves: none of them is large enough for its growth to be felt.
const SHARDS: usize = 256;

/// A name in a table: the name itself is in its record.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u32,
    slot: Id,
}

impl Place {
    /// What tables sort by: hash tables need all bits of a hash to differ.
    fn spread(tag: u32) -> u64 {
        u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct NameIndex {
    hasher: Hasher,
    shards: Vec<HashTable<Place>>,
}

/// A record that is found by a name.
pub(super) trait Named {
    /// The name.
    fn name(&self) -> &str;
}

impl<T: Named> Named for std::sync::Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
}

impl Default for NameIndex {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { hasher: Hasher::default(), shards }
    }
}

impl NameIndex {
    fn locate(&self, name: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(name);
        ((hash >> 32) as usize % SHARDS, hash as u32)
    }

    /// The slot of a name in `records`.
    pub(super) fn get<T: Named>(&self, name: &str, records: &Slab<T>) -> Option<Id> {
        let (shard, tag) = self.locate(name);
        let is_it =
            |place: &Place| place.tag == tag && records.get(place.slot).is_some_and(|record| record.name() == name);
        self.shards[shard].find(Place::spread(tag), is_it).map(|place| place.slot)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: &str, slot: Id) {
        let (shard, tag) = self.locate(name);
        self.shards[shard].insert_unique(Place::spread(tag), Place { tag, slot }, |place| Place::spread(place.tag));
    }

    /// Removes a name and the slot it has, if it is there.
    pub(super) fn remove(&mut self, name: &str, slot: Id) {
        let (shard, tag) = self.locate(name);
        if let Ok(place) = self.shards[shard].find_entry(Place::spread(tag), |place| place.slot == slot) {
            place.remove();
        }
    }

    /// Whether every record is found by its name, and nothing else is in the tables.
    pub(super) fn is_consistent<T: Named>(&self, records: &Slab<T>) -> bool {
        let found = records.iter().all(|(slot, record)| self.get(record.name(), records) == Some(slot));
        found && self.shards.iter().map(HashTable::len).sum::<usize>() == records.len()
    }
}
