//! The digest of the whole replicated state, kept up to date record by record (N3).
//!
//! Every occupied slot has a leaf: a 128-bit hash of the record's canonical bytes, seeded with the slot number. A chunk
//! keeps the sum of its leaves, and a write only marks the slot. Computing the digest hashes the marked slots, clears
//! the marks, and adds up the chunks.
//!
//! Invariants
//! * Equal states have equal digests, whether they were replayed, loaded or installed. Slot numbers that differ between
//!   processes (those of the idempotency table) have no part in it.
//! * A write sets one bit. Hashing works on an image, off the apply path, and costs what was written since the last
//!   digest.
//! * Digests of different [`DIGEST_FORMAT`]s say nothing about each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::keys::owners::Owner;
use super::records::{FileRecord, PeerRecord};
use super::tables::slab::{CHUNK_SLOTS, Id, Slab};
use crate::types::ContentHash;

/// The version of the digest. Change it with every change of a record's encoding or of this module: digests of
/// different versions are not compared (N3).
pub(super) const DIGEST_FORMAT: u16 = 2;

/// The seed for records without a replicated slot number. Slot numbers have 32 bits, so no slot uses it.
const UNNUMBERED: u64 = u64::MAX;

/// Machine words for a chunk's marks.
const MARK_WORDS: usize = CHUNK_SLOTS / 64;

/// A record that is part of the digest.
pub(super) trait Leaf {
    /// The hash of the record in a slot. `scratch` is reused, so that a leaf needs no allocation.
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

/// Each process numbers the slots of the idempotency table by itself.
impl Leaf for std::sync::Arc<Owner> {
    fn leaf(&self, _: Id, scratch: &mut Vec<u8>) -> u128 {
        hash(&(&self.id, &self.keys), UNNUMBERED, scratch)
    }
}

/// The leaves of a chunk's slots.
#[derive(Debug, Clone, Default)]
struct Leaves {
    /// One bit for each slot that was written since its leaf was computed.
    marks: [u64; MARK_WORDS],
    /// By slot. The leaf of a vacant slot is 0; so are those that the vector is too short for.
    leaves: Vec<u128>,
    /// Their sum.
    sum: u128,
}

/// A chunk's part of the digest. It changes behind shared references: a leaf is computed once for all clones that share
/// the chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkDigest(Mutex<Leaves>);

impl Clone for ChunkDigest {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl ChunkDigest {
    /// Held only for a moment, never while a record is hashed.
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

    /// The sum of the leaves, once the marked slots are hashed. `first` is the number of the chunk's first slot.
    pub(super) fn sum<T: Leaf>(&self, slots: &[Option<T>], first: Id, scratch: &mut Vec<u8>) -> u128 {
        let marks = {
            let leaves = self.lock();
            if leaves.marks == [0; MARK_WORDS] {
                return leaves.sum;
            }
            leaves.marks
        };
        // No slot is marked meanwhile: that takes an exclusive reference. Two threads may compute the same leaves; the
        // second changes nothing.
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

    /// Slots that the next sum would hash.
    #[cfg(test)]
    pub(super) fn marked(&self) -> u32 {
        self.lock().marks.iter().map(|word| word.count_ones()).sum()
    }
}

/// Combines the parts into the digest of the whole state.
pub(super) struct Root(Sha256);

impl Root {
    pub(super) fn new() -> Self {
        let mut root = Self(Sha256::new());
        root.0.update(DIGEST_FORMAT.to_le_bytes());
        root
    }

    /// Adds a part that is small enough to be encoded each time.
    pub(super) fn add(&mut self, part: &impl Serialize) {
        let bytes = postcard::to_stdvec(part).expect("plain values have an encoding");
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a slab whose slot numbers and free list are replicated.
    pub(super) fn add_slab<T: Leaf>(&mut self, slab: &Slab<T>) {
        self.add(&(slab.slot_count(), slab.free_list(), slab.sum()));
    }

    /// Adds a slab whose slot numbers are not replicated: only its records count, in no order.
    pub(super) fn add_records<T: Leaf>(&mut self, slab: &Slab<T>) {
        self.add(&(slab.len(), slab.sum()));
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into())
    }
}
