//! A position of the log at which the digests of all members are known, for `verify`.
//!
//! Invariant: digests of one log index and one format are compared, and no others.

use client::contract::DigestResponse;
use raft_store::types::{ContentHash, NodeId};

/// Digests at one position.
pub type Position = (u64, Vec<(NodeId, ContentHash)>);

/// The newest position that all answers have in common: where the members stand, if they stand
/// at one index, else a checkpoint.
pub fn in_common(answers: &[(NodeId, DigestResponse)]) -> Option<Position> {
    let (_, first) = answers.first()?;
    if answers.iter().any(|(_, answer)| answer.format != first.format) {
        return None;
    }
    let at = |index: u64| {
        let digest_of = |answer: &DigestResponse| match answer.applied_index == index {
            true => Some(answer.digest),
            false => answer.checkpoints.iter().find(|known| known.index == index).map(|known| known.digest),
        };
        let digests: Option<Vec<_>> = answers.iter().map(|(id, answer)| Some((*id, digest_of(answer)?))).collect();
        digests.map(|digests| (index, digests))
    };
    let known = first.checkpoints.iter().rev().map(|checkpoint| checkpoint.index);
    std::iter::once(first.applied_index).chain(known).find_map(at)
}

#[cfg(test)]
mod tests {
    use client::contract::CheckpointDigest;

    use super::*;

    fn answer(applied_index: u64, digest: u8, checkpoints: &[(u64, u8)]) -> DigestResponse {
        let checkpoint =
            |(index, digest): &(u64, u8)| CheckpointDigest { index: *index, digest: ContentHash([*digest; 32]) };
        let checkpoints = checkpoints.iter().map(checkpoint).collect();
        DigestResponse { applied_index, digest: ContentHash([digest; 32]), format: 1, checkpoints }
    }

    fn common(answers: &[DigestResponse]) -> Option<(u64, Vec<u8>)> {
        let answers: Vec<_> = (1..).zip(answers.iter().cloned()).collect();
        let (index, digests) = in_common(&answers)?;
        Some((index, digests.iter().map(|(_, digest)| digest.0[0]).collect()))
    }

    #[test]
    fn where_all_stand_comes_first() {
        assert_eq!(common(&[answer(9, 1, &[(5, 7)]), answer(9, 2, &[(5, 7)])]), Some((9, vec![1, 2])));
    }

    #[test]
    fn under_load_the_newest_common_checkpoint_counts() {
        let answers = [answer(9, 1, &[(3, 3), (5, 4), (8, 5)]), answer(11, 2, &[(3, 3), (5, 6)])];
        assert_eq!(common(&answers), Some((5, vec![4, 6])));
        // One stands at a checkpoint that the other has passed.
        assert_eq!(common(&[answer(8, 5, &[]), answer(11, 2, &[(8, 5)])]), Some((8, vec![5, 5])));
    }

    #[test]
    fn other_positions_and_formats_are_not_compared() {
        assert_eq!(common(&[answer(9, 1, &[(3, 3)]), answer(11, 2, &[(5, 6)])]), None);
        let other = DigestResponse { format: 2, ..answer(9, 1, &[]) };
        assert_eq!(common(&[answer(9, 1, &[]), other]), None);
        assert_eq!(common(&[]), None);
    }
}
