//! The folded names in blocks of one text each: full blocks are looked up by trigrams, the one that is being filled is scanned.
//!
//! Invariants:
//! * A block's text is `LF name LF name … LF`: no term contains a line feed, so no find spans two names.
//! * Entries of a block lie in the order of their text, so that finds and entries are walked together.
//! * Names are only added to the open block; a full one is closed for good. A block in which half the names are gone is dissolved and
//!   its names are added again: no text is dead for ever, and a removal moves at most half a block.

use memchr::memmem;
use raft_store::catalog::FileNumber;
use raft_store::types::FileName;

use super::builder::Builder;
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

impl Slot {
    /// No name's.
    pub(super) const NONE: Self = Self { block: u32::MAX, entry: 0 };
}

#[derive(Debug, Default)]
struct Block {
    text: Vec<u8>,
    /// For each entry the offset of its name's first byte in the text.
    starts: Vec<u32>,
    /// For each entry its name; `None` once the name is gone.
    names: Vec<Option<FileName>>,
    /// For each entry the number of its file.
    numbers: Vec<FileNumber>,
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
    builder: Builder,
}

impl Block {
    fn push(&mut self, number: FileNumber, name: FileName, folded: &[u8]) -> EntryNo {
        if self.text.is_empty() {
            self.text.push(b'\n');
        }
        self.starts.push(self.text.len() as u32);
        self.text.extend_from_slice(folded);
        self.text.push(b'\n');
        self.names.push(Some(name));
        self.numbers.push(number);
        self.live += 1;
        (self.names.len() - 1) as EntryNo
    }

    /// Leaves an empty block with the room that this one needed; what is answered has no room to spare.
    fn close(&mut self, builder: &mut Builder) -> Self {
        let postings = builder.build((0..self.names.len()).map(|entry| self.folded(entry)));
        let closed = Self {
            text: self.text.as_slice().to_vec(),
            starts: self.starts.as_slice().to_vec(),
            names: self.names.drain(..).collect(),
            numbers: self.numbers.as_slice().to_vec(),
            live: std::mem::take(&mut self.live),
            postings: Some(postings),
        };
        self.text.clear();
        self.starts.clear();
        self.numbers.clear();
        closed
    }

    fn folded(&self, entry: usize) -> &[u8] {
        let end = self.starts.get(entry + 1).map_or(self.text.len(), |next| *next as usize);
        &self.text[self.starts[entry] as usize..end - 1]
    }

    /// Entries whose name contains `needle`, each once, in order.
    fn find(&self, needle: &[u8], mut found: impl FnMut(EntryNo)) {
        let finder = memmem::Finder::new(needle);
        let (mut from, mut entry) = (0, 0);
        while let Some(at) = finder.find(&self.text[from..]) {
            // The needle may begin with the line feed before a name; its last byte lies in the name in any case.
            let inside = (from + at + needle.len() - 1) as u32;
            entry += self.starts[entry..].partition_point(|start| *start <= inside) - 1;
            found(entry as EntryNo);
            entry += 1;
            match self.starts.get(entry) {
                Some(next) => from = *next as usize - 1,
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
        Self { blocks: vec![Block::default()], open: 0, empty: Vec::new(), block_names, builder: Builder::default() }
    }

    /// The name in a slot.
    pub(super) fn name(&self, slot: Slot) -> Option<&FileName> {
        self.blocks.get(slot.block as usize)?.names.get(usize::from(slot.entry))?.as_ref()
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.blocks.iter().flat_map(|block| block.names.iter().flatten())
    }

    /// Adds a name.
    pub(super) fn insert(&mut self, number: FileNumber, name: FileName, folded: &[u8]) -> Slot {
        let open = &mut self.blocks[self.open];
        if open.names.len() >= self.block_names || open.text.len() >= BLOCK_BYTES {
            let closed = open.close(&mut self.builder);
            let emptied = std::mem::replace(open, closed);
            self.open = self.empty.pop().unwrap_or(self.blocks.len());
            match self.blocks.get_mut(self.open) {
                Some(block) => *block = emptied,
                None => self.blocks.push(emptied),
            }
        }
        Slot { block: self.open as u32, entry: self.blocks[self.open].push(number, name, folded) }
    }

    /// Takes a name out, and answers whose names moved thereby, and where to.
    pub(super) fn remove(&mut self, slot: Slot) -> Vec<(FileNumber, Slot)> {
        let number = slot.block as usize;
        let block = &mut self.blocks[number];
        if block.names[usize::from(slot.entry)].take().is_some() {
            block.live -= 1;
        }
        if block.live * 2 > block.names.len() {
            return Vec::new();
        }
        let old = std::mem::take(block);
        if number != self.open {
            self.empty.push(number);
        }
        let mut moved = Vec::with_capacity(old.live);
        for (entry, name) in old.names.iter().enumerate().filter_map(|(entry, name)| Some((entry, name.as_ref()?))) {
            let number = old.numbers[entry];
            moved.push((number, self.insert(number, name.clone(), old.folded(entry))));
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
                let Some(name) = &block.names[entry] else { continue };
                if let Some(tier) = judge(terms, typos, mode, block.folded(entry)) {
                    hit(tier, name);
                }
            }
        }
    }
}
