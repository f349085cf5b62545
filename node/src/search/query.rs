//! What a query asks for, how a name is judged, and how hits are ranked.
//!
//! Invariant: `judge` alone decides whether and how well a folded name matches; scanning only finds names to judge.

use std::cmp::Ordering;

use memchr::memmem;
use raft_store::types::FileName;

use super::fold::fold;
use super::postings::trigrams;
use super::{Mode, SearchResult, Tier};

/// A parsed query.
#[derive(Debug)]
pub(super) enum Query {
    /// Empty: every name.
    All,
    /// Only punctuation, which is searched for as it is.
    Literal(String),
    /// Folded terms.
    Terms(Terms),
    /// Longer than any name: no hits.
    Nothing,
}

/// The folded form of a query.
#[derive(Debug)]
pub(super) struct Terms {
    /// All terms, separated by a space.
    pub(super) whole: String,
    /// Each term once.
    pub(super) each: Vec<String>,
    /// The query ended in a separator, so that a prefix ends with its word.
    pub(super) word_ends: bool,
}

impl Query {
    pub(super) fn parse(q: &str, mode: Mode) -> Self {
        let whole = fold(q);
        if whole.is_empty() {
            let text = q.trim();
            return if text.is_empty() { Query::All } else { Query::Literal(text.to_owned()) };
        }
        let mut each: Vec<String> = whole.split(' ').map(str::to_owned).collect();
        each.sort_unstable();
        each.dedup();
        let word_ends = mode == Mode::Prefix
            && q.chars().next_back().is_some_and(|last| fold(last.encode_utf8(&mut [0; 4])).is_empty());
        Query::Terms(Terms { whole, each, word_ends })
    }
}

/// A text that a name contains, and its trigrams, each once.
#[derive(Debug)]
pub(super) struct Needle {
    pub(super) bytes: Vec<u8>,
    pub(super) trigrams: Vec<u32>,
}

/// Needles of which a matching name contains at least one.
pub(super) type Group = Vec<Needle>;

impl Needle {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut trigrams: Vec<u32> = trigrams(bytes).collect();
        trigrams.sort_unstable();
        trigrams.dedup();
        Self { bytes: bytes.to_vec(), trigrams }
    }
}

impl Terms {
    /// What a matching name contains: one of each group. Every term, or one of its corrections; a prefix as a whole.
    pub(super) fn groups(&self, typos: &[Vec<Box<str>>], mode: Mode) -> Vec<Group> {
        if mode == Mode::Prefix {
            return vec![vec![Needle::new(self.whole.as_bytes())]];
        }
        let group = |(term, typos): (&String, &Vec<Box<str>>)| {
            let corrections = typos.iter().map(|typo| Needle::new(typo.as_bytes()));
            std::iter::once(Needle::new(term.as_bytes())).chain(corrections).collect()
        };
        self.each.iter().zip(typos).map(group).collect()
    }
}

/// The tier of a name for a query that is only punctuation.
pub(super) fn literal_tier(text: &str, name: &str, mode: Mode) -> Option<Tier> {
    if name == text {
        Some(Tier::Exact)
    } else if name.starts_with(text) {
        Some(Tier::Prefix)
    } else {
        (mode != Mode::Prefix && name.contains(text)).then_some(Tier::Substring)
    }
}

/// The tier of a folded name; `None` if it does not match. `typos` has the corrections of each term.
pub(super) fn judge(terms: &Terms, typos: &[Vec<Box<str>>], mode: Mode, folded: &[u8]) -> Option<Tier> {
    if let Some(rest) = folded.strip_prefix(terms.whole.as_bytes()) {
        if rest.is_empty() {
            return Some(Tier::Exact);
        }
        if !terms.word_ends || rest[0] == b' ' {
            return Some(Tier::Prefix);
        }
    }
    if mode == Mode::Prefix {
        return None;
    }
    let mut tier = Tier::WordStart;
    for (term, typos) in terms.each.iter().zip(typos) {
        tier = tier.max(match place(term.as_bytes(), folded) {
            Some(tier) => tier,
            None if typos.iter().any(|typo| has_word(typo.as_bytes(), folded)) => Tier::Fuzzy,
            None => return None,
        });
    }
    Some(tier)
}

/// Whether a term begins a word, or occurs at all.
fn place(term: &[u8], folded: &[u8]) -> Option<Tier> {
    // Matches do not overlap, but none that counts is missed: no term has a space, so no match reaches into the next
    // word.
    let mut found = None;
    for at in memmem::find_iter(folded, term) {
        if at == 0 || folded[at - 1] == b' ' {
            return Some(Tier::WordStart);
        }
        found = Some(Tier::Substring);
    }
    found
}

fn has_word(word: &[u8], folded: &[u8]) -> bool {
    folded.split(|&byte| byte == b' ').any(|other| other == word)
}

/// A matching name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit<'a> {
    pub(super) tier: Tier,
    pub(super) name: &'a FileName,
}

impl Hit<'_> {
    fn by_name(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }

    fn rank(&self, other: &Self) -> Ordering {
        let (name, other_name) = (self.name.as_str(), other.name.as_str());
        self.tier.cmp(&other.tier).then(name.len().cmp(&other_name.len())).then(name.cmp(other_name))
    }

    /// Each tier has a fifth of the scale; within it, the shorter name scores higher.
    fn score(&self) -> f64 {
        let top = match self.tier {
            Tier::Exact => return 1.0,
            Tier::Prefix => 0.9,
            Tier::WordStart => 0.7,
            Tier::Substring => 0.5,
            Tier::Fuzzy => 0.3,
        };
        let length = self.name.as_str().len() as f64;
        top - 0.1 * length / (length + 32.0)
    }
}

/// Keeps the first hits in order while hits are found.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    order: fn(&Hit<'a>, &Hit<'a>) -> Ordering,
    hits: Vec<Hit<'a>>,
    limit: usize,
    total: usize,
}

impl<'a> Ranked<'a> {
    /// The best first.
    pub(super) fn new(limit: usize) -> Self {
        Self { order: Hit::rank, hits: Vec::new(), limit, total: 0 }
    }

    /// In the order of the names' bytes.
    pub(super) fn by_name(limit: usize) -> Self {
        Self { order: Hit::by_name, ..Self::new(limit) }
    }

    /// Adds a hit. The buffer is cut back to the limit whenever it has doubled, so the cost stays linear.
    pub(super) fn push(&mut self, hit: Hit<'a>) {
        self.total += 1;
        if self.limit == 0 {
            return;
        }
        self.hits.push(hit);
        if self.hits.len() >= self.limit.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    pub(super) fn finish(mut self) -> SearchResult {
        self.cut();
        self.hits.sort_unstable_by(self.order);
        let hits = self.hits.iter().map(|hit| (hit.name.clone(), hit.score())).collect();
        SearchResult { hits, total: self.total }
    }

    fn cut(&mut self) {
        if self.hits.len() > self.limit {
            self.hits.select_nth_unstable_by(self.limit, self.order);
            self.hits.truncate(self.limit);
        }
    }
}
