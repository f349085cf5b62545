//! The folded names in blocks of one text each: full blocks are looked up by trigrams, the one that is being filled is scanned.
//!
//! Invariants:
//! * A block's text is `LF name LF name … LF`: no term contains a line feed, so no find spans two names.
//! * Entries of a block lie in the order of their text, so that finds and entries are walked together.
//! * Names are only added to the open block; a full one is closed for good. A block in which half the names are gone is dissolved and
//!   its names are added again: no text is dead for ever, and a removal moves at most half a block.

use memchr::memmem;
use raft_store::types::FileName;

use super::postings::{EntryNo, Postings};
use super::query::{Group, Needle, Terms, judge};
use super::{Mode, Tier};

/// Names in a full block: closing one has to be done in milliseconds, and looking one up costs a microsecond, full or not.
pub(super) const BLOCK_NAMES: usize = 4_096;

/// Size at which a block of long names is full, in bytes.
const BLOCK_BYTES: usize = 256 * 1_024;

/// Text of a block that is looked at to find out which term is the rarest, in bytes.
const SAMPLE_BYTES: usize = 4 * 1_024;

/// Where a name's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    block: u32,
    entry: EntryNo,
}

#[derive(Debug)]
struct Entry {
    /// Offset of the name's first byte in the block's text.
    start: u32,
    /// `None` once the name is gone.
    name: Option<FileName>,
}

#[derive(Debug)]
struct Block {
    text: Vec<u8>,
    entries: Vec<Entry>,
    live: usize,
    /// Of a full block.
    postings: Option<Postings>,
}

/// All blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// The block that takes names.
    open: usize,
    /// Blocks without an entry.
    empty: Vec<usize>,
    block_names: usize,
}

impl Block {
    fn new() -> Self {
        Self { text: vec![b'\n'], entries: Vec::new(), live: 0, postings: None }
    }

    fn push(&mut self, name: FileName, folded: &[u8]) -> EntryNo {
        self.entries.push(Entry { start: self.text.len() as u32, name: Some(name) });
        self.text.extend_from_slice(folded);
        self.text.push(b'\n');
        self.live += 1;
        (self.entries.len() - 1) as EntryNo
    }

    fn close(&mut self) {
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.postings = Some(Postings::new((0..self.entries.len()).map(|entry| self.folded(entry))));
    }

    fn folded(&self, entry: usize) -> &[u8] {
        let end = self.entries.get(entry + 1).map_or(self.text.len(), |next| next.start as usize);
        &self.text[self.entries[entry].start as usize..end - 1]
    }

    /// Entries whose name contains `needle`, each once, in order.
    fn find(&self, needle: &[u8], mut found: impl FnMut(EntryNo)) {
        let finder = memmem::Finder::new(needle);
        let (mut from, mut entry) = (0, 0);
        while let Some(at) = finder.find(&self.text[from..]) {
            // The needle may begin with the line feed before a name; its last byte lies in the name in any case.
            let inside = (from + at + needle.len() - 1) as u32;
            entry += self.entries[entry..].partition_point(|other| other.start <= inside) - 1;
            found(entry as EntryNo);
            entry += 1;
            match self.entries.get(entry) {
                Some(next) => from = next.start as usize - 1,
                None => break,
            }
        }
    }

    /// Entries whose name contains one of the needles, each once, in order.
    fn find_any(&self, needles: &[Needle]) -> Vec<EntryNo> {
        let mut found = Vec::new();
        for needle in needles {
            self.find(&needle.bytes, |entry| found.push(entry));
        }
        if needles.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    /// What to look at for a query, each entry once.
    fn candidates(&self, terms: &Terms, groups: &[Group], mode: Mode) -> Vec<EntryNo> {
        if let Some(found) = self.postings.as_ref().and_then(|postings| postings.candidates(groups)) {
            return found;
        }
        if mode == Mode::Prefix {
            // A prefix begins its line.
            return self.find_any(&[Needle::new(format!("\n{}", terms.whole).as_bytes())]);
        }
        let sample = &self.text[..self.text.len().min(SAMPLE_BYTES)];
        let seen = |needle: &Needle| memmem::find_iter(sample, &needle.bytes).count();
        let rarest = groups.iter().min_by_key(|group| group.iter().map(seen).sum::<usize>());
        rarest.map(|group| self.find_any(group)).unwrap_or_default()
    }
}

impl Blocks {
    /// No names; a block is full with so many.
    pub(super) fn new(block_names: usize) -> Self {
        Self { blocks: vec![Block::new()], open: 0, empty: Vec::new(), block_names }
    }

    /// The name in a slot.
    pub(super) fn name(&self, slot: Slot) -> Option<&FileName> {
        self.blocks.get(slot.block as usize)?.entries.get(usize::from(slot.entry))?.name.as_ref()
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.blocks.iter().flat_map(|block| block.entries.iter()).filter_map(|entry| entry.name.as_ref())
    }

    /// Adds a name.
    pub(super) fn insert(&mut self, name: FileName, folded: &[u8]) -> Slot {
        let open = &mut self.blocks[self.open];
        if open.entries.len() >= self.block_names || open.text.len() >= BLOCK_BYTES {
            open.close();
            self.open = self.empty.pop().unwrap_or_else(|| {
                self.blocks.push(Block::new());
                self.blocks.len() - 1
            });
        }
        Slot { block: self.open as u32, entry: self.blocks[self.open].push(name, folded) }
    }

    /// Takes a name out, and answers the names that moved thereby, with their places before and after.
    pub(super) fn remove(&mut self, slot: Slot) -> Vec<(FileName, Slot, Slot)> {
        let number = slot.block as usize;
        let block = &mut self.blocks[number];
        if block.entries[usize::from(slot.entry)].name.take().is_some() {
            block.live -= 1;
        }
        if block.live * 2 > block.entries.len() {
            return Vec::new();
        }
        let old = std::mem::replace(block, Block::new());
        if number != self.open {
            self.empty.push(number);
        }
        let mut moved = Vec::with_capacity(old.live);
        for (entry, name) in old.entries.iter().enumerate().filter_map(|(entry, old)| Some((entry, old.name.clone()?)))
        {
            let from = Slot { block: slot.block, entry: entry as EntryNo };
            let to = self.insert(name.clone(), old.folded(entry));
            moved.push((name, from, to));
        }
        moved
    }

    /// Calls `hit` for every name that matches, each once.
    pub(super) fn scan<'a>(
        &'a self,
        terms: &Terms,
        typos: &[Vec<Box<str>>],
        mode: Mode,
        mut hit: impl FnMut(Tier, &'a FileName),
    ) {
        let groups = terms.groups(typos, mode);
        for block in &self.blocks {
            for entry in block.candidates(terms, &groups, mode).into_iter().map(usize::from) {
                let Some(name) = &block.entries[entry].name else { continue };
                if let Some(tier) = judge(terms, typos, mode, block.folded(entry)) {
                    hit(tier, name);
                }
            }
        }
    }
}
