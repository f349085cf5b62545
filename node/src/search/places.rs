//! Where each name is: found by its bytes in one step.
//!
//! Invariant: every name of the blocks is in the table, with its slot there.

use raft_store::name_table::{NameTable, Vacancy};
use raft_store::types::FileName;

use super::blocks::{Blocks, Slot};

/// See the module. The names themselves are in the blocks.
#[derive(Debug, Default)]
pub(super) struct Places {
    slots: NameTable<Slot>,
}

impl Places {
    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Room for a name; `None` if it is in the blocks.
    pub(super) fn vacancy(&mut self, name: &FileName, blocks: &Blocks) -> Option<Vacancy<'_, Slot>> {
        self.slots.get_or_vacancy(name.as_str(), |slot| blocks.name(*slot) == Some(name)).err()
    }

    /// Forgets a name, and answers the slot it had.
    pub(super) fn remove(&mut self, name: &FileName, blocks: &Blocks) -> Option<Slot> {
        self.slots.remove(name.as_str(), |slot| blocks.name(*slot) == Some(name))
    }

    /// Notes that a name went from one slot to another.
    pub(super) fn moved(&mut self, name: &FileName, from: Slot, to: Slot) {
        if let Some(slot) = self.slots.get_mut(name.as_str(), |slot| *slot == from) {
            *slot = to;
        }
    }
}
