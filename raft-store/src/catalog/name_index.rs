//! The names of all files: found by their bytes in one step.
//!
//! Invariant: every file is in it once. The tables are this process's own, with a secret of its own, and nothing that is replicated
//! depends on their order.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::slab::{Id, Slab};
use super::state::FileRecord;

/// Tables that grow by themselves: none of them is large enough for its growth to be felt.
const SHARDS: usize = 256;

/// A name in a table: the name itself is in its record.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u32,
    file: Id,
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
    hasher: RandomState,
    shards: Vec<HashTable<Place>>,
}

impl Default for NameIndex {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl NameIndex {
    fn locate(&self, name: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(name);
        ((hash >> 32) as usize % SHARDS, hash as u32)
    }

    /// The slot of a name in `files`.
    pub(super) fn get(&self, name: &str, files: &Slab<FileRecord>) -> Option<Id> {
        let (shard, tag) = self.locate(name);
        let is_it = |place: &Place| place.tag == tag && files.get(place.file).is_some_and(|file| *file.name == *name);
        self.shards[shard].find(Place::spread(tag), is_it).map(|place| place.file)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: &str, file: Id) {
        let (shard, tag) = self.locate(name);
        self.shards[shard].insert_unique(Place::spread(tag), Place { tag, file }, |place| Place::spread(place.tag));
    }

    /// Removes a name and the slot it has, if it is there.
    pub(super) fn remove(&mut self, name: &str, file: Id) {
        let (shard, tag) = self.locate(name);
        if let Ok(place) = self.shards[shard].find_entry(Place::spread(tag), |place| place.file == file) {
            place.remove();
        }
    }

    /// Whether every file is found by its name, and nothing else is in the tables.
    pub(super) fn is_consistent(&self, files: &Slab<FileRecord>) -> bool {
        let found = files.iter().all(|(id, file)| self.get(&file.name, files) == Some(id));
        found && self.shards.iter().map(HashTable::len).sum::<usize>() == files.len()
    }
}
