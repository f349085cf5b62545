//! The ordered index of file names, in copy-on-write segments.
//!
//! Invariant: a segment's key is a lower bound of its names and greater than every name before it; the first key is the
//! empty text. Cloning for a snapshot copies one pointer per segment; the first write to a segment that a snapshot
//! still shares copies that segment alone.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::slab::Id;

/// Names in a segment before it is cut in two: copying one has to be cheap, and so has an insertion into its middle.
const SEGMENT_NAMES_MAX: usize = 512;

type Segment = Vec<(Arc<str>, Id)>;

/// File names in byte order, and the slots of their records.
#[derive(Debug, Clone)]
pub(super) struct NameIndex {
    segments: BTreeMap<Arc<str>, Arc<Segment>>,
}

impl Default for NameIndex {
    fn default() -> Self {
        Self { segments: BTreeMap::from([(Arc::from(""), Arc::default())]) }
    }
}

impl PartialEq for NameIndex {
    /// Equal if the names and slots are; where segments are cut does not matter.
    fn eq(&self, other: &Self) -> bool {
        let names = |index: &Self| index.segments.values().flat_map(|segment| segment.to_vec()).collect::<Segment>();
        names(self) == names(other)
    }
}

fn find(segment: &Segment, name: &str) -> Result<usize, usize> {
    segment.binary_search_by(|(known, _)| (**known).cmp(name))
}

impl NameIndex {
    fn segment(&self, name: &str) -> Option<(&Arc<str>, &Arc<Segment>)> {
        self.segments.range::<str, _>((Unbounded, Included(name))).next_back()
    }

    fn segment_mut(&mut self, name: &str) -> Option<(&Arc<str>, &mut Arc<Segment>)> {
        self.segments.range_mut::<str, _>((Unbounded, Included(name))).next_back()
    }

    /// The slot of a name's record.
    pub(super) fn get(&self, name: &str) -> Option<Id> {
        let (_, segment) = self.segment(name)?;
        Some(segment[find(segment, name).ok()?].1)
    }

    /// Adds a name, or sets its slot.
    pub(super) fn insert(&mut self, name: Arc<str>, file: Id) {
        let Some((_, segment)) = self.segment_mut(&name) else { return };
        let segment = Arc::make_mut(segment);
        match find(segment, &name) {
            Ok(index) => segment[index].1 = file,
            Err(index) => segment.insert(index, (name, file)),
        }
        if segment.len() > SEGMENT_NAMES_MAX {
            let upper = segment.split_off(segment.len() / 2);
            self.segments.insert(upper[0].0.clone(), Arc::new(upper));
        }
    }

    /// Removes a name, if it is there.
    pub(super) fn remove(&mut self, name: &str) {
        let Some((key, segment)) = self.segment_mut(name) else { return };
        let Ok(index) = find(segment, name) else { return };
        let segment = Arc::make_mut(segment);
        segment.remove(index);
        if segment.is_empty() && !key.is_empty() {
            let key = key.clone();
            self.segments.remove(&key);
        }
    }

    /// The slots of all names after `name`, in name order.
    pub(super) fn after<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = Id> + 'a {
        let name = name.unwrap_or("");
        let first = self.segment(name).map(|(key, segment)| {
            let start = find(segment, name).map_or_else(|index| index, |index| index + 1);
            (key, segment[start..].iter())
        });
        let (key, start) = first.map_or((None, None), |(key, start)| (Some(key), Some(start)));
        let rest = key.map(|key| self.segments.range::<str, _>((Excluded(&**key), Unbounded)));
        let rest = rest.into_iter().flatten().flat_map(|(_, segment)| segment.iter());
        start.into_iter().flatten().chain(rest).map(|(_, file)| *file)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{NameIndex, SEGMENT_NAMES_MAX};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn it_is_an_ordered_map(
            steps in proptest::collection::vec((0..3_000u32, prop::bool::weighted(0.7)), 0..6_000),
            after in 0..3_000u32,
        ) {
            let name = |n: u32| format!("n{n}");
            let (mut index, mut expected) = (NameIndex::default(), BTreeMap::new());
            let mut snapshot = None;
            for (step, (n, adds)) in steps.iter().enumerate() {
                if *adds {
                    index.insert(Arc::from(name(*n)), step as u32);
                    expected.insert(name(*n), step as u32);
                } else {
                    index.remove(&name(*n));
                    expected.remove(&name(*n));
                }
                if step == steps.len() / 2 {
                    snapshot = Some((index.clone(), expected.clone()));
                }
            }
            for (index, expected) in [(index, expected)].into_iter().chain(snapshot) {
                prop_assert!(index.after(None).eq(expected.values().copied()));
                let later = expected.range(name(after)..).filter(|(known, _)| **known != name(after));
                prop_assert!(index.after(Some(&name(after))).eq(later.map(|(_, file)| *file)));
                prop_assert!((0..3_000).all(|n| index.get(&name(n)) == expected.get(&name(n)).copied()));
                prop_assert!(index.segments.values().all(|segment| segment.len() <= SEGMENT_NAMES_MAX));
            }
        }
    }
}
