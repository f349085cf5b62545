//! Where each name is: found by its bytes in one step.
//!
//! Invariant: every name of the blocks is in one table, with its slot there. Hashing has a secret of this process, so that nobody can
//! choose names that collide.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, VacantEntry};
use raft_store::hasher::Hasher;
use raft_store::types::FileName;

use super::blocks::{Blocks, Slot};

/// Tables that grow by themselves: none of them is large enough for its growth to be felt.
const SHARDS: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u32,
    slot: Slot,
}

impl Place {
    /// What tables sort by: hash tables need all bits of a hash to differ.
    fn spread(tag: u32) -> u64 {
        u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn is_of(&self, tag: u32, name: &FileName, blocks: &Blocks) -> bool {
        self.tag == tag && blocks.name(self.slot) == Some(name)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    hasher: Hasher,
    shards: Vec<HashTable<Place>>,
}

/// Where the place of a name that is not in belongs.
#[derive(Debug)]
pub(super) struct Vacancy<'a> {
    tag: u32,
    entry: VacantEntry<'a, Place>,
}

impl Vacancy<'_> {
    /// Notes the slot of the name.
    pub(super) fn fill(self, slot: Slot) {
        self.entry.insert(Place { tag: self.tag, slot });
    }
}

impl Default for Places {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { hasher: Hasher::default(), shards }
    }
}

impl Places {
    fn locate(&self, name: &FileName) -> (usize, u32) {
        let hash = self.hasher.hash_one(name.as_str());
        ((hash >> 32) as usize % SHARDS, hash as u32)
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Room for a name; `None` if it is in the blocks.
    pub(super) fn vacancy(&mut self, name: &FileName, blocks: &Blocks) -> Option<Vacancy<'_>> {
        let (shard, tag) = self.locate(name);
        let is_it = |place: &Place| place.is_of(tag, name, blocks);
        match self.shards[shard].entry(Place::spread(tag), is_it, |place| Place::spread(place.tag)) {
            Entry::Vacant(entry) => Some(Vacancy { tag, entry }),
            Entry::Occupied(_) => None,
        }
    }

    /// Forgets a name, and answers the slot it had.
    pub(super) fn remove(&mut self, name: &FileName, blocks: &Blocks) -> Option<Slot> {
        let (shard, tag) = self.locate(name);
        let place = self.shards[shard].find_entry(Place::spread(tag), |place| place.is_of(tag, name, blocks)).ok()?;
        Some(place.remove().0.slot)
    }

    /// Notes that a name went from one slot to another.
    pub(super) fn moved(&mut self, name: &FileName, from: Slot, to: Slot) {
        let (shard, tag) = self.locate(name);
        if let Some(place) =
            self.shards[shard].find_mut(Place::spread(tag), |place| place.tag == tag && place.slot == from)
        {
            place.slot = to;
        }
    }
}
