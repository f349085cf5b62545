//! Which machines reach each other, and whether that is enough for somebody to lead.
//!
//! Invariant: a pair is cut in both directions or not at all.

use std::collections::BTreeSet;

/// Pairs that do not reach each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cuts(BTreeSet<(u64, u64)>);

impl Cuts {
    /// From now on these two do not reach each other.
    pub(super) fn add(&mut self, a: u64, b: u64) {
        self.0.insert((a.min(b), a.max(b)));
    }

    /// They do again.
    pub(super) fn remove(&mut self, a: u64, b: u64) {
        self.0.remove(&(a.min(b), a.max(b)));
    }

    /// Those of `up` that `id` reaches, itself among them.
    pub(super) fn reached_by(&self, id: u64, up: &[u64]) -> Vec<u64> {
        up.iter().copied().filter(|other| !self.0.contains(&(id.min(*other), id.max(*other)))).collect()
    }

    /// Those of `up` that can win an election among `voters` machines: a majority in their reach has a log
    /// that reaches no further than theirs. Raft elects nobody else: a node that reaches a majority whose
    /// logs are all ahead of its own waits.
    pub(super) fn electable(&self, voters: usize, up: &[u64], last_log: impl Fn(u64) -> u64) -> Vec<u64> {
        let wins = |id: &u64| {
            let votes = self.reached_by(*id, up).into_iter().filter(|other| last_log(*other) <= last_log(*id)).count();
            votes > voters / 2
        };
        up.iter().copied().filter(wins).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: [u64; 5] = [1, 2, 3, 4, 5];

    fn cuts(pairs: &[(u64, u64)]) -> Cuts {
        let mut cuts = Cuts::default();
        pairs.iter().for_each(|(a, b)| cuts.add(*a, *b));
        cuts
    }

    #[test]
    fn across_a_bridge_the_others_can_lead_and_the_old_leader_cannot() {
        let bridge = cuts(&[(3, 1), (1, 4), (5, 1)]);
        assert_eq!(bridge.reached_by(1, &UP), [1, 2]);
        assert_eq!(bridge.electable(5, &UP, |_| 7), [2, 3, 4, 5]);
        let of_four = cuts(&[(1, 3), (1, 4)]);
        assert_eq!(of_four.electable(4, &[1, 2, 3, 4], |_| 7), [2, 3, 4]);
    }

    #[test]
    fn in_a_chain_the_ends_cannot_lead_and_in_islands_nobody_can() {
        let chain = cuts(&[(1, 3), (1, 4), (1, 5), (2, 4), (2, 5), (3, 5)]);
        assert_eq!(chain.electable(5, &UP, |_| 7), [2, 3, 4]);
        let islands = cuts(&[(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5), (3, 5), (4, 5)]);
        assert!(islands.electable(5, &UP, |_| 7).is_empty());
    }

    #[test]
    fn a_log_that_lags_and_a_machine_that_is_down_win_nothing() {
        let star = cuts(&[(1, 2), (1, 4), (1, 5), (2, 4), (2, 5), (4, 5)]);
        assert_eq!(star.electable(5, &UP, |_| 7), [3]);
        assert!(star.electable(5, &UP, |id| if id == 3 { 6 } else { 7 }).is_empty());
        assert!(cuts(&[]).electable(5, &[1, 2], |_| 7).is_empty());
    }

    #[test]
    fn a_pair_has_no_order() {
        let mut one = cuts(&[(1, 2)]);
        one.remove(2, 1);
        assert_eq!(one, Cuts::default());
    }
}
