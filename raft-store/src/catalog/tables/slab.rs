//! A slab: records in numbered slots, with a free list, in copy-on-write chunks.
//!
//! Invariant: the slot an insertion gets depends only on the insertions and removals before it, so two nodes that
//! applied the same log number their records alike (D1). Cloning copies one pointer per chunk; the first write to a
//! chunk that a snapshot still shares copies only that chunk. Every mutable access marks its slot for the digest.
//!
//! Written by hand because three things are needed at once that no slab library combines: slot numbers that are part of
//! the replicated format, clones that share memory with the original, and a mark on every slot that was written.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::ser::{SerializeSeq, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalog::digest::{ChunkDigest, Leaf};

/// Slots in one chunk: small enough that copying one is cheap, large enough that a million records are few chunks.
pub(in crate::catalog) const CHUNK_SLOTS: usize = 256;

/// Number of a slot.
pub(in crate::catalog) type Id = u32;

/// [`CHUNK_SLOTS`] slots in a row; the last chunk may have fewer.
#[derive(Debug, Clone)]
struct Chunk<T> {
    slots: Vec<Option<T>>,
    digest: ChunkDigest,
}

/// Records in numbered slots.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Slab<T> {
    chunks: Vec<Arc<Chunk<T>>>,
    free: Vec<Id>,
    slots: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), slots: 0 }
    }
}

impl<T> Slab<T> {
    /// Number of occupied slots.
    pub(in crate::catalog) fn len(&self) -> usize {
        self.slots - self.free.len()
    }

    /// One more than the number of the last slot.
    pub(in crate::catalog) fn end(&self) -> Id {
        self.slots as Id
    }

    /// The record in a slot, if it is occupied.
    pub(in crate::catalog) fn get(&self, id: Id) -> Option<&T> {
        let id = id as usize;
        self.chunks.get(id / CHUNK_SLOTS)?.slots.get(id % CHUNK_SLOTS)?.as_ref()
    }

    /// Occupied slots in slot order.
    pub(in crate::catalog) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots().enumerate().filter_map(|(id, slot)| Some((id as Id, slot.as_ref()?)))
    }

    /// Occupied slots from `from` on, in slot order.
    pub(in crate::catalog) fn iter_from(&self, from: Id) -> impl Iterator<Item = (Id, &T)> {
        let (chunk, skipped) = (from as usize / CHUNK_SLOTS, from as usize % CHUNK_SLOTS);
        let slots = self.chunks.iter().skip(chunk).flat_map(|chunk| chunk.slots.iter()).skip(skipped);
        slots.zip(from..).filter_map(|(slot, id)| Some((id, slot.as_ref()?)))
    }

    fn slots(&self) -> impl Iterator<Item = &Option<T>> {
        self.chunks.iter().flat_map(|chunk| chunk.slots.iter())
    }

    /// Number of slots, vacant ones included.
    pub(in crate::catalog) fn slot_count(&self) -> usize {
        self.slots
    }

    /// Vacant slots; the last is used first.
    pub(in crate::catalog) fn free_list(&self) -> &[Id] {
        &self.free
    }

    /// True if the free list names exactly the vacant slots, each once. Decoded bytes may say otherwise.
    pub(in crate::catalog) fn free_list_is_exact(&self) -> bool {
        let mut listed = self.free.clone();
        listed.sort_unstable();
        let vacant = self.slots().enumerate().filter(|(_, slot)| slot.is_none()).map(|(id, _)| id as Id);
        vacant.eq(listed)
    }
}

impl<T: Clone> Slab<T> {
    /// Stores a record in the slot that was freed last, or in a new one if none is free.
    pub(in crate::catalog) fn insert(&mut self, record: T) -> Id {
        if let Some(id) = self.free.pop() {
            let chunk = Arc::make_mut(&mut self.chunks[id as usize / CHUNK_SLOTS]);
            chunk.digest.mark(id as usize % CHUNK_SLOTS);
            chunk.slots[id as usize % CHUNK_SLOTS] = Some(record);
            return id;
        }
        self.push(Some(record));
        (self.slots - 1) as Id
    }

    fn push(&mut self, slot: Option<T>) {
        if self.slots.is_multiple_of(CHUNK_SLOTS) {
            let chunk = Chunk { slots: Vec::with_capacity(CHUNK_SLOTS), digest: ChunkDigest::default() };
            self.chunks.push(Arc::new(chunk));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            let chunk = Arc::make_mut(chunk);
            chunk.digest.mark(chunk.slots.len());
            chunk.slots.push(slot);
        }
        self.slots += 1;
    }

    /// Vacates a slot.
    pub(in crate::catalog) fn remove(&mut self, id: Id) -> Option<T> {
        let chunk = Arc::make_mut(self.chunks.get_mut(id as usize / CHUNK_SLOTS)?);
        let record = chunk.slots.get_mut(id as usize % CHUNK_SLOTS)?.take()?;
        chunk.digest.mark(id as usize % CHUNK_SLOTS);
        self.free.push(id);
        Some(record)
    }
}

impl<T: Clone> Slab<T> {
    /// The same slots with other records.
    pub(in crate::catalog) fn map<U: Clone>(self, with: impl Fn(T) -> U) -> Slab<U> {
        let mut mapped = Slab::default();
        for chunk in self.chunks {
            Arc::unwrap_or_clone(chunk).slots.into_iter().for_each(|slot| mapped.push(slot.map(&with)));
        }
        mapped.free = self.free;
        mapped
    }
}

impl<T: Leaf> Slab<T> {
    /// The sum of all records' leaves; hashes what was written since the last call.
    pub(in crate::catalog) fn sum(&self) -> u128 {
        let mut scratch = Vec::new();
        let sums = self.chunks.iter().zip((0..).step_by(CHUNK_SLOTS));
        sums.map(|(chunk, first)| chunk.digest.sum(&chunk.slots, first, &mut scratch)).fold(0, u128::wrapping_add)
    }

    /// Records that the next [`Slab::sum`] would hash.
    #[cfg(test)]
    pub(in crate::catalog) fn marked(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.digest.marked()).sum()
    }
}

impl<T> Index<Id> for Slab<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        self.get(id).expect("ids that records and indexes hold name occupied slots")
    }
}

impl<T: Clone> IndexMut<Id> for Slab<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        let chunk = Arc::make_mut(&mut self.chunks[id as usize / CHUNK_SLOTS]);
        chunk.digest.mark(id as usize % CHUNK_SLOTS);
        chunk.slots[id as usize % CHUNK_SLOTS].as_mut().expect("ids that records and indexes hold name occupied slots")
    }
}

/// The slots as one flat sequence: chunks are no part of the format.
struct Slots<'a, T>(&'a Slab<T>);

impl<T: Serialize> Serialize for Slots<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.slots))?;
        self.0.slots().try_for_each(|slot| sequence.serialize_element(slot))?;
        sequence.end()
    }
}

impl<T: Serialize> Serialize for Slab<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&Slots(self))?;
        tuple.serialize_element(&self.free)?;
        tuple.end()
    }
}

impl<'de, T: Deserialize<'de> + Clone> Deserialize<'de> for Slab<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, free) = <(Vec<Option<T>>, Vec<Id>)>::deserialize(deserializer)?;
        let mut slab = Self::default();
        slots.into_iter().for_each(|slot| slab.push(slot));
        slab.free = free;
        if slab.free.len() > slab.slots {
            return Err(serde::de::Error::custom("the free list is longer than the slab"));
        }
        Ok(slab)
    }
}
