//! Finds files and peers by name: a hash index over the records.
//!
//! Invariant: every record is in the index once. The index belongs to this process; nothing replicated depends on its
//! order.

use super::slab::{Id, Slab};
use crate::name_table::NameTable;

/// Slots by name. The names themselves are in the records.
#[derive(Debug, Clone, Default)]
pub(in crate::catalog) struct NameIndex {
    slots: NameTable<Id>,
}

/// A record that is found by a name.
pub(in crate::catalog) trait Named {
    /// The name.
    fn name(&self) -> &str;
}

impl<T: Named> Named for std::sync::Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
}

impl NameIndex {
    /// An index for peers: there are a few ten thousand of them at most.
    pub(in crate::catalog) fn of_peers() -> Self {
        Self { slots: NameTable::in_one_part() }
    }

    /// The slot of a name in `records`.
    pub(in crate::catalog) fn get<T: Named>(&self, name: &str, records: &Slab<T>) -> Option<Id> {
        let is_it = |slot: &Id| records.get(*slot).is_some_and(|record| record.name() == name);
        self.slots.get(name, is_it).copied()
    }

    /// Adds a name that is not in the index.
    pub(in crate::catalog) fn insert(&mut self, name: &str, slot: Id) {
        self.slots.insert_new(name, slot);
    }

    /// Removes a name and its slot, if it is in the index.
    pub(in crate::catalog) fn remove(&mut self, name: &str, slot: Id) {
        self.slots.remove(name, |known| *known == slot);
    }

    /// Whether every record is found by its name, and the index has nothing else.
    pub(in crate::catalog) fn is_consistent<T: Named>(&self, records: &Slab<T>) -> bool {
        let found = records.iter().all(|(slot, record)| self.get(record.name(), records) == Some(slot));
        found && self.slots.len() == records.len()
    }
}
