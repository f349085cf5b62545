//! An ordered map in copy-on-write segments: the large form of [`super::small_map`], whose tests cover it.
//!
//! Invariant: keys ascend within a segment and from one segment to the next. A segment is empty only if it is the only
//! one. Cloning copies one pointer per segment; the first write to a segment that a clone still shares copies only that
//! segment.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries in a segment before it is split: both a copy of it and an insertion into its middle have to be cheap.
pub(in crate::catalog) const SEGMENT_ENTRIES_MAX: usize = 256;

type Segment<K, V> = VecDeque<(K, V)>;

/// An ordered map that is cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct SegmentedMap<K, V> {
    segments: Vec<Arc<Segment<K, V>>>,
    entries: usize,
}

impl<K, V> Default for SegmentedMap<K, V> {
    fn default() -> Self {
        Self { segments: Vec::new(), entries: 0 }
    }
}

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(segment: &Segment<K, V>, key: &Q) -> Result<usize, usize> {
    segment.binary_search_by(|(known, _)| known.borrow().cmp(key))
}

impl<K: Ord, V> SegmentedMap<K, V> {
    /// Number of entries.
    pub(in crate::catalog) fn len(&self) -> usize {
        self.entries
    }

    /// True without entries.
    pub(in crate::catalog) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The only segment that can have the key. With a single segment no key is compared.
    fn segment_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        if self.segments.len() == 1 {
            return Some(0);
        }
        let begins_at_or_below =
            |segment: &Arc<Segment<K, V>>| segment.front().is_some_and(|(first, _)| first.borrow() <= key);
        self.segments.partition_point(begins_at_or_below).checked_sub(1)
    }

    /// The segment of a key's entry, and the index in it.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(usize, usize)>
    where
        K: Borrow<Q>,
    {
        let segment = self.segment_of(key)?;
        Some((segment, find(&self.segments[segment], key).ok()?))
    }

    /// A key as it is stored, and its value.
    pub(in crate::catalog) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (segment, index) = self.place(key)?;
        let (key, value) = &self.segments[segment][index];
        Some((key, value))
    }

    /// The number of entries in each segment.
    #[cfg(test)]
    pub(in crate::catalog) fn segment_sizes(&self) -> Vec<usize> {
        self.segments.iter().map(|segment| segment.len()).collect()
    }

    /// All entries in key order.
    pub(in crate::catalog) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.segments.iter().flat_map(|segment| segment.iter()).map(|(key, value)| (key, value))
    }
}

impl<K: Ord + Clone, V: Clone> SegmentedMap<K, V> {
    /// The value of a key, to be changed.
    pub(in crate::catalog) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (segment, index) = self.place(key)?;
        Some(&mut Arc::make_mut(&mut self.segments[segment])[index].1)
    }

    /// Sets the value of a key and returns the old one.
    pub(in crate::catalog) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.segments.is_empty() {
            self.segments.push(Arc::default());
        }
        // A key below all others goes into the first segment.
        let number = self.segment_of(&key).unwrap_or(0);
        let segment = Arc::make_mut(&mut self.segments[number]);
        match find(segment, &key) {
            Ok(index) => return Some(std::mem::replace(&mut segment[index].1, value)),
            Err(index) => segment.insert(index, (key, value)),
        }
        if segment.len() > SEGMENT_ENTRIES_MAX {
            let upper = segment.split_off(segment.len() / 2);
            self.segments.insert(number + 1, Arc::new(upper));
        }
        self.entries += 1;
        None
    }

    /// Removes a key, if it is there.
    pub(in crate::catalog) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (number, index) = self.place(key)?;
        self.take_out(number, index).map(|(_, value)| value)
    }

    /// Removes the smallest key.
    pub(in crate::catalog) fn pop_first(&mut self) -> Option<(K, V)> {
        self.take_out(0, 0)
    }

    /// Removes the greatest key.
    pub(in crate::catalog) fn pop_last(&mut self) -> Option<(K, V)> {
        let number = self.segments.len().checked_sub(1)?;
        let index = self.segments[number].len().checked_sub(1)?;
        self.take_out(number, index)
    }

    fn take_out(&mut self, number: usize, index: usize) -> Option<(K, V)> {
        let segment = Arc::make_mut(self.segments.get_mut(number)?);
        let taken = segment.remove(index)?;
        self.entries -= 1;
        // The last segment stays: a map that is filled and emptied in turn allocates nothing.
        if segment.is_empty() && self.segments.len() > 1 {
            self.segments.remove(number);
        }
        Some(taken)
    }
}
