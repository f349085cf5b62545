//! An ordered map in copy-on-write segments, for tables that snapshots share: remembered answers.
//!
//! Invariant: keys grow within a segment and from each to the next. None is empty but the only one. Cloning copies one pointer per
//! segment; the first write to a segment that a clone still shares copies that segment alone.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries in a segment before it is cut in two: copying one has to be cheap, and so has an insertion into its middle.
const SEGMENT_ENTRIES_MAX: usize = 256;

type Segment<K, V> = VecDeque<(K, V)>;

/// An ordered map that is cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SegmentedMap<K, V> {
    segments: Vec<Arc<Segment<K, V>>>,
    entries: usize,
}

impl<K, V> Default for SegmentedMap<K, V> {
    fn default() -> Self {
        Self { segments: Vec::new(), entries: 0 }
    }
}

/// Equal if the entries are; where segments are cut does not matter.
impl<K: Ord, V: PartialEq> PartialEq for SegmentedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for SegmentedMap<K, V> {}

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(segment: &Segment<K, V>, key: &Q) -> Result<usize, usize> {
    segment.binary_search_by(|(known, _)| known.borrow().cmp(key))
}

impl<K: Ord, V> SegmentedMap<K, V> {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// True without entries.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The segment that has the key if any has. The only one is not looked at: most maps are small.
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

    /// Where the key's entry is.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(usize, usize)>
    where
        K: Borrow<Q>,
    {
        let segment = self.segment_of(key)?;
        Some((segment, find(&self.segments[segment], key).ok()?))
    }

    /// A key as it is stored, and its value.
    pub(super) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (segment, index) = self.place(key)?;
        let (key, value) = &self.segments[segment][index];
        Some((key, value))
    }

    /// All entries in key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.segments.iter().flat_map(|segment| segment.iter()).map(|(key, value)| (key, value))
    }
}

impl<K: Ord + Clone, V: Clone> SegmentedMap<K, V> {
    /// The value of a key, to be changed.
    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (segment, index) = self.place(key)?;
        Some(&mut Arc::make_mut(&mut self.segments[segment])[index].1)
    }

    /// Sets the value of a key; answers the one it had.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.segments.is_empty() {
            self.segments.push(Arc::default());
        }
        // The first segment takes in what is below it.
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
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (number, index) = self.place(key)?;
        self.take_out(number, index).map(|(_, value)| value)
    }

    /// Removes the smallest key.
    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        self.take_out(0, 0)
    }

    /// Removes the greatest key.
    pub(super) fn pop_last(&mut self) -> Option<(K, V)> {
        let number = self.segments.len().checked_sub(1)?;
        let index = self.segments[number].len().checked_sub(1)?;
        self.take_out(number, index)
    }

    fn take_out(&mut self, number: usize, index: usize) -> Option<(K, V)> {
        let segment = Arc::make_mut(self.segments.get_mut(number)?);
        let taken = segment.remove(index)?;
        self.entries -= 1;
        // The only one stays: a map that is filled and emptied in turns allocates nothing.
        if segment.is_empty() && self.segments.len() > 1 {
            self.segments.remove(number);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{SEGMENT_ENTRIES_MAX, SegmentedMap};

    /// What a test does next, with a key.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert,
        Change,
        Remove,
        PopFirst,
        PopLast,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => Just(Step::Insert),
            4 => Just(Step::Change),
            8 => Just(Step::Remove),
            1 => Just(Step::PopFirst),
            1 => Just(Step::PopLast),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn it_is_an_ordered_map(steps in proptest::collection::vec((0..3_000u32, step()), 0..6_000)) {
            let name = |n: u32| -> Arc<str> { format!("n{n}").into() };
            let (mut map, mut expected) = (SegmentedMap::default(), BTreeMap::new());
            let mut snapshot = None;
            for (at, (n, step)) in steps.iter().enumerate() {
                let key = name(*n);
                match step {
                    Step::Insert => prop_assert_eq!(map.insert(key.clone(), at), expected.insert(key, at)),
                    Step::Change => {
                        let (value, wanted) = (map.get_mut(&*key), expected.get_mut(&*key));
                        prop_assert_eq!(&value, &wanted);
                        if let (Some(value), Some(wanted)) = (value, wanted) {
                            (*value, *wanted) = (at, at);
                        }
                    }
                    Step::Remove => prop_assert_eq!(map.remove(&*key), expected.remove(&*key)),
                    Step::PopFirst => prop_assert_eq!(map.pop_first(), expected.pop_first()),
                    Step::PopLast => prop_assert_eq!(map.pop_last(), expected.pop_last()),
                }
                if at == steps.len() / 2 {
                    snapshot = Some((map.clone(), expected.clone()));
                }
            }
            for (map, expected) in [(map, expected)].into_iter().chain(snapshot) {
                prop_assert!(map.iter().eq(expected.iter()));
                prop_assert_eq!(map.len(), expected.len());
                prop_assert!((0..3_000).all(|n| map.get_key_value(&*name(n)) == expected.get_key_value(&*name(n))));
                let fewest = usize::from(map.segments.len() > 1);
                let sizes = map.segments.iter().map(|segment| segment.len());
                prop_assert!(sizes.into_iter().all(|size| (fewest..=SEGMENT_ENTRIES_MAX).contains(&size)));
            }
        }
    }
}
