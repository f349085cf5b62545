//! The distinct words of all names, with how many names use each: where typos are looked up.
//!
//! Invariant: a word is in here exactly as long as some name uses it.

use std::collections::{BTreeMap, HashMap};

/// Fewest letters a word must have for a typo in it to be forgiven (of the asked and the found word, the longer counts).
pub(super) const TYPO_LETTERS_MIN: usize = 5;

/// Words one term may be corrected to, the most used first; bounds what a query can cost.
pub(super) const CORRECTIONS_MAX: usize = 32;

/// Words by their number of letters, so that a look-up visits three lengths only.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    by_letters: BTreeMap<usize, HashMap<Box<str>, usize>>,
}

impl Vocabulary {
    /// Counts the words of one more name.
    pub(super) fn add(&mut self, folded: &str) {
        for word in folded.split(' ').filter(|word| !word.is_empty()) {
            let words = self.by_letters.entry(word.chars().count()).or_default();
            match words.get_mut(word) {
                Some(uses) => *uses += 1,
                None => {
                    words.insert(word.into(), 1);
                }
            }
        }
    }

    /// Takes the words of one name away.
    pub(super) fn remove(&mut self, folded: &str) {
        for word in folded.split(' ').filter(|word| !word.is_empty()) {
            let letters = word.chars().count();
            let Some(words) = self.by_letters.get_mut(&letters) else { continue };
            match words.get_mut(word) {
                Some(uses) if *uses > 1 => *uses -= 1,
                _ => {
                    words.remove(word);
                }
            }
            if words.is_empty() {
                self.by_letters.remove(&letters);
            }
        }
    }

    /// Words exactly one typo away from a term, the most used first, at most [`CORRECTIONS_MAX`].
    ///
    /// Words that contain the term are left out: they match without correction.
    pub(super) fn near(&self, term: &str) -> Vec<Box<str>> {
        let letters = term.chars().count();
        let mut near: Vec<(usize, &str)> = Vec::new();
        for (&length, words) in self.by_letters.range(letters.saturating_sub(1)..=letters + 1) {
            if letters.max(length) < TYPO_LETTERS_MIN {
                continue;
            }
            let one_off = words.iter().filter(|(word, _)| is_one_typo(term, word) && !word.contains(term));
            near.extend(one_off.map(|(word, &uses)| (uses, &**word)));
        }
        near.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        near.into_iter().take(CORRECTIONS_MAX).map(|(_, word)| word.into()).collect()
    }

    /// Number of distinct words.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_letters.values().map(HashMap::len).sum()
    }
}

/// Whether one missing, extra, wrong or swapped letter turns one word into the other (equal words do not count).
///
/// With the common start and end cut off, the rest of the two words tells.
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
        vocabulary.remove("alpha alpha beta");
        assert_eq!(vocabulary.len(), 0);
    }

    proptest! {
        #[test]
        fn one_typo_is_distance_one(a in "[abß]{0,6}", b in "[abß]{0,6}") {
            prop_assert_eq!(is_one_typo(&a, &b), distance(&a, &b) == 1);
        }
    }
}
