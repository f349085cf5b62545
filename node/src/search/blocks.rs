//! The folded names in blocks of one text each, so that a scan runs at the speed of memory.
//!
//! Invariants:
//! * A block's text is `LF name LF name … LF`: no term contains a line feed, so no find spans two names.
//! * Entries of a block lie in the order of their text, so that finds and entries are walked together.
//! * A block in which half the names are gone is written anew: no text is dead for ever, and a removal moves at most one
//!   block's names.

use std::sync::Arc;

use memchr::memmem;
use raft_store::types::FileName;

use super::query::{Terms, judge};
use super::{Mode, Tier};

/// Size at which a block takes no more names, in bytes; small enough to be rewritten in the time of a few look-ups.
const BLOCK_BYTES: usize = 64 * 1_024;

/// Where a name's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    block: usize,
    entry: usize,
}

#[derive(Debug)]
struct Entry {
    /// Offset of the name's first byte in the block's text.
    start: usize,
    /// `None` once the name is gone.
    name: Option<Arc<FileName>>,
}

#[derive(Debug)]
struct Block {
    text: Vec<u8>,
    entries: Vec<Entry>,
    live: usize,
}

/// All blocks, and which of them have room.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// Blocks that may have room, the one in use last.
    open: Vec<usize>,
}

impl Block {
    fn new() -> Self {
        Self { text: vec![b'\n'], entries: Vec::new(), live: 0 }
    }

    fn push(&mut self, name: Arc<FileName>, folded: &[u8]) -> usize {
        self.entries.push(Entry { start: self.text.len(), name: Some(name) });
        self.text.extend_from_slice(folded);
        self.text.push(b'\n');
        self.live += 1;
        self.entries.len() - 1
    }

    fn folded(&self, entry: usize) -> &[u8] {
        let end = self.entries.get(entry + 1).map_or(self.text.len(), |next| next.start);
        &self.text[self.entries[entry].start..end - 1]
    }

    /// Entries whose name contains `needle`, each once, in order.
    fn find(&self, needle: &[u8], mut found: impl FnMut(usize)) {
        let finder = memmem::Finder::new(needle);
        let (mut from, mut entry) = (0, 0);
        while let Some(at) = finder.find(&self.text[from..]) {
            // The needle may begin with the line feed before a name; its last byte lies in the name in any case.
            let inside = from + at + needle.len() - 1;
            entry += self.entries[entry..].partition_point(|other| other.start <= inside) - 1;
            found(entry);
            entry += 1;
            match self.entries.get(entry) {
                Some(next) => from = next.start - 1,
                None => break,
            }
        }
    }
}

impl Blocks {
    /// Adds a name.
    pub(super) fn insert(&mut self, name: Arc<FileName>, folded: &str) -> Slot {
        while self.open.last().is_some_and(|&block| self.blocks[block].text.len() >= BLOCK_BYTES) {
            self.open.pop();
        }
        let block = match self.open.last() {
            Some(&block) => block,
            None => {
                self.blocks.push(Block::new());
                self.open.push(self.blocks.len() - 1);
                self.blocks.len() - 1
            }
        };
        Slot { block, entry: self.blocks[block].push(name, folded.as_bytes()) }
    }

    /// Takes a name out, and answers the names whose place changed thereby.
    pub(super) fn remove(&mut self, slot: Slot) -> Vec<(Arc<FileName>, Slot)> {
        let block = &mut self.blocks[slot.block];
        if block.entries[slot.entry].name.take().is_some() {
            block.live -= 1;
        }
        if block.live * 2 > block.entries.len() {
            return Vec::new();
        }
        let old = std::mem::replace(block, Block::new());
        let mut moved = Vec::with_capacity(old.live);
        for (entry, name) in old.entries.iter().enumerate().filter_map(|(entry, old)| Some((entry, old.name.clone()?)))
        {
            let entry = block.push(Arc::clone(&name), old.folded(entry));
            moved.push((name, Slot { block: slot.block, entry }));
        }
        if !self.open.contains(&slot.block) {
            self.open.insert(0, slot.block);
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
        let leading = terms.each[terms.leading].as_str();
        // A prefix begins its line; every other match contains the leading term or one of its corrections.
        let needles: Vec<Vec<u8>> = match mode {
            Mode::Prefix => vec![format!("\n{}", terms.whole).into_bytes()],
            Mode::Substring => vec![leading.as_bytes().to_vec()],
            Mode::Fuzzy => std::iter::once(leading.as_bytes())
                .chain(typos[terms.leading].iter().map(|typo| typo.as_bytes()))
                .map(<[u8]>::to_vec)
                .collect(),
        };
        let mut candidates = Vec::new();
        for block in &self.blocks {
            candidates.clear();
            for needle in &needles {
                block.find(needle, |entry| candidates.push(entry));
            }
            if needles.len() > 1 {
                candidates.sort_unstable();
                candidates.dedup();
            }
            for &entry in &candidates {
                let Some(name) = &block.entries[entry].name else { continue };
                if let Some(tier) = judge(terms, typos, mode, block.folded(entry)) {
                    hit(tier, name);
                }
            }
        }
    }
}
