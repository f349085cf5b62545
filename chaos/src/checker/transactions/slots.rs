//! The order of the log as a scale: the acknowledged transactions by their places, and the slots between them.
//!
//! Invariant: slot `n` is the state after the first `n` acknowledged transactions, and whatever else was applied before
//! the next one.

use std::ops::RangeInclusive;

use super::gather::{Fate, Place, Sight, Transaction};
use crate::history::Micros;

/// The scale.
pub(super) struct Slots {
    places: Vec<Place>,
    /// By end: when, and the greatest number of a transaction that had ended by then.
    ended: Vec<(Micros, usize)>,
    /// By beginning: when, and the least number of a transaction that began then or later.
    begun: Vec<(Micros, usize)>,
}

impl Slots {
    /// The scale of these transactions.
    pub(super) fn of(transactions: &[Transaction<'_>]) -> Self {
        let told = || {
            transactions.iter().filter_map(|one| match one.fate {
                Fate::Applied { at, .. } => Some((at, one.began, one.end)),
                _ => None,
            })
        };
        let mut places: Vec<Place> = told().map(|(at, ..)| at).collect();
        places.sort_unstable();
        places.dedup();
        let number = |at: Place| places.partition_point(|place| *place <= at);
        let mut ended: Vec<(Micros, usize)> = told().map(|(at, _, end)| (end, number(at))).collect();
        ended.sort_unstable();
        let mut greatest = 0;
        for (_, number) in &mut ended {
            greatest = greatest.max(*number);
            *number = greatest;
        }
        let mut begun: Vec<(Micros, usize)> = told().map(|(at, began, _)| (began, number(at))).collect();
        begun.sort_unstable();
        let mut least = usize::MAX;
        for (_, number) in begun.iter_mut().rev() {
            least = least.min(*number);
            *number = least;
        }
        Self { places, ended, begun }
    }

    /// The last slot.
    pub(super) fn last(&self) -> usize {
        self.places.len()
    }

    /// The number of an acknowledged transaction; it lies between the slot before its number and that of its number.
    pub(super) fn number(&self, at: Place) -> usize {
        self.places.partition_point(|place| *place <= at)
    }

    /// The slot that shows every transaction which was acknowledged before this moment.
    pub(super) fn known_before(&self, moment: Micros) -> usize {
        let ended = self.ended.partition_point(|(end, _)| *end < moment);
        self.ended[..ended].last().map_or(0, |(_, number)| *number)
    }

    /// The last slot without any that began after this moment.
    pub(super) fn before_those_after(&self, moment: Micros) -> usize {
        let begun = self.begun.partition_point(|(began, _)| *began <= moment);
        self.begun.get(begun).map_or(self.last(), |(_, number)| number - 1)
    }

    /// The slots whose state an operation can have met that took effect between these moments.
    pub(super) fn between(&self, began: Micros, end: Micros) -> RangeInclusive<usize> {
        self.known_before(began)..=self.before_those_after(end)
    }

    /// The slots whose state was seen; empty if it is older than it may be.
    pub(super) fn seen_by(&self, sight: &Sight<'_>) -> RangeInclusive<usize> {
        let named = self.number((sight.from, u64::MAX));
        let from = if sight.strong { self.known_before(sight.began).max(named) } else { named };
        let until = self.number((sight.applied, u64::MAX)).min(self.before_those_after(sight.end));
        from..=until
    }
}
