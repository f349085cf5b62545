//! Search over file names: a derived index, rebuilt from the catalog at start and kept up by its events.
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
//! * No lock and no thread is in here, and nothing is ever written to disk.

mod blocks;
mod builder;
mod fold;
mod places;
mod postings;
mod query;
mod vocabulary;
mod word;

#[cfg(test)]
mod tests;

use raft_store::catalog::FileNumber;
use raft_store::types::FileName;

use blocks::{BLOCK_NAMES, Blocks};
use fold::{fold, fold_into};
use places::Places;
use query::{Hit, Query, Ranked};
use vocabulary::Vocabulary;

/// Longest query, in bytes; a longer one has no hits. Four times a name's length leaves room for any separators.
pub const QUERY_BYTES_MAX: usize = 4 * 1_024;

/// How a query is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every term occurs somewhere, with one typo allowed in words of five letters and more.
    #[default]
    Fuzzy,
    /// Every term occurs somewhere.
    Substring,
    /// The name begins with the query.
    Prefix,
}

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
    places: Places,
    blocks: Blocks,
    vocabulary: Vocabulary,
    /// The name that is added, folded: one buffer for all.
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
            places: Places::default(),
            blocks: Blocks::new(block_names),
            vocabulary: Vocabulary::default(),
            folded: String::new(),
        }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the name of a file; false if it was in already. A number stands for one name, always.
    pub fn insert(&mut self, number: FileNumber, name: &FileName) -> bool {
        if self.places.get(number).is_some() {
            return false;
        }
        fold_into(&mut self.folded, name.as_str());
        self.vocabulary.add(&self.folded);
        self.places.set(number, self.blocks.insert(number, name.clone(), self.folded.as_bytes()));
        true
    }

    /// Takes the name of a file out; false if it was not in.
    pub fn remove(&mut self, number: FileNumber) -> bool {
        let Some(slot) = self.places.remove(number) else { return false };
        if let Some(name) = self.blocks.name(slot) {
            self.vocabulary.remove(&fold(name.as_str()));
        }
        for (moved, slot) in self.blocks.remove(slot) {
            self.places.set(moved, slot);
        }
        true
    }

    /// The best `limit` hits among the names that `filter` admits, and the number of all of them.
    ///
    /// `filter` is asked once for each match, so it should be cheap. An empty query lists by name.
    pub fn query(&self, q: &str, mode: Mode, limit: usize, mut filter: impl FnMut(&FileName) -> bool) -> SearchResult {
        if q.len() > QUERY_BYTES_MAX {
            return SearchResult::default();
        }
        match Query::parse(q, mode) {
            Query::All => {
                let mut ranked = Ranked::by_name(limit);
                self.blocks
                    .names()
                    .filter(|name| filter(name))
                    .for_each(|name| ranked.push(Hit { tier: Tier::Exact, name }));
                ranked.finish()
            }
            Query::Literal(text) => {
                // Nothing but punctuation was asked for: the folded text cannot tell, the names themselves can.
                let mut ranked = Ranked::new(limit);
                for name in self.blocks.names() {
                    if let Some(tier) = query::literal_tier(&text, name.as_str(), mode)
                        && filter(name)
                    {
                        ranked.push(Hit { tier, name });
                    }
                }
                ranked.finish()
            }
            Query::Terms(terms) => {
                let typos = match mode {
                    Mode::Fuzzy => terms.each.iter().map(|term| self.vocabulary.near(term)).collect(),
                    Mode::Substring | Mode::Prefix => vec![Vec::new(); terms.each.len()],
                };
                let mut ranked = Ranked::new(limit);
                self.blocks.scan(&terms, &typos, mode, |tier, name| {
                    if filter(name) {
                        ranked.push(Hit { tier, name });
                    }
                });
                ranked.finish()
            }
        }
    }
}
