//! Search over file names: a derived index, rebuilt from the catalog at start and kept up to date by its events.
//!
//! ```text
//!   FileName ──fold──► "docs report 2024"  ──► blocks (by trigrams) exact > prefix > word start > substring
//!                                          └─► vocabulary (typos)   fuzzy
//! ```
//!
//! Invariants:
//! * An answer is exact: the same hits, order and total as asking every name by itself.
//! * The order of two hits is that of their tier, then the shorter name, then the bytes of the name; scores never rise
//!   from one hit to the next.
//! * This module has no lock and no thread, and writes nothing to disk. A query borrows the index only briefly: for
//!   each part of the vocabulary, and for a view of the names.

mod blocks;
mod builder;
mod fold;
pub mod names;
mod postings;
mod query;
mod reasons;
mod slot_table;
mod vocabulary;
mod word;

#[cfg(test)]
mod tests;

pub use client::contract::SearchMode as Mode;
use raft_store::catalog::FileNumber;
use raft_store::types::FileName;

use blocks::{Asked, BLOCK_NAMES, Blocks, View};
use fold::{fold, fold_into};
use query::{Hit, Query, Ranked};
use slot_table::SlotTable;
use vocabulary::{Vocabulary, best, parts_near};

/// Longest query, in bytes; a longer one has no hits. Four times a name's length leaves room for any separators.
pub const QUERY_BYTES_MAX: usize = 4 * 1_024;

/// How well a name fits; the order is that of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The name is the query.
    Exact,
    /// The name begins with the query.
    Prefix,
    /// Every term begins a word.
    WordStart,
    /// Every term occurs.
    Substring,
    /// Every term occurs or is one typo away from a word.
    Fuzzy,
}

/// The answer to a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchResult {
    /// The best hits in order, each with a score above 0 and up to 1.
    pub hits: Vec<(FileName, f64)>,
    /// Hits in all, before the limit.
    pub total: usize,
}

/// The index over a set of names.
#[derive(Debug)]
pub struct SearchIndex {
    slots: SlotTable,
    blocks: Blocks,
    vocabulary: Vocabulary,
    /// Buffer for the folded form of the name that is added.
    folded: String,
}

impl Default for SearchIndex {
    fn default() -> Self {
        Self::with_block_names(BLOCK_NAMES)
    }
}

impl SearchIndex {
    /// An index without names.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_block_names(block_names: usize) -> Self {
        Self {
            slots: SlotTable::default(),
            blocks: Blocks::new(block_names),
            vocabulary: Vocabulary::default(),
            folded: String::new(),
        }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the name of a file; false if it was there already. A number always stands for the same name.
    pub fn insert(&mut self, number: FileNumber, name: &FileName) -> bool {
        if self.slots.get(number).is_some() {
            return false;
        }
        fold_into(&mut self.folded, name.as_str());
        self.vocabulary.add(&self.folded);
        self.slots.set(number, self.blocks.insert(number, name.clone(), self.folded.as_bytes()));
        true
    }

    /// Removes the name of a file; false if it was not there.
    pub fn remove(&mut self, number: FileNumber) -> bool {
        let Some(slot) = self.slots.remove(number) else { return false };
        if let Some(name) = self.blocks.name(slot) {
            self.vocabulary.remove(&fold(name.as_str()));
        }
        for (moved, slot) in self.blocks.remove(slot) {
            self.slots.set(moved, slot);
        }
        true
    }

    /// Sets the name of a number, or removes it, whatever it was before.
    pub fn set(&mut self, number: FileNumber, name: Option<&FileName>) {
        let known = self.slots.get(number).and_then(|slot| self.blocks.name(slot));
        if known == name {
            return;
        }
        self.remove(number);
        if let Some(name) = name {
            self.insert(number, name);
        }
    }

    /// One number more than the greatest that may have a name.
    pub fn numbers_end(&self) -> FileNumber {
        self.slots.end()
    }

    /// The best `limit` hits among the names that `filter` admits, and the number of all of them.
    #[cfg(test)]
    fn query(&self, q: &str, mode: Mode, limit: usize, filter: impl FnMut(&FileName) -> bool) -> SearchResult {
        let search = Search::new(q, mode, |step| step(self));
        let found = search.view(self);
        search.finish(&found, limit, filter)
    }
}

/// A query, for which the index is borrowed step by step.
#[derive(Debug)]
pub struct Search {
    query: Query,
    /// The corrections of each term.
    typos: Vec<Vec<Box<str>>>,
    mode: Mode,
}

/// The names that a search goes through: all that the index had at one moment.
#[derive(Debug)]
pub struct Found(View);

impl Search {
    /// Parses a query and looks up typos. `borrow` lends the index, once for each step.
    pub fn new(q: &str, mode: Mode, borrow: impl Fn(&mut dyn FnMut(&SearchIndex))) -> Self {
        let query = if q.len() > QUERY_BYTES_MAX { Query::Nothing } else { Query::parse(q, mode) };
        let mut typos = Vec::new();
        if let Query::Terms(terms) = &query {
            typos.resize_with(terms.each.len(), Vec::new);
            for (term, typos) in terms.each.iter().zip(&mut typos).filter(|_| mode == Mode::Fuzzy) {
                let mut near = Vec::new();
                for part in parts_near(term) {
                    borrow(&mut |index| near.append(&mut index.vocabulary.near_in(part, term)));
                }
                *typos = best(near);
            }
        }
        Self { query, typos, mode }
    }

    /// Takes a view of the names.
    pub fn view(&self, index: &SearchIndex) -> Found {
        Found(match &self.query {
            Query::Terms(terms) => index.blocks.view(Some(&Asked::new(terms, &self.typos, self.mode))),
            Query::All | Query::Literal(_) | Query::Nothing => index.blocks.view(None),
        })
    }

    /// The best `limit` hits among the names that `filter` admits, and the number of all of them.
    ///
    /// `filter` is asked once for each match, so it should be cheap. An empty query lists by name.
    pub fn finish(&self, found: &Found, limit: usize, mut filter: impl FnMut(&FileName) -> bool) -> SearchResult {
        let names = &found.0;
        let mut ranked = match self.query {
            Query::All => Ranked::by_name(limit),
            Query::Terms(_) | Query::Literal(_) | Query::Nothing => Ranked::new(limit),
        };
        let mut hit = |tier, name| {
            if filter(name) {
                ranked.push(Hit { tier, name });
            }
        };
        match &self.query {
            Query::Nothing => {}
            Query::All => names.names().for_each(|name| hit(Tier::Exact, name)),
            // The query is only punctuation, which folding removes: the names themselves decide.
            Query::Literal(text) => names.names().for_each(|name| {
                if let Some(tier) = query::literal_tier(text, name.as_str(), self.mode) {
                    hit(tier, name);
                }
            }),
            Query::Terms(terms) => names.scan(&Asked::new(terms, &self.typos, self.mode), hit),
        }
        ranked.finish()
    }
}
