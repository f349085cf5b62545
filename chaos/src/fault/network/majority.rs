//! Who reaches a majority while parts of the cluster are cut off.
//!
//! Invariant: only cuts of whole parts count; what other faults of the links do to a majority is not claimed.

use std::collections::BTreeSet;

use raft_store::types::NodeId;

/// Which nodes reach no majority, and whether others do, when each of these parts is cut off
/// from all that is outside of it.
pub(super) fn without_majority(ids: &[NodeId], parts: &[BTreeSet<NodeId>]) -> (Vec<NodeId>, bool) {
    let together = |a: NodeId, b: NodeId| parts.iter().all(|part| part.contains(&a) == part.contains(&b));
    let reaches = |id: NodeId| ids.iter().filter(|other| together(id, **other)).count();
    let without: Vec<NodeId> = ids.iter().copied().filter(|id| reaches(*id) <= ids.len() / 2).collect();
    let majority = without.len() < ids.len();
    (without, majority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_cut_adds_to_the_first() {
        let part = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(without_majority(&[1, 2, 3], &[part(&[2])]), (vec![2], true));
        assert_eq!(without_majority(&[1, 2, 3], &[part(&[2]), part(&[2])]), (vec![2], true));
        assert_eq!(without_majority(&[1, 2, 3], &[part(&[2]), part(&[3])]), (vec![1, 2, 3], false));
        assert_eq!(without_majority(&[1, 2, 3, 4, 5], &[part(&[1, 2])]), (vec![1, 2], true));
        assert_eq!(without_majority(&[1, 2, 3, 4, 5], &[part(&[1, 2]), part(&[2])]), (vec![1, 2], true));
    }
}
