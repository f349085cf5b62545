//! A hash table from names to values that grows in parts.
//!
//! Invariant: the work of one call is bounded, however many names there are: growing moves one of 256 parts of them,
//! and rehashes none. A table in one part is meant for few names. Hashes are seeded with a secret of this process, so
//! that nobody can choose names that collide, and nothing replicated depends on the order of a table.
//!
//! Written by hand, on hashbrown's raw table, because an ordinary map moves all its entries when it grows: with
//! millions of names that stops the thread that applies the log for tens of milliseconds. It also would keep a second
//! copy of every name as its key.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, VacantEntry};

use crate::hasher::Hasher;

/// Tables that grow independently: each is small enough that its growth is not noticed.
const SHARDS: usize = 256;

#[derive(Debug, Clone)]
struct Tagged<T> {
    /// Part of the name's hash: tells most names apart, and places the value when its table grows.
    tag: u32,
    value: T,
}

/// The hash that the tables use. They need all 64 bits to vary, and a tag has only 32.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Values by name. The table does not keep the names: the caller says whether a value belongs to a name.
#[derive(Debug, Clone)]
pub struct NameTable<T> {
    hasher: Hasher,
    shards: Vec<HashTable<Tagged<T>>>,
}

/// The place for the value of a name that has none.
#[derive(Debug)]
pub struct Vacancy<'a, T> {
    tag: u32,
    entry: VacantEntry<'a, Tagged<T>>,
}

impl<'a, T> Vacancy<'a, T> {
    /// Puts a value in the place.
    pub fn fill(self, value: T) -> &'a mut T {
        &mut self.entry.insert(Tagged { tag: self.tag, value }).into_mut().value
    }
}

impl<T> Default for NameTable<T> {
    fn default() -> Self {
        let shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Self { hasher: Hasher::default(), shards }
    }
}

impl<T> NameTable<T> {
    /// A table in one part, for a few ten thousand names at most: a call touches less memory.
    pub fn in_one_part() -> Self {
        Self { hasher: Hasher::default(), shards: vec![HashTable::new()] }
    }

    fn locate(&self, name: &str) -> (usize, u32) {
        let hash = self.hasher.hash_one(name);
        // The number of shards is a power of two.
        ((hash >> 32) as usize & (self.shards.len() - 1), hash as u32)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// True without values.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(HashTable::is_empty)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flatten().map(|known| &known.value)
    }

    /// The value of a name.
    pub fn get(&self, name: &str, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let (shard, tag) = self.locate(name);
        let found = self.shards[shard].find(spread(tag), |known| known.tag == tag && is_it(&known.value));
        found.map(|known| &known.value)
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &str, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        let (shard, tag) = self.locate(name);
        let found = self.shards[shard].find_mut(spread(tag), |known| known.tag == tag && is_it(&known.value));
        found.map(|known| &mut known.value)
    }

    /// The value of a name, or the place for one.
    pub fn get_or_vacancy(&mut self, name: &str, is_it: impl Fn(&T) -> bool) -> Result<&mut T, Vacancy<'_, T>> {
        let (shard, tag) = self.locate(name);
        let is_it = |known: &Tagged<T>| known.tag == tag && is_it(&known.value);
        match self.shards[shard].entry(spread(tag), is_it, |known| spread(known.tag)) {
            Entry::Occupied(known) => Ok(&mut known.into_mut().value),
            Entry::Vacant(entry) => Err(Vacancy { tag, entry }),
        }
    }

    /// Adds the value of a name that has none.
    pub fn insert_new(&mut self, name: &str, value: T) {
        let (shard, tag) = self.locate(name);
        self.shards[shard].insert_unique(spread(tag), Tagged { tag, value }, |known| spread(known.tag));
    }

    /// Removes the value of a name and returns it.
    pub fn remove(&mut self, name: &str, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let (shard, tag) = self.locate(name);
        let found = self.shards[shard].find_entry(spread(tag), |known| known.tag == tag && is_it(&known.value)).ok()?;
        Some(found.remove().0.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_names_until_they_are_taken_out() {
        values_are_found_in(NameTable::default());
        values_are_found_in(NameTable::in_one_part());
    }

    fn values_are_found_in(mut table: NameTable<usize>) {
        let names: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            match table.get_or_vacancy(name, |known| *known == n) {
                Ok(known) => panic!("{name} is there already: {known}"),
                Err(vacancy) => assert_eq!(*vacancy.fill(n), n),
            }
        }
        assert_eq!(table.len(), names.len());
        for (n, name) in names.iter().enumerate() {
            let is_it = |known: &usize| *known == n;
            assert_eq!(table.get(name, is_it), Some(&n));
            assert_eq!(table.get_mut(name, is_it), Some(&mut n.clone()));
            assert!(table.get_or_vacancy(name, is_it).is_ok_and(|known| *known == n));
            if n % 2 == 0 {
                assert_eq!(table.remove(name, is_it), Some(n));
                assert_eq!((table.remove(name, is_it), table.get(name, is_it)), (None, None));
            }
        }
        assert_eq!(table.len(), names.len() / 2);
        table.insert_new("n0", 0);
        assert!(!table.is_empty() && table.get("n0", |known| *known == 0).is_some());
    }
}
