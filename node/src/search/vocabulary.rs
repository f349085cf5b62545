//! The distinct words of all names, and how many names use each. Typos are looked up here.
//!
//! Invariant: a word is here exactly as long as some name uses it.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use raft_store::hasher::Hasher;

use super::word::Word;

/// A typo is forgiven only in words of at least this many letters; the longer of the two words counts.
pub(super) const TYPO_LETTERS_MIN: usize = 5;

/// Words that one term may be corrected to, the most used first; bounds what a query can cost.
pub(super) const CORRECTIONS_MAX: usize = 32;

/// Tables for the words of one length. Each grows by itself, because growing a single large one would cause a delay.
const SHARDS: usize = 16;

/// Words by their number of letters, so that a lookup visits only three lengths.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    hasher: Hasher,
    /// `None` for a length that no word had yet.
    by_letters: Vec<Vec<HashTable<Word>>>,
}

impl Vocabulary {
    /// Counts the words of one more name.
    pub(super) fn add(&mut self, folded: &str) {
        for (letters, word) in words(folded) {
            if self.by_letters.len() <= letters {
                self.by_letters.resize_with(letters + 1, Vec::new);
            }
            let shards = &mut self.by_letters[letters];
            if shards.is_empty() {
                shards.resize_with(SHARDS, HashTable::new);
            }
            let hash = self.hasher.hash_one(word.as_bytes());
            let hash_of = |other: &Word| self.hasher.hash_one(other.bytes());
            match shards[shard(hash)].entry(hash, |other| other.is(word), hash_of) {
                Entry::Occupied(mut entry) => entry.get_mut().add_use(),
                Entry::Vacant(entry) => {
                    entry.insert(Word::new(word));
                }
            }
        }
    }

    /// Removes the words of one name.
    pub(super) fn remove(&mut self, folded: &str) {
        for (letters, word) in words(folded) {
            let hash = self.hasher.hash_one(word.as_bytes());
            let Some(table) = self.by_letters.get_mut(letters).and_then(|shards| shards.get_mut(shard(hash))) else {
                continue;
            };
            let Ok(mut entry) = table.find_entry(hash, |other| other.is(word)) else { continue };
            if !entry.get_mut().take_use() {
                entry.remove();
                if table.is_empty() {
                    *table = HashTable::new();
                }
            }
        }
    }

    /// Words exactly one typo away from a term, the most used first, at most [`CORRECTIONS_MAX`].
    #[cfg(test)]
    pub(super) fn near(&self, term: &str) -> Vec<Box<str>> {
        best(parts_near(term).flat_map(|part| self.near_in(part, term)).collect())
    }

    /// Those of them that are in one part, each with the number of its uses.
    ///
    /// Words that contain the term are left out: they match without correction.
    pub(super) fn near_in(&self, part: Part, term: &str) -> Vec<(u32, Box<str>)> {
        let Some(table) = self.by_letters.get(part.letters).and_then(|shards| shards.get(part.shard)) else {
            return Vec::new();
        };
        let one_off = table
            .iter()
            .filter(|word| may_be_one_typo(term.as_bytes(), word.bytes()))
            .map(|word| (word.uses(), word.text()))
            .filter(|(_, word)| is_one_typo(term, word) && !word.contains(term));
        one_off.map(|(uses, word)| (uses, word.into())).collect()
    }

    /// Number of distinct words.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_letters.iter().flatten().map(HashTable::len).sum()
    }
}

/// A part of the vocabulary that is scanned in one step: scanning the tables of millions of words at once would keep
/// others waiting too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    letters: usize,
    shard: usize,
}

/// The parts that may have words one typo away from a term.
pub(super) fn parts_near(term: &str) -> impl Iterator<Item = Part> + use<> {
    let letters = term.chars().count();
    let lengths =
        (letters.saturating_sub(1)..letters + 2).filter(move |length| letters.max(*length) >= TYPO_LETTERS_MIN);
    lengths.flat_map(|letters| (0..SHARDS).map(move |shard| Part { letters, shard }))
}

/// Of words that were found, the most used first, at most [`CORRECTIONS_MAX`].
pub(super) fn best(mut near: Vec<(u32, Box<str>)>) -> Vec<Box<str>> {
    near.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.into_iter().take(CORRECTIONS_MAX).map(|(_, word)| word).collect()
}

/// The words of a folded name, each with its number of letters, in one pass over the bytes.
fn words(folded: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = folded;
    std::iter::from_fn(move || {
        let mut letters = 0;
        let end = rest.bytes().position(|byte| {
            // All bytes of a letter but its first begin with the bits 10.
            letters += usize::from(byte & 0xC0 != 0x80);
            byte == b' '
        });
        let word = match end {
            Some(end) => {
                letters -= 1;
                let word = &rest[..end];
                rest = &rest[end + 1..];
                word
            }
            None => std::mem::take(&mut rest),
        };
        (!word.is_empty()).then_some((letters, word))
    })
}

fn shard(hash: u64) -> usize {
    // The tables themselves use the highest and the lowest bits.
    (hash >> 32) as usize % SHARDS
}

/// A quick check for words of which one has at least four letters: false only if they are not one typo apart, because a
/// typo leaves the first letter or the last unchanged.
fn may_be_one_typo(a: &[u8], b: &[u8]) -> bool {
    a.first() == b.first() || a.last() == b.last()
}

/// Whether one missing, extra, wrong or swapped letter turns one word into the other (equal words do not count).
///
/// Cuts off the common start and end, and compares the rest.
pub(super) fn is_one_typo(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.chars(), b.chars());
    let start = a.clone().zip(b.clone()).take_while(|(left, right)| left == right).count();
    if start > 0 {
        a.nth(start - 1);
        b.nth(start - 1);
    }
    let end = a.clone().rev().zip(b.clone().rev()).take_while(|(left, right)| left == right).count();
    if end > 0 {
        a.nth_back(end - 1);
        b.nth_back(end - 1);
    }
    let rest = |mut letters: std::str::Chars<'_>| (letters.next(), letters.next(), letters.next());
    match (rest(a), rest(b)) {
        ((Some(_), None, _), (Some(_), None, _) | (None, ..)) | ((None, ..), (Some(_), None, _)) => true,
        ((Some(p), Some(q), None), (Some(r), Some(s), None)) => p == s && q == r,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Optimal string alignment distance by its textbook table.
    fn distance(a: &str, b: &str) -> usize {
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let changed = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut best = changed.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(table[i - 2][j - 2] + 1);
                    }
                    best
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn near_words_by_example() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.add("report reports resort query test note");
        vocabulary.add("report");
        let near = |term: &str| vocabulary.near(term).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(near("reprot"), ["report"]);
        assert_eq!(near("repoort"), ["report"]);
        assert_eq!(near("report"), ["resort"], "reports contains it");
        assert_eq!(near("qery"), ["query"], "the word that was meant has five letters");
        assert!(near("tset").is_empty(), "short words have to be right");
        assert!(near("notr").is_empty());
    }

    #[test]
    fn unused_words_are_forgotten() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.add("alpha alpha beta");
        vocabulary.remove("alpha");
        assert_eq!(vocabulary.len(), 2);
        vocabulary.remove("alpha beta");
        assert_eq!(vocabulary.len(), 0);
    }

    proptest! {
        #[test]
        fn one_typo_is_distance_one(a in "[abß]{0,6}", b in "[abß]{0,6}") {
            prop_assert_eq!(is_one_typo(&a, &b), distance(&a, &b) == 1);
        }

        #[test]
        fn no_typo_is_missed_by_the_first_look(a in "[abß]{4,6}", b in "[abß]{3,7}") {
            prop_assert!(!is_one_typo(&a, &b) || may_be_one_typo(a.as_bytes(), b.as_bytes()));
        }

        #[test]
        fn words_are_told_with_their_letters(words_of in prop::collection::vec("[abß日]{1,6}", 0..5)) {
            let folded = words_of.join(" ");
            let expected: Vec<_> = words_of.iter().map(|word| (word.chars().count(), word.as_str())).collect();
            prop_assert_eq!(words(&folded).collect::<Vec<_>>(), expected);
        }
    }
}
