//! A slab: records in numbered slots, with a free list, in copy-on-write chunks.
//!
//! Invariant: the slot an insertion gets depends only on the insertions and removals before it, so that two nodes that
//! applied the same log number their records alike (D1). Cloning copies one pointer per chunk; the first write to a
//! chunk that a snapshot still shares copies that chunk alone.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::ser::{SerializeSeq, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Slots in one chunk: small enough that copying one is cheap, large enough that a million records are few chunks.
const CHUNK_SLOTS: usize = 256;

/// Number of a slot.
pub(super) type Id = u32;

/// Records in numbered slots.
#[derive(Debug, Clone)]
pub(super) struct Slab<T> {
    chunks: Vec<Arc<Vec<Option<T>>>>,
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
    pub(super) fn len(&self) -> usize {
        self.slots - self.free.len()
    }

    /// The record in a slot, if it is occupied.
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let id = id as usize;
        self.chunks.get(id / CHUNK_SLOTS)?.get(id % CHUNK_SLOTS)?.as_ref()
    }

    /// Occupied slots in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots().enumerate().filter_map(|(id, slot)| Some((id as Id, slot.as_ref()?)))
    }

    /// Occupied slots from one on, in slot order.
    pub(super) fn iter_from(&self, from: Id) -> impl Iterator<Item = (Id, &T)> {
        let (chunk, skipped) = (from as usize / CHUNK_SLOTS, from as usize % CHUNK_SLOTS);
        let slots = self.chunks.iter().skip(chunk).flat_map(|chunk| chunk.iter()).skip(skipped);
        slots.zip(from..).filter_map(|(slot, id)| Some((id, slot.as_ref()?)))
    }

    fn slots(&self) -> impl Iterator<Item = &Option<T>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// True if the free list names exactly the vacant slots, each once. Decoded bytes may say otherwise.
    pub(super) fn free_list_is_exact(&self) -> bool {
        let mut listed = self.free.clone();
        listed.sort_unstable();
        let vacant = self.slots().enumerate().filter(|(_, slot)| slot.is_none()).map(|(id, _)| id as Id);
        vacant.eq(listed)
    }
}

impl<T: Clone> Slab<T> {
    /// Stores a record in the slot freed last, else in a new one.
    pub(super) fn insert(&mut self, record: T) -> Id {
        if let Some(id) = self.free.pop() {
            let chunk = Arc::make_mut(&mut self.chunks[id as usize / CHUNK_SLOTS]);
            chunk[id as usize % CHUNK_SLOTS] = Some(record);
            return id;
        }
        self.push(Some(record));
        (self.slots - 1) as Id
    }

    fn push(&mut self, slot: Option<T>) {
        if self.slots.is_multiple_of(CHUNK_SLOTS) {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK_SLOTS)));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            Arc::make_mut(chunk).push(slot);
        }
        self.slots += 1;
    }

    /// Vacates a slot.
    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let chunk = Arc::make_mut(self.chunks.get_mut(id as usize / CHUNK_SLOTS)?);
        let record = chunk.get_mut(id as usize % CHUNK_SLOTS)?.take()?;
        self.free.push(id);
        Some(record)
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
        Arc::make_mut(&mut self.chunks[id as usize / CHUNK_SLOTS])[id as usize % CHUNK_SLOTS]
            .as_mut()
            .expect("ids that records and indexes hold name occupied slots")
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
