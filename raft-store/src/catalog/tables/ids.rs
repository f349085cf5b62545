//! Sets of slots: the files that a peer holds.
//!
//! Invariant: adding a slot greater than all others costs one memory access, and the slot of a new file usually is. The
//! greatest slots are kept in a short vector, and move into the tree many at a time. Every peer's set is elsewhere in
//! memory, so each level of a tree would cost a cache miss.

use std::collections::BTreeSet;

use super::slab::Id;

/// The most slots in the vector.
const ROW_SLOTS_MAX: usize = 64;

/// A set of slots, in order.
#[derive(Debug, Clone, Default)]
pub(in crate::catalog) struct Ids {
    tree: BTreeSet<Id>,
    /// Ascending, and greater than what is in the tree.
    row: Vec<Id>,
}

/// Sets are equal if their slots are; how they are stored does not matter.
impl PartialEq for Ids {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Ids {
    /// Number of slots.
    pub(in crate::catalog) fn len(&self) -> usize {
        self.tree.len() + self.row.len()
    }

    /// True without slots.
    pub(in crate::catalog) fn is_empty(&self) -> bool {
        self.row.is_empty() && self.tree.is_empty()
    }

    /// All slots in order.
    pub(in crate::catalog) fn iter(&self) -> impl Iterator<Item = Id> {
        self.tree.iter().chain(&self.row).copied()
    }

    /// The slots from `from` on, in order.
    pub(in crate::catalog) fn iter_from(&self, from: Id) -> impl Iterator<Item = Id> {
        let row = self.row.partition_point(|id| *id < from);
        self.tree.range(from..).chain(&self.row[row..]).copied()
    }

    /// Adds a slot, unless the set has it.
    pub(in crate::catalog) fn insert(&mut self, id: Id) {
        if self.row.len() >= ROW_SLOTS_MAX {
            self.tree.extend(self.row.drain(..));
        }
        match self.row.last() {
            Some(last) if *last < id => self.row.push(id),
            None if self.tree.last().is_none_or(|last| *last < id) => self.row.push(id),
            Some(_) | None => match self.row.binary_search(&id) {
                // Below the row, or the row is empty.
                Err(0) => drop(self.tree.insert(id)),
                Err(index) => self.row.insert(index, id),
                Ok(_) => {}
            },
        }
    }

    /// Removes a slot; false if the set did not have it.
    pub(in crate::catalog) fn remove(&mut self, id: Id) -> bool {
        match self.row.binary_search(&id) {
            Ok(index) => {
                self.row.remove(index);
                true
            }
            Err(_) => self.tree.remove(&id),
        }
    }

    /// Moves all slots of another set into this one.
    pub(in crate::catalog) fn append(&mut self, other: &mut Self) {
        let Self { mut tree, row } = std::mem::take(other);
        tree.extend(row);
        self.tree.extend(self.row.drain(..));
        self.tree.append(&mut tree);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Ids, ROW_SLOTS_MAX};

    /// What a test does next.
    #[derive(Debug, Clone)]
    enum Step {
        /// Adds a slot.
        Insert(u32),
        /// Adds slots above all others.
        New(u32),
        Remove(u32),
        /// Moves another set into this one.
        Append(Vec<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..400_u32).prop_map(Step::Insert),
            2 => (1..50_u32).prop_map(Step::New),
            6 => (0..400_u32).prop_map(Step::Remove),
            1 => proptest::collection::vec(0..400_u32, 0..100).prop_map(Step::Append),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn it_is_an_ordered_set(steps in proptest::collection::vec(step(), 0..100), from in 0..400_u32) {
            let (mut ids, mut expected) = (Ids::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(id) => {
                        ids.insert(id);
                        expected.insert(id);
                    }
                    Step::New(count) => {
                        let above = expected.last().map_or(0, |last| last + 1);
                        for id in above..above + count {
                            ids.insert(id);
                            expected.insert(id);
                        }
                    }
                    Step::Remove(id) => prop_assert_eq!(ids.remove(id), expected.remove(&id)),
                    Step::Append(others) => {
                        let mut other = Ids::default();
                        others.iter().for_each(|id| other.insert(*id));
                        ids.append(&mut other);
                        prop_assert!(other.is_empty());
                        expected.extend(others);
                    }
                }
                prop_assert!(ids.iter().eq(expected.iter().copied()));
                prop_assert!(ids.iter_from(from).eq(expected.range(from..).copied()));
                prop_assert_eq!((ids.len(), ids.is_empty()), (expected.len(), expected.is_empty()));
                prop_assert!(ids.row.len() <= ROW_SLOTS_MAX);
                let again = expected.iter().fold(Ids::default(), |mut again, id| {
                    again.insert(*id);
                    again
                });
                prop_assert!(ids == again);
            }
        }
    }
}
