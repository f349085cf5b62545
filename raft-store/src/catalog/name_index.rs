//! The names of all files: found by their bytes in one step, and walked in order.
//!
//! Invariant: both sides have the same names. The hash table is this process's own, with a secret of its own, and nothing that
//! is replicated depends on its order.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::segments::SegmentedMap;
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
    ordered: SegmentedMap<Arc<str>, Id>,
    hasher: RandomState,
    shards: Vec<HashTable<Place>>,
}

impl Default for NameIndex {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { ordered: SegmentedMap::default(), hasher: RandomState::new(), shards }
    }
}

/// Equal if the names are.
impl PartialEq for NameIndex {
    fn eq(&self, other: &Self) -> bool {
        self.ordered == other.ordered
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
    pub(super) fn insert(&mut self, name: Arc<str>, file: Id) {
        let (shard, tag) = self.locate(&name);
        self.shards[shard].insert_unique(Place::spread(tag), Place { tag, file }, |place| Place::spread(place.tag));
        self.ordered.insert(name, file);
    }

    /// Removes a name, if it is there.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(file) = self.ordered.remove(name) else { return };
        let (shard, tag) = self.locate(name);
        if let Ok(place) = self.shards[shard].find_entry(Place::spread(tag), |place| place.file == file) {
            place.remove();
        }
    }

    /// The slots of all names, in the order of the names.
    pub(super) fn values(&self) -> impl Iterator<Item = &Id> {
        self.ordered.values()
    }

    /// The slots of all names after this one, or of all, in the order of the names.
    pub(super) fn after<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = &'a Id> + 'a {
        self.ordered.after(name)
    }

    /// Whether every name in order is found by its bytes, and nothing else is in the tables.
    pub(super) fn is_consistent(&self, files: &Slab<FileRecord>) -> bool {
        let found = self.ordered.iter().all(|(name, file)| self.get(name, files) == Some(*file));
        found && self.shards.iter().map(HashTable::len).sum::<usize>() == self.ordered.len()
    }
}
