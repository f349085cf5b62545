//! Which members are right when their digests differ (N3). Pure.
//!
//! Invariant: a digest is the agreed one only if more than half of the voters have it. Voters that did not answer
//! count; voters whose digest has another format do not. So no two digests of one format are ever agreed at one log
//! index.

use std::collections::{BTreeMap, BTreeSet};

use raft_store::types::{ContentHash, NodeId};

use crate::transport::MemberDigest;

/// The outcome of comparing all digests of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A majority has this digest, and these members have another one.
    Agreed {
        /// The majority's.
        digest: ContentHash,
        /// Members with it.
        with: Vec<NodeId>,
        /// Members without it.
        odd: Vec<NodeId>,
    },
    /// There are different digests, and no majority has one of them.
    Disagreement,
    /// All that answered agree, but too few answered.
    TooFew,
}

/// Judges the digests of one format. Learners are judged, but do not count towards a majority.
pub fn judge(voters: &BTreeSet<NodeId>, format: u32, digests: &BTreeMap<NodeId, MemberDigest>) -> Verdict {
    let of_format = || digests.iter().filter(|(_, told)| told.format == format);
    let others = digests.iter().filter(|(id, told)| voters.contains(id) && told.format != format).count();
    let voices = voters.len().saturating_sub(others);
    let mut sides: BTreeMap<ContentHash, usize> = BTreeMap::new();
    for (id, told) in of_format() {
        *sides.entry(told.digest).or_default() += usize::from(voters.contains(id));
    }
    let agreed = sides.iter().find(|(_, voters)| 2 * **voters > voices).map(|(digest, _)| *digest);
    match agreed {
        Some(digest) => {
            let (with, odd): (Vec<_>, Vec<_>) = of_format().partition(|(_, told)| told.digest == digest);
            let ids = |side: Vec<(&NodeId, &MemberDigest)>| side.into_iter().map(|(id, _)| *id).collect();
            Verdict::Agreed { digest, with: ids(with), odd: ids(odd) }
        }
        None if sides.len() > 1 => Verdict::Disagreement,
        None => Verdict::TooFew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges members 1, 2, …, of which the first are voters. A letter is a digest, `-` no answer, an upper-case letter
    /// another format.
    fn judged(voters: u64, told: &str) -> Verdict {
        let voters = (1..=voters).collect();
        let digests = (1..).zip(told.bytes()).filter(|(_, letter)| *letter != b'-');
        let digests = digests.map(|(id, letter)| {
            let format = if letter.is_ascii_uppercase() { 2 } else { 1 };
            (id, MemberDigest { format, digest: hash(letter) })
        });
        judge(&voters, 1, &digests.collect())
    }

    fn hash(letter: u8) -> ContentHash {
        ContentHash([letter; 32])
    }

    fn agreed(letter: u8, with: &[NodeId], odd: &[NodeId]) -> Verdict {
        Verdict::Agreed { digest: hash(letter), with: with.into(), odd: odd.into() }
    }

    #[test]
    fn a_majority_of_the_voters_decides() {
        assert_eq!(judged(3, "aaa"), agreed(b'a', &[1, 2, 3], &[]));
        assert_eq!(judged(3, "aba"), agreed(b'a', &[1, 3], &[2]));
        assert_eq!(judged(3, "abb"), agreed(b'b', &[2, 3], &[1]), "the leader may be the odd one");
        assert_eq!(judged(5, "abcaa"), agreed(b'a', &[1, 4, 5], &[2, 3]));
        assert_eq!(judged(1, "ab"), agreed(b'a', &[1], &[2]), "a learner is judged");
    }

    #[test]
    fn without_a_majority_nobody_is_the_odd_one() {
        assert_eq!(judged(2, "ab"), Verdict::Disagreement);
        assert_eq!(judged(3, "abc"), Verdict::Disagreement);
        assert_eq!(judged(4, "aabb"), Verdict::Disagreement);
        assert_eq!(judged(5, "aab--"), Verdict::Disagreement, "who is silent may be on either side");
        assert_eq!(judged(1, "-bc"), Verdict::Disagreement, "learners have no voice");
    }

    #[test]
    fn too_few_answers_are_no_alarm() {
        assert_eq!(judged(3, "a--"), Verdict::TooFew);
        assert_eq!(judged(3, "---"), Verdict::TooFew);
        assert_eq!(judged(3, "aa-"), agreed(b'a', &[1, 2], &[]));
    }

    #[test]
    fn other_formats_are_left_out() {
        assert_eq!(judged(3, "aaB"), agreed(b'a', &[1, 2], &[]));
        assert_eq!(judged(3, "abC"), Verdict::Disagreement);
        assert_eq!(judged(5, "aabCC"), agreed(b'a', &[1, 2], &[3]), "two of three of equal format");
    }
}
