//! Builds the postings of a full block: counts the entries of each trigram, then puts each entry in its position.
//!
//! Invariants:
//! * Nothing is compared or hashed, so that no choice of names makes a block slow to close. The time grows with the
//!   block's text and with the number of cells: byte pairs that occur times bytes that occur.
//! * Only scratch space of limited size is kept from one block to the next, and it is cleared.

use super::postings::{EntryNo, Postings};

/// Pairs of bytes there are.
const PAIRS: usize = 1 << 16;

/// What `rows` has for a pair of bytes that does not occur.
const ABSENT: u32 = u32::MAX;

/// Cells that are kept between two blocks: more than names in one or two scripts need.
const CELLS_KEPT: usize = 1 << 20;

/// See the module. Every trigram has a cell: its first two bytes tell the row, its last the
/// column, both in ascending order.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// For each pair of bytes the first cell of its row, or [`ABSENT`].
    rows: Vec<u32>,
    /// The pairs that have a row, ascending.
    pairs: Vec<u16>,
    /// For a cell, at first the number of entries with its trigram, and in the upper half the last of them, counted
    /// from 1. Later the position of the next of them.
    cells: Vec<u32>,
    /// The cells of all entries, one entry after the other, each cell once in an entry.
    found: Vec<u32>,
    /// Where each entry ends in `found`.
    found_ends: Vec<usize>,
    trigrams: Vec<u32>,
    ends: Vec<u32>,
}

impl Builder {
    /// Of texts in the order of their entries, at most 65,535.
    pub(super) fn build<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]> + Clone) -> Postings {
        let columns = self.lay_out(texts.clone());
        self.count(texts, &columns);
        let (listed, everywhere) = self.place(&columns);
        let count = self.found_ends.len();
        let mut entries = vec![0; if everywhere { listed + count } else { listed }].into_boxed_slice();
        let (cells, mut from) = (self.cells.as_mut_slice(), 0);
        for (entry, &end) in self.found_ends.iter().enumerate() {
            for &cell in &self.found[from..end] {
                let place = &mut cells[cell as usize];
                entries[*place as usize] = entry as EntryNo;
                *place += 1;
            }
            from = end;
        }
        let postings =
            Postings { trigrams: self.trigrams.as_slice().into(), ends: self.ends.as_slice().into(), entries, count };
        self.reset();
        postings
    }

    /// Gives each pair of bytes that occurs a row, and each byte that ends one a column.
    fn lay_out<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>) -> Columns {
        self.rows.resize(PAIRS, ABSENT);
        let (rows, mut length) = (self.rows.as_mut_slice(), 0);
        for text in texts {
            for pair in text.array_windows() {
                rows[usize::from(u16::from_be_bytes(*pair))] = 0;
            }
            length += text.len();
        }
        self.pairs.extend((0..=u16::MAX).zip(rows.iter()).filter(|(_, row)| **row != ABSENT).map(|(pair, _)| pair));
        let mut columns = Columns { of: [0; 256], bytes: Vec::new() };
        for pair in &self.pairs {
            columns.of[usize::from(pair % 256)] = 1;
        }
        for (byte, column) in columns.of.iter_mut().enumerate().filter(|(_, column)| **column > 0) {
            *column = columns.bytes.len() as u32;
            columns.bytes.push(byte as u8);
        }
        for (number, pair) in self.pairs.iter().enumerate() {
            rows[usize::from(*pair)] = (number * columns.bytes.len()) as u32;
        }
        self.cells.resize(self.pairs.len() * columns.bytes.len(), 0);
        if self.found.len() < length {
            self.found.resize(length, 0);
        }
        columns
    }

    /// Counts the entries of each cell.
    fn count<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>, columns: &Columns) {
        let (rows, cells, found) = (self.rows.as_slice(), self.cells.as_mut_slice(), self.found.as_mut_slice());
        let mut end = 0;
        for (entry, text) in (1..).zip(texts) {
            for &[first, second, third] in text.array_windows() {
                let cell = rows[usize::from(u16::from_be_bytes([first, second]))] + columns.of[usize::from(third)];
                let counted = &mut cells[cell as usize];
                let is_new = *counted >> 16 != entry;
                *counted = (entry << 16) | ((*counted & 0xFFFF) + u32::from(is_new));
                // Written always and kept only if it counts: the processor cannot predict what repeats in a name.
                found[end] = cell;
                end += usize::from(is_new);
            }
            self.found_ends.push(end);
        }
    }

    /// Assigns each cell the position of its entries. Returns how many there are in lists of their own, and whether
    /// some trigram is in every entry.
    fn place(&mut self, columns: &Columns) -> (usize, bool) {
        let count = self.found_ends.len() as u32;
        let mut end = 0;
        let mut everywhere = Vec::new();
        let rows = self.cells.chunks_exact_mut(columns.bytes.len().max(1));
        for (row, (&pair, cells)) in self.pairs.iter().zip(rows).enumerate() {
            for (column, (&byte, cell)) in
                columns.bytes.iter().zip(cells).enumerate().filter(|(_, (_, cell))| **cell > 0)
            {
                let counted = std::mem::replace(cell, end) & 0xFFFF;
                if counted == count {
                    everywhere.push(row * columns.bytes.len() + column);
                } else {
                    end += counted;
                }
                self.trigrams.push((u32::from(pair) << 8) | u32::from(byte));
                self.ends.push(end);
            }
        }
        for &cell in &everywhere {
            self.cells[cell] = end;
        }
        (end as usize, !everywhere.is_empty())
    }

    fn reset(&mut self) {
        for pair in self.pairs.drain(..) {
            self.rows[usize::from(pair)] = ABSENT;
        }
        self.cells.clear();
        self.cells.shrink_to(CELLS_KEPT);
        self.found_ends.clear();
        self.trigrams.clear();
        self.ends.clear();
    }
}

/// The bytes that end a pair: among them are those that end a trigram.
struct Columns {
    of: [u32; 256],
    /// Ascending.
    bytes: Vec<u8>,
}
