//! The digest of the whole replicated state, kept up to date record by record (N3).
//!
//! Every occupied slot has a leaf: a 128-bit hash of its record's canonical bytes and of its number. A chunk keeps the
//! sum of its leaves, and a write only marks the slot. Whoever asks for the digest hashes what was marked since
//! somebody asked last, and adds up the chunks.
//!
//! Invariants
//! * Equal states have equal digests, whatever path led to them: replayed, loaded or installed. What a process numbers
//!   by itself (the slots of the owners of keys) has no part in it.
//! * A write costs one bit. Hashing happens on an image, off the apply path, and costs what was
//!   written since the last digest.
//! * Digests of different [`DIGEST_FORMAT`]s say nothing about each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::keys::owners::Owner;
use super::records::{FileRecord, PeerRecord};
use super::tables::slab::{CHUNK_SLOTS, Id, Slab};
use crate::types::ContentHash;

/// Version of what the digest covers, and how. Change it with any change of a record's encoding or of this module:
/// members of different versions are not compared (N3).
pub(super) const DIGEST_FORMAT: u16 = 1;

/// Seed of what has no number of its own. Slots are numbered with 32 bits, so none has it.
const UNNUMBERED: u64 = u64::MAX;

/// Words of a chunk's marks.
const MARK_WORDS: usize = CHUNK_SLOTS / 64;

/// A record that is part of the digest.
pub(super) trait Leaf {
    /// The hash of the record in a slot; `scratch` saves an allocation for each.
    fn leaf(&self, slot: Id, scratch: &mut Vec<u8>) -> u128;
}

fn hash(value: &impl Serialize, seed: u64, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    *scratch = postcard::to_extend(value, std::mem::take(scratch)).expect("plain values have an encoding");
    xxh3_128_with_seed(scratch, seed)
}

impl Leaf for FileRecord {
    fn leaf(&self, slot: Id, scratch: &mut Vec<u8>) -> u128 {
        hash(self, slot.into(), scratch)
    }
}

impl Leaf for PeerRecord {
    fn leaf(&self, slot: Id, scratch: &mut Vec<u8>) -> u128 {
        hash(self, slot.into(), scratch)
    }
}

/// Owners of keys lie in slots that each process numbers by itself.
impl Leaf for std::sync::Arc<Owner> {
    fn leaf(&self, _: Id, scratch: &mut Vec<u8>) -> u128 {
        hash(&(&self.id, &self.keys), UNNUMBERED, scratch)
    }
}

/// What a chunk knows about the digest of its slots.
#[derive(Debug, Clone, Default)]
struct Leaves {
    /// Slots written since their leaf was computed, a bit each.
    marks: [u64; MARK_WORDS],
    /// By slot; those behind the end are 0, as are those of vacant slots.
    leaves: Vec<u128>,
    /// Their sum.
    sum: u128,
}

/// The part of a chunk that takes part in the digest. It changes behind shared references: whoever computes a leaf
/// keeps it for all that share the chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkDigest(Mutex<Leaves>);

impl Clone for ChunkDigest {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl ChunkDigest {
    /// Held for a moment only, never while a record is hashed.
    fn lock(&self) -> MutexGuard<'_, Leaves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a slot was written.
    #[inline]
    pub(super) fn mark(&mut self, slot: usize) {
        let leaves = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = leaves.marks.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// The sum of the leaves; hashes the marked slots first. `first` is the number of the chunk's first slot.
    pub(super) fn sum<T: Leaf>(&self, slots: &[Option<T>], first: Id, scratch: &mut Vec<u8>) -> u128 {
        let marks = {
            let leaves = self.lock();
            if leaves.marks == [0; MARK_WORDS] {
                return leaves.sum;
            }
            leaves.marks
        };
        // Nobody marks meanwhile: that takes an exclusive reference. Two may compute the same;
        // the second changes nothing.
        let is_marked = |slot: usize| marks.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1);
        let leaf = |(slot, record): (usize, &Option<T>)| {
            let leaf = record.as_ref().map_or(0, |record| record.leaf(first + slot as Id, scratch));
            (slot, leaf)
        };
        let fresh: Vec<_> = slots.iter().enumerate().filter(|(slot, _)| is_marked(*slot)).map(leaf).collect();
        let mut leaves = self.lock();
        let Leaves { marks, leaves, sum } = &mut *leaves;
        leaves.resize(slots.len().max(leaves.len()), 0);
        for (slot, leaf) in fresh {
            let before = std::mem::replace(&mut leaves[slot], leaf);
            *sum = sum.wrapping_sub(before).wrapping_add(leaf);
        }
        *marks = [0; MARK_WORDS];
        *sum
    }

    /// Slots that would be hashed.
    #[cfg(test)]
    pub(super) fn marked(&self) -> u32 {
        self.lock().marks.iter().map(|word| word.count_ones()).sum()
    }
}

/// Gathers the parts of the whole digest.
pub(super) struct Root(Sha256);

impl Root {
    pub(super) fn new() -> Self {
        let mut root = Self(Sha256::new());
        root.0.update(DIGEST_FORMAT.to_le_bytes());
        root
    }

    /// A part that is small enough to be encoded each time.
    pub(super) fn add(&mut self, part: &impl Serialize) {
        let bytes = postcard::to_stdvec(part).expect("plain values have an encoding");
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// A slab whose slots and free list are replicated state.
    pub(super) fn add_slab<T: Leaf>(&mut self, slab: &Slab<T>) {
        self.add(&(slab.slot_count(), slab.free_list(), slab.sum()));
    }

    /// A slab of which only the records count, in no order.
    pub(super) fn add_records<T: Leaf>(&mut self, slab: &Slab<T>) {
        self.add(&(slab.len(), slab.sum()));
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into())
    }
}
