//! The folded names in blocks of one text each: full blocks are searched by trigrams, the open one is scanned.
//!
//! Invariants:
//! * A block's text is `LF name LF name … LF`: no term contains a line feed, so no match spans two names.
//! * Entries of a block are in the order of their text, so that matches and entries are walked together.
//! * Names are only added to the open block; a full one is never opened again. A block that has lost half its
//!   names is dissolved, and its remaining names are added again: no dead text is kept for ever, and a
//!   removal moves at most half a block.
//! * A query works on a [`View`], which shares the full blocks; before one changes, only the few bytes
//!   that say which names are gone are copied. The open block is scanned when the view is taken, so that
//!   adding a name never copies a block.

use std::sync::Arc;

use memchr::memmem;
use raft_store::catalog::FileNumber;
use raft_store::types::FileName;

use super::builder::Builder;
use super::postings::{EntryNo, Postings};
use super::query::{Group, Needle, Terms, judge};
use super::{Mode, Tier};

/// Names in a full block: closing one has to be done in milliseconds, and looking one up costs
/// a microsecond, full or not.
pub(super) const BLOCK_NAMES: usize = 4_096;

/// Size at which a block of long names is full, in bytes.
const BLOCK_BYTES: usize = 256 * 1_024;

/// Bytes of a block's text that are sampled to find the rarest term.
const SAMPLE_BYTES: usize = 4 * 1_024;

/// Where a name's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    block: u32,
    entry: EntryNo,
}

impl Slot {
    /// No slot.
    pub(super) const NONE: Self = Self { block: u32::MAX, entry: 0 };
}

#[derive(Debug, Clone, Default)]
struct Body {
    text: Vec<u8>,
    /// For each entry the offset of its name's first byte in the text.
    starts: Vec<u32>,
    /// For each entry its name, even if that is gone.
    names: Vec<FileName>,
    /// For each entry the number of its file.
    numbers: Vec<FileNumber>,
    /// Of a full block.
    postings: Option<Postings>,
}

#[derive(Debug, Clone, Default)]
struct Block {
    body: Arc<Body>,
    /// A bit for each entry whose name is gone; ends with the last such entry.
    gone: Vec<u64>,
    live: usize,
}

/// All blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Arc<Block>>,
    /// The block that takes names.
    open: usize,
    /// Blocks without an entry.
    empty: Vec<usize>,
    block_names: usize,
    builder: Builder,
}

impl Block {
    fn push(&mut self, number: FileNumber, name: FileName, folded: &[u8]) -> EntryNo {
        self.live += 1;
        // Nobody shares the open block.
        Arc::make_mut(&mut self.body).push(number, name, folded)
    }

    fn is_gone(&self, entry: usize) -> bool {
        self.gone.get(entry / 64).is_some_and(|bits| bits >> (entry % 64) & 1 == 1)
    }

    /// Notes that a name is gone; false if it was already.
    fn take(&mut self, entry: usize) -> bool {
        if self.is_gone(entry) {
            return false;
        }
        if self.gone.len() <= entry / 64 {
            self.gone.resize(entry / 64 + 1, 0);
        }
        self.gone[entry / 64] |= 1 << (entry % 64);
        self.live -= 1;
        true
    }

    fn names(&self) -> impl Iterator<Item = &FileName> {
        self.body.names.iter().enumerate().filter(|(entry, _)| !self.is_gone(*entry)).map(|(_, name)| name)
    }

    /// Calls `hit` for every name that matches, each once.
    fn scan<'a>(&'a self, asked: &Asked<'_>, mut hit: impl FnMut(Tier, &'a FileName)) {
        for entry in self.body.candidates(asked).into_iter().map(usize::from) {
            if self.is_gone(entry) {
                continue;
            }
            if let Some(tier) = judge(asked.terms, asked.typos, asked.mode, self.body.folded(entry)) {
                hit(tier, &self.body.names[entry]);
            }
        }
    }

    /// Leaves an empty block with this one's capacity behind, and returns this one without spare capacity.
    fn close(&mut self, builder: &mut Builder) -> Self {
        let body = Arc::make_mut(&mut self.body);
        let closed = Arc::new(body.close(builder));
        Self { body: closed, gone: std::mem::take(&mut self.gone), live: std::mem::take(&mut self.live) }
    }
}

impl Body {
    fn push(&mut self, number: FileNumber, name: FileName, folded: &[u8]) -> EntryNo {
        if self.text.is_empty() {
            self.text.push(b'\n');
        }
        self.starts.push(self.text.len() as u32);
        self.text.extend_from_slice(folded);
        self.text.push(b'\n');
        self.names.push(name);
        self.numbers.push(number);
        (self.names.len() - 1) as EntryNo
    }

    fn close(&mut self, builder: &mut Builder) -> Self {
        let postings = builder.build((0..self.names.len()).map(|entry| self.folded(entry)));
        let closed = Self {
            text: self.text.as_slice().to_vec(),
            starts: self.starts.as_slice().to_vec(),
            names: self.names.drain(..).collect(),
            numbers: self.numbers.as_slice().to_vec(),
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
            // The needle may begin with the line feed before a name, but its last byte always lies in the name.
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

    /// The entries to examine for a query, each once.
    fn candidates(&self, asked: &Asked<'_>) -> Vec<EntryNo> {
        let Asked { terms, mode, groups, .. } = asked;
        if let Some(found) = self.postings.as_ref().and_then(|postings| postings.candidates(groups)) {
            return found;
        }
        if *mode == Mode::Prefix {
            // A prefix begins its line.
            return self.find_any(&[Needle::new(format!("\n{}", terms.whole).as_bytes())]);
        }
        let sample = &self.text[..self.text.len().min(SAMPLE_BYTES)];
        let seen = |needle: &Needle| memmem::find_iter(sample, &needle.bytes).count();
        let rarest = groups.iter().min_by_key(|group| group.iter().map(seen).sum::<usize>());
        rarest.map(|group| self.find_any(group)).unwrap_or_default()
    }
}

/// What names are matched against.
pub(super) struct Asked<'a> {
    terms: &'a Terms,
    typos: &'a [Vec<Box<str>>],
    mode: Mode,
    groups: Vec<Group>,
}

impl<'a> Asked<'a> {
    /// `typos` has the corrections of each term.
    pub(super) fn new(terms: &'a Terms, typos: &'a [Vec<Box<str>>], mode: Mode) -> Self {
        Self { terms, typos, mode, groups: terms.groups(typos, mode) }
    }
}

/// All names as they were at one moment, for one query.
#[derive(Debug)]
pub(super) struct View {
    full: Vec<Arc<Block>>,
    /// The hits in the block that was open then.
    open: Vec<(Tier, FileName)>,
}

impl View {
    /// All names, in no order, if the view was taken for all of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.open.iter().map(|(_, name)| name).chain(self.full.iter().flat_map(|block| block.names()))
    }

    /// Calls `hit` for every name that matches, each once, if the view was taken for the same query.
    pub(super) fn scan<'a>(&'a self, asked: &Asked<'_>, mut hit: impl FnMut(Tier, &'a FileName)) {
        self.open.iter().for_each(|(tier, name)| hit(*tier, name));
        self.full.iter().for_each(|block| block.scan(asked, &mut hit));
    }
}

impl Blocks {
    /// No names; a block is full with this many.
    pub(super) fn new(block_names: usize) -> Self {
        Self { blocks: vec![Arc::default()], open: 0, empty: Vec::new(), block_names, builder: Builder::default() }
    }

    /// The name in a slot.
    pub(super) fn name(&self, slot: Slot) -> Option<&FileName> {
        let (block, entry) = (self.blocks.get(slot.block as usize)?, usize::from(slot.entry));
        block.body.names.get(entry).filter(|_| !block.is_gone(entry))
    }

    /// The names now: all of them, or those that are asked for.
    pub(super) fn view(&self, asked: Option<&Asked<'_>>) -> View {
        let full = self.blocks.iter().enumerate().filter(|(number, block)| *number != self.open && block.live > 0);
        let full = full.map(|(_, block)| Arc::clone(block)).collect();
        let (block, mut open) = (&self.blocks[self.open], Vec::new());
        match asked {
            Some(asked) => block.scan(asked, |tier, name| open.push((tier, name.clone()))),
            None => open.extend(block.names().map(|name| (Tier::Exact, name.clone()))),
        }
        View { full, open }
    }

    /// Adds a name.
    pub(super) fn insert(&mut self, number: FileNumber, name: FileName, folded: &[u8]) -> Slot {
        let open = &mut self.blocks[self.open];
        if open.body.names.len() >= self.block_names || open.body.text.len() >= BLOCK_BYTES {
            let closed = Arc::make_mut(open).close(&mut self.builder);
            let emptied = std::mem::replace(open, Arc::new(closed));
            self.open = self.empty.pop().unwrap_or(self.blocks.len());
            match self.blocks.get_mut(self.open) {
                Some(block) => *block = emptied,
                None => self.blocks.push(emptied),
            }
        }
        let block = Arc::make_mut(&mut self.blocks[self.open]);
        Slot { block: self.open as u32, entry: block.push(number, name, folded) }
    }

    /// Removes a name. Returns which names moved because of that, and where to.
    pub(super) fn remove(&mut self, slot: Slot) -> Vec<(FileNumber, Slot)> {
        let number = slot.block as usize;
        let block = Arc::make_mut(&mut self.blocks[number]);
        block.take(usize::from(slot.entry));
        if block.live * 2 > block.body.names.len() {
            return Vec::new();
        }
        let old = std::mem::take(block);
        if number != self.open {
            self.empty.push(number);
        }
        let mut moved = Vec::with_capacity(old.live);
        let body = &old.body;
        for (entry, name) in body.names.iter().enumerate().filter(|(entry, _)| !old.is_gone(*entry)) {
            let number = body.numbers[entry];
            moved.push((number, self.insert(number, name.clone(), body.folded(entry))));
        }
        moved
    }
}
