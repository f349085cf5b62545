//! Where each name is stored, by the number of its file, in one step.
//!
//! Invariant: every name of the blocks has its slot in the table under its number. Files are numbered
//! one after the other, so a new name's slot is beside the last one's in memory. The table grows in
//! parts, so that no single insertion is slow.

use raft_store::catalog::FileNumber;

use super::blocks::Slot;

/// Numbers in one part of the table.
const PART_NUMBERS: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    parts: Vec<Box<[Slot]>>,
    /// How many numbers have a slot.
    names: usize,
}

impl SlotTable {
    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.names
    }

    /// One number more than the greatest that may have a slot.
    pub(super) fn end(&self) -> FileNumber {
        (self.parts.len() * PART_NUMBERS) as FileNumber
    }

    /// The slot of a number, if it has one.
    pub(super) fn get(&self, number: FileNumber) -> Option<Slot> {
        let slot = self.parts.get(number as usize / PART_NUMBERS)?[number as usize % PART_NUMBERS];
        (slot != Slot::NONE).then_some(slot)
    }

    /// Notes where the name of a number is now.
    pub(super) fn set(&mut self, number: FileNumber, slot: Slot) {
        let number = number as usize;
        while self.parts.len() <= number / PART_NUMBERS {
            self.parts.push(vec![Slot::NONE; PART_NUMBERS].into_boxed_slice());
        }
        let slot_of = &mut self.parts[number / PART_NUMBERS][number % PART_NUMBERS];
        self.names += usize::from(*slot_of == Slot::NONE);
        *slot_of = slot;
    }

    /// Forgets a number, and returns the slot it had.
    pub(super) fn remove(&mut self, number: FileNumber) -> Option<Slot> {
        let slot = self.get(number)?;
        self.parts[number as usize / PART_NUMBERS][number as usize % PART_NUMBERS] = Slot::NONE;
        self.names -= 1;
        Some(slot)
    }
}
