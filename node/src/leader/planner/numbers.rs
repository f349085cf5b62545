//! Sets of files by their numbers, one bit each.
//!
//! Invariant: adding and removing a file cost the same, however many there are; files with consecutive numbers lie next
//! to each other.

use raft_store::catalog::FileNumber;

/// A set of files.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The bit of number n is bit n modulo 64 of word n / 64.
    words: Vec<u64>,
    len: usize,
}

impl Numbers {
    /// Number of files.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a file in, or takes it out.
    pub(super) fn set(&mut self, number: FileNumber, is_in: bool) {
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        if word >= self.words.len() {
            if !is_in {
                return;
            }
            self.words.resize(word + 1, 0);
        }
        let was_in = self.words[word] & bit != 0;
        if was_in != is_in {
            self.words[word] ^= bit;
            self.len = if is_in { self.len + 1 } else { self.len - 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Numbers;

    proptest! {
        #[test]
        fn it_counts_as_a_set_does(steps in prop::collection::vec((0..300_u32, any::<bool>()), 0..300)) {
            let (mut numbers, mut expected) = (Numbers::default(), BTreeSet::new());
            for (number, is_in) in steps {
                numbers.set(number, is_in);
                if is_in { expected.insert(number) } else { expected.remove(&number) };
                prop_assert_eq!(numbers.len(), expected.len());
            }
        }
    }
}
