//! An ordered map for few entries. Remembered answers are like that: a peer has one or two sessions, and a session has
//! one or two answers above its floor. Every keyed command reads them, and each peer's answers are elsewhere in memory,
//! so every pointer on the way costs a cache miss.
//!
//! Invariant: few entries are stored contiguously, up to `INLINE` of them in the map itself. More than
//! [`FEW_ENTRIES_MAX`] are stored in segments that clones share, so that what a change copies stays bounded.
//!
//! Written by hand because the libraries give one half each: inline vector maps copy all entries with every clone, and
//! persistent maps allocate a node for the first entry, which is the usual case here.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::segments::SegmentedMap;

/// The most entries that are stored contiguously.
const FEW_ENTRIES_MAX: usize = 8;

/// An ordered map; see the module.
#[derive(Debug, Clone)]
pub(in crate::catalog) enum SmallMap<K, V, const INLINE: usize> {
    /// In key order.
    Few(SmallVec<[(K, V); INLINE]>),
    Many(SegmentedMap<K, V>),
}

use SmallMap::{Few, Many};

impl<K, V, const INLINE: usize> Default for SmallMap<K, V, INLINE> {
    fn default() -> Self {
        Few(SmallVec::new())
    }
}

/// Maps are equal if their entries are; how they are stored does not matter.
impl<K: Ord, V: PartialEq, const INLINE: usize> PartialEq for SmallMap<K, V, INLINE> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq, const INLINE: usize> Eq for SmallMap<K, V, INLINE> {}

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(few: &[(K, V)], key: &Q) -> Result<usize, usize> {
    few.binary_search_by(|(known, _)| known.borrow().cmp(key))
}

impl<K: Ord, V, const INLINE: usize> SmallMap<K, V, INLINE> {
    /// Number of entries.
    pub(in crate::catalog) fn len(&self) -> usize {
        match self {
            Few(few) => few.len(),
            Many(many) => many.len(),
        }
    }

    /// True without entries.
    pub(in crate::catalog) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub(in crate::catalog) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// A key as it is stored, and its value.
    pub(in crate::catalog) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Few(few) => {
                let (key, value) = &few[find(few, key).ok()?];
                Some((key, value))
            }
            Many(many) => many.get_key_value(key),
        }
    }

    /// The smallest key and its value.
    pub(in crate::catalog) fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// All entries in key order.
    pub(in crate::catalog) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (few, many) = match self {
            Few(few) => (few.as_slice(), None),
            Many(many) => (&[][..], Some(many)),
        };
        few.iter().map(|(key, value)| (key, value)).chain(many.into_iter().flat_map(SegmentedMap::iter))
    }

    /// All values in key order.
    pub(in crate::catalog) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V: Clone, const INLINE: usize> SmallMap<K, V, INLINE> {
    /// The value of a key, to be changed.
    pub(in crate::catalog) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Few(few) => {
                let index = find(few, key).ok()?;
                Some(&mut few[index].1)
            }
            Many(many) => many.get_mut(key),
        }
    }

    /// Sets the value of a key and returns the old one.
    pub(in crate::catalog) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Few(few) => match find(few, &key) {
                Ok(index) => Some(std::mem::replace(&mut few[index].1, value)),
                Err(index) if few.len() < FEW_ENTRIES_MAX => {
                    few.insert(index, (key, value));
                    None
                }
                Err(_) => {
                    let mut many = SegmentedMap::default();
                    for (key, value) in few.drain(..).chain([(key, value)]) {
                        many.insert(key, value);
                    }
                    *self = Many(many);
                    None
                }
            },
            Many(many) => many.insert(key, value),
        }
    }

    /// Removes a key, if it is there.
    pub(in crate::catalog) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = match self {
            Few(few) => {
                let index = find(few, key).ok()?;
                Some(few.remove(index).1)
            }
            Many(many) => many.remove(key),
        };
        self.let_go_if_empty();
        removed
    }

    /// Removes the smallest key.
    pub(in crate::catalog) fn pop_first(&mut self) -> Option<(K, V)> {
        let first = match self {
            Few(few) => (!few.is_empty()).then(|| few.remove(0)),
            Many(many) => many.pop_first(),
        };
        self.let_go_if_empty();
        first
    }

    /// Removes the greatest key.
    pub(in crate::catalog) fn pop_last(&mut self) -> Option<(K, V)> {
        let last = match self {
            Few(few) => few.pop(),
            Many(many) => many.pop_last(),
        };
        self.let_go_if_empty();
        last
    }

    /// Returns to the small form only when the map is empty, so that a map that grows and shrinks is not moved each
    /// time.
    fn let_go_if_empty(&mut self) {
        if matches!(self, Many(many) if many.is_empty()) {
            *self = Self::default();
        }
    }
}

/// As a map in key order: how entries are stored is not part of the format.
impl<K: Ord + Serialize, V: Serialize, const INLINE: usize> Serialize for SmallMap<K, V, INLINE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        self.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

struct Entries<K, V, const INLINE: usize>(PhantomData<(K, V)>);

impl<'de, K, V, const INLINE: usize> Visitor<'de> for Entries<K, V, INLINE>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    type Value = SmallMap<K, V, INLINE>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = SmallMap::default();
        while let Some((key, value)) = access.next_entry()? {
            map.insert(key, value);
        }
        Ok(map)
    }
}

impl<'de, K, V, const INLINE: usize> Deserialize<'de> for SmallMap<K, V, INLINE>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::segments::SEGMENT_ENTRIES_MAX;
    use super::{FEW_ENTRIES_MAX, Few, Many, SmallMap};

    type Map = SmallMap<Arc<str>, usize, 1>;
    type Expected = BTreeMap<Arc<str>, usize>;

    /// What a test does next, with a key.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert,
        Change,
        Remove,
        PopFirst,
        PopLast,
    }

    /// A step, with the weights of insertions and removals; changes weigh 4.
    fn step(inserts: u32, removals: u32) -> impl Strategy<Value = Step> {
        prop_oneof![
            inserts => Just(Step::Insert),
            4 => Just(Step::Change),
            removals => Just(Step::Remove),
            1 => Just(Step::PopFirst),
            1 => Just(Step::PopLast),
        ]
    }

    fn name(n: u32) -> Arc<str> {
        format!("n{n}").into()
    }

    /// Takes one step with both maps; `value` is the value to store.
    fn take(
        step: Step,
        key: Arc<str>,
        value: usize,
        map: &mut Map,
        expected: &mut Expected,
    ) -> Result<(), TestCaseError> {
        match step {
            Step::Insert => prop_assert_eq!(map.insert(key.clone(), value), expected.insert(key, value)),
            Step::Change => {
                let (found, wanted) = (map.get_mut(&*key), expected.get_mut(&*key));
                prop_assert_eq!(&found, &wanted);
                if let (Some(found), Some(wanted)) = (found, wanted) {
                    (*found, *wanted) = (value, value);
                }
            }
            Step::Remove => prop_assert_eq!(map.remove(&*key), expected.remove(&*key)),
            Step::PopFirst => prop_assert_eq!(map.pop_first(), expected.pop_first()),
            Step::PopLast => prop_assert_eq!(map.pop_last(), expected.pop_last()),
        }
        Ok(())
    }

    /// Checks the entries, and how they are stored.
    fn check(map: &Map, expected: &Expected) -> Result<(), TestCaseError> {
        prop_assert!(map.iter().eq(expected.iter()));
        prop_assert_eq!((map.len(), map.is_empty()), (expected.len(), expected.is_empty()));
        prop_assert_eq!(map.first_key_value(), expected.first_key_value());
        match map {
            Few(few) => prop_assert!(few.len() <= FEW_ENTRIES_MAX),
            Many(many) => {
                prop_assert!(!many.is_empty());
                prop_assert!(many.segment_sizes().into_iter().all(|size| (1..=SEGMENT_ENTRIES_MAX).contains(&size)));
            }
        }
        Ok(())
    }

    /// Checks that the map is encoded as any map is, and survives a round trip.
    fn check_format(map: &Map, expected: &Expected) -> Result<(), TestCaseError> {
        let bytes = postcard::to_stdvec(map).expect("plain values");
        prop_assert_eq!(&bytes, &postcard::to_stdvec(expected).expect("plain values"), "the format is a map's");
        prop_assert!(postcard::from_bytes::<Map>(&bytes).expect("plain values") == *map);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_an_ordered_map(steps in proptest::collection::vec((0..30_u32, step(9, 6)), 0..300)) {
            let (mut map, mut expected) = (Map::default(), Expected::new());
            for (at, (n, step)) in steps.iter().enumerate() {
                take(*step, name(*n), at, &mut map, &mut expected)?;
                check(&map, &expected)?;
                prop_assert_eq!(map.get(&*name(*n)), expected.get(&*name(*n)));
            }
            check_format(&map, &expected)?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn it_is_one_with_many_entries(steps in proptest::collection::vec((0..3_000_u32, step(20, 8)), 0..6_000)) {
            let (mut map, mut expected) = (Map::default(), Expected::new());
            let mut snapshot = None;
            for (at, (n, step)) in steps.iter().enumerate() {
                take(*step, name(*n), at, &mut map, &mut expected)?;
                if at == steps.len() / 2 {
                    snapshot = Some((map.clone(), expected.clone()));
                }
            }
            // Neighbours go, and with them whole segments.
            for key in (0..3_000).map(name).filter(|key| key.starts_with("n1")) {
                take(Step::Remove, key, 0, &mut map, &mut expected)?;
            }
            for (map, expected) in [(map, expected)].into_iter().chain(snapshot) {
                check(&map, &expected)?;
                prop_assert!((0..3_000).all(|n| map.get_key_value(&*name(n)) == expected.get_key_value(&*name(n))));
                check_format(&map, &expected)?;
            }
        }
    }

    #[test]
    fn it_becomes_many_and_few_again() {
        let mut map = SmallMap::<usize, usize, 1>::default();
        for n in 0..=FEW_ENTRIES_MAX {
            assert!(matches!(map, Few(_)));
            map.insert(n, n);
        }
        assert!(matches!(map, Many(_)));
        while map.pop_first().is_some() {}
        assert!(matches!(map, Few(_)));
    }
}
