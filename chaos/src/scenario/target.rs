//! Whom a fault hits.

use raft_store::types::NodeId;

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whoever leads at that moment.
    Leader,
    /// One of those who do not, in turn by rounds.
    Follower,
    /// The leader and as many others, in turn by rounds, as leave a minority.
    Majority,
    /// One after the other, round by round, whether it leads or not.
    Next,
    /// Every node.
    All,
}

impl Target {
    /// Whether it depends on who leads.
    pub fn needs_leader(self) -> bool {
        matches!(self, Self::Leader | Self::Follower | Self::Majority)
    }

    /// Whom of the nodes `all` it means; none if these do not live, or if nobody leads and it matters.
    pub fn among(self, all: &[NodeId], living: &[NodeId], leader: Option<NodeId>, round: u32) -> Vec<NodeId> {
        let lives = |id: &NodeId| living.contains(id);
        let others = || {
            let mut others: Vec<NodeId> = living.iter().copied().filter(|id| Some(*id) != leader).collect();
            let turn = round as usize % others.len().max(1);
            others.rotate_left(turn);
            others
        };
        match (self, leader) {
            (Self::Leader, Some(leader)) => vec![leader].into_iter().filter(lives).collect(),
            (Self::Follower, Some(_)) => others().into_iter().take(1).collect(),
            (Self::Majority, Some(leader)) => std::iter::once(leader).chain(others()).take(all.len() / 2 + 1).collect(),
            (Self::Next, _) => all.get(round as usize % all.len().max(1)).copied().into_iter().filter(lives).collect(),
            (Self::All, _) => living.to_vec(),
            (Self::Leader | Self::Follower | Self::Majority, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [NodeId; 3] = [1, 2, 3];

    #[test]
    fn every_follower_has_its_turn() {
        let hit: Vec<_> = (0..4).map(|round| Target::Follower.among(&ALL, &ALL, Some(2), round)).collect();
        assert_eq!(hit, [[1], [3], [1], [3]]);
        assert_eq!(Target::Follower.among(&ALL, &[2, 3], Some(2), 0), [3]);
        assert!(Target::Follower.among(&ALL, &[2], Some(2), 0).is_empty());
    }

    #[test]
    fn a_majority_begins_with_the_leader() {
        assert_eq!(Target::Majority.among(&ALL, &ALL, Some(3), 0), [3, 1]);
        assert_eq!(Target::Majority.among(&ALL, &ALL, Some(3), 1), [3, 2]);
    }

    #[test]
    fn who_is_down_is_not_hit() {
        assert!(Target::Leader.among(&ALL, &[1, 2], Some(3), 0).is_empty());
        assert_eq!(Target::Next.among(&ALL, &[1, 3], None, 0), [1]);
        assert!(Target::Next.among(&ALL, &[1, 3], None, 1).is_empty());
        assert_eq!(Target::All.among(&ALL, &[1, 3], None, 1), [1, 3]);
    }

    #[test]
    fn nobody_leads_nobody_is_hit() {
        for target in [Target::Leader, Target::Follower, Target::Majority] {
            assert!(target.needs_leader() && target.among(&ALL, &ALL, None, 0).is_empty());
        }
    }
}
