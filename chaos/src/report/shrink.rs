//! The smallest part of a history that still shows a finding.
//!
//! Starting from the operations on the files of the finding, operations are taken away, many at once and then one by
//! one, as long as the same checker reports the very same finding, word by word.
//!
//! Invariant: what is left shows the finding by itself; the work is bounded by [`TRIES_MAX`] and [`WITHIN`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::checker::{Checker, Finding};
use crate::history::{Event, Op, OpId, Record};
use crate::model::{Model, file_of, peer_of};

/// Times that the checker is asked again.
const TRIES_MAX: usize = 3_000;
/// Time that one finding may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The events that show the finding; all on its files if nothing smaller does.
pub(super) fn shrink(events: &[Event], checker: &Checker, finding: &Finding) -> Vec<Event> {
    let mut shrinking = Shrinking { events, checker, finding, tries: 0, deadline: Instant::now() + WITHIN };
    let mut kept: Vec<OpId> = around(events, finding);
    if !shrinking.shows(&kept) {
        return select(events, &kept);
    }
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut removed = false;
        // From the end: what came later explains less.
        while from < kept.len() && !shrinking.is_over() {
            let until = kept.len() - from;
            let begin = until.saturating_sub(size);
            let without: Vec<OpId> = [&kept[..begin], &kept[until..]].concat();
            let needed = kept[begin..until].iter().any(|id| finding.operations.contains(id)) && size == 1;
            if !needed && shrinking.shows(&without) {
                kept = without;
                removed = true;
            } else {
                from += until - begin;
            }
        }
        if shrinking.is_over() || (size == 1 && !removed) {
            break;
        }
        size = (size / 2).max(1);
    }
    select(events, &kept)
}

struct Shrinking<'a> {
    events: &'a [Event],
    checker: &'a Checker,
    finding: &'a Finding,
    tries: usize,
    deadline: Instant,
}

impl Shrinking<'_> {
    fn is_over(&self) -> bool {
        self.tries >= TRIES_MAX || Instant::now() > self.deadline
    }

    fn shows(&mut self, kept: &[OpId]) -> bool {
        self.tries += 1;
        let model = Model::new(&select(self.events, kept));
        let found = (self.checker.check)(&model);
        found.first.iter().any(|other| other.what == self.finding.what)
    }
}

/// The operations on the finding's files, and the registrations of everybody who sent them.
fn around(events: &[Event], finding: &Finding) -> Vec<OpId> {
    let named: BTreeSet<OpId> = finding.operations.iter().copied().collect();
    let invoked = || {
        events.iter().filter_map(|event| match &event.record {
            Record::Invoke { id, op, .. } => Some((*id, op)),
            _ => None,
        })
    };
    let files: BTreeSet<&str> =
        invoked().filter(|(id, _)| named.contains(id)).filter_map(|(_, op)| file_of(op)).collect();
    // A finding without operations names its file in words.
    // Transactions join names: all of them may be needed.
    let attributes = invoked().any(|(id, op)| named.contains(&id) && concerns_attributes(op));
    let concerned = |file: &str| if files.is_empty() { finding.what.contains(file) } else { files.contains(file) };
    let on_files = || invoked().filter(|(_, op)| file_of(op).is_some_and(concerned));
    let peers: BTreeSet<&str> = on_files().filter_map(|(_, op)| peer_of(op)).collect();
    let ids = invoked().filter(|(id, op)| {
        let registers = file_of(op).is_none() && peer_of(op).is_some_and(|peer| peers.contains(peer));
        named.contains(id) || registers || file_of(op).is_some_and(concerned) || (attributes && concerns_attributes(op))
    });
    ids.map(|(id, _)| id).collect()
}

fn concerns_attributes(op: &Op) -> bool {
    matches!(op, Op::Txn(_) | Op::ReadAttributes { .. } | Op::LookUp { .. })
}

/// These operations, and everything that is not an operation.
fn select(events: &[Event], kept: &[OpId]) -> Vec<Event> {
    let kept: BTreeSet<OpId> = kept.iter().copied().collect();
    let stays = |event: &&Event| match &event.record {
        Record::Invoke { id, .. } | Record::Ok { id, .. } | Record::Refused { id, .. } | Record::Unknown { id, .. } => {
            kept.contains(id)
        }
        _ => true,
    };
    events.iter().filter(stays).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::sample::{good, published};
    use crate::checker::{linearizability, mutual_exclusion};

    fn operations(events: &[Event]) -> usize {
        events.iter().filter(|event| matches!(event.record, Record::Invoke { .. })).count()
    }

    #[test]
    fn two_overlapping_holders_are_all_that_is_left() {
        let mut sample = good();
        sample.grant((300, 301), "a", "f", 100, 10, 2);
        for at in 302..340 {
            sample.read((at, at + 1), "f", 2, "h2");
        }
        sample.grant((350, 351), "b", "f", 100, 11, 2);
        let checker = mutual_exclusion::CHECKER;
        let found = sample.check(&checker);
        let left = shrink(&sample.events(), &checker, &found.first[0]);
        assert_eq!(operations(&left), 2);
    }

    #[test]
    fn what_explains_the_state_before_stays() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).publish((212, 213), "a", "f", 10, "h3", published(3));
        sample.read((220, 221), "f", 2, "h2").read((222, 223), "g", 0, "");
        let checker = linearizability::CHECKER;
        let found = sample.check(&checker);
        assert!(found.first[0].what.contains("v2"), "{found:?}");
        let left = shrink(&sample.events(), &checker, &found.first[0]);
        let again = (checker.check)(&Model::new(&left));
        assert_eq!(again.first[0].what, found.first[0].what);
        assert!(operations(&left) < operations(&sample.events()) - 3, "{}", operations(&left));
    }
}
