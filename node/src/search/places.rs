//! Where each name is: found by its bytes in one step.
//!
//! Invariant: every name of the blocks is in one table, with its slot there. Hashing has a secret of this process, so that nobody can
//! choose names that collide.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use raft_store::types::FileName;

use super::blocks::{Blocks, Slot};

/// Tables that grow by themselves: none of them is large enough for its growth to be felt.
const SHARDS: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u64,
    slot: Slot,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    hasher: RandomState,
    shards: Vec<HashTable<Place>>,
}

impl Default for Places {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Places {
    fn locate(&self, name: &FileName) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        // The tables themselves use the highest and the lowest bits.
        ((hash >> 32) as usize % SHARDS, hash)
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Whether a name is in the blocks.
    pub(super) fn contains(&self, name: &FileName, blocks: &Blocks) -> bool {
        let (shard, hash) = self.locate(name);
        self.shards[shard].find(hash, |place| place.hash == hash && blocks.name(place.slot) == Some(name)).is_some()
    }

    /// Notes the slot of a name that is not in.
    pub(super) fn insert(&mut self, name: &FileName, slot: Slot) {
        let (shard, hash) = self.locate(name);
        self.shards[shard].insert_unique(hash, Place { hash, slot }, |place| place.hash);
    }

    /// Forgets a name, and answers the slot it had.
    pub(super) fn remove(&mut self, name: &FileName, blocks: &Blocks) -> Option<Slot> {
        let (shard, hash) = self.locate(name);
        let is_it = |place: &Place| place.hash == hash && blocks.name(place.slot) == Some(name);
        let place = self.shards[shard].find_entry(hash, is_it).ok()?;
        Some(place.remove().0.slot)
    }

    /// Notes that a name went from one slot to another.
    pub(super) fn moved(&mut self, name: &FileName, from: Slot, to: Slot) {
        let (shard, hash) = self.locate(name);
        if let Some(place) = self.shards[shard].find_mut(hash, |place| place.hash == hash && place.slot == from) {
            place.slot = to;
        }
    }
}
