//! How old this node's state is (R2). At some moments a majority confirmed a leader, and this node has applied up to
//! the commit index that the leader had then. The age of the state is the time since the newest such moment.
//!
//! Followers ask the leader for its [`Beacon`] and date the answer from the moment they *asked*, less the age the
//! leader names. So network delay can only make the reported age larger than the true one, never smaller.

use std::collections::VecDeque;
use std::time::Duration;

use client::contract::headers::STALENESS_UNKNOWN_MS as UNKNOWN_MS;
use parking_lot::Mutex;
use raft_store::types::NodeId;
use tokio::time::Instant;

use crate::sys::clock;
use crate::transport::Beacon;

/// Confirmations kept until the node has applied as far.
const PENDING_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Confirmation {
    committed: u64,
    moment: Instant,
}

/// The newest moment at which a leader was known to lead.
#[derive(Debug, Clone, Copy)]
struct Word {
    leader: NodeId,
    term: u64,
    moment: Instant,
}

#[derive(Debug, Default)]
struct State {
    word: Option<Word>,
    newest: Option<Instant>,
    pending: VecDeque<Confirmation>,
}

/// Collects confirmations and answers with the age of the newest one that applies.
#[derive(Debug, Default)]
pub struct Freshness {
    state: Mutex<State>,
}

impl Freshness {
    /// Notes a leader's answer to a question that was asked at `asked`.
    pub fn confirm(&self, leader: NodeId, beacon: &Beacon, asked: Instant) {
        if let Some(moment) = asked.checked_sub(Duration::from_millis(beacon.quorum_age_ms)) {
            self.note(beacon.committed, moment);
            self.note_word(Word { leader, term: beacon.term, moment });
        }
    }

    /// Notes that this node follows `leader` in `term`. If it did not before, a majority
    /// elected that leader a moment ago.
    pub fn note_leader(&self, leader: NodeId, term: u64) {
        let known = &mut self.state.lock().word;
        if known.is_none_or(|known| (known.leader, known.term) != (leader, term)) {
            *known = Some(Word { leader, term, moment: clock::now() });
        }
    }

    fn note_word(&self, word: Word) {
        let known = &mut self.state.lock().word;
        let newer = |known: Word| match (known.leader, known.term) == (word.leader, word.term) {
            true => known.moment < word.moment,
            false => known.term < word.term,
        };
        if known.is_none_or(newer) {
            *known = Some(word);
        }
    }

    /// How long ago `leader` was last known to lead in `term`; `None` if it never was.
    pub fn word_age(&self, leader: NodeId, term: u64) -> Option<Duration> {
        let known = self.state.lock().word.filter(|known| known.leader == leader && known.term == term)?;
        Some(known.moment.elapsed())
    }

    /// Notes that at `moment` a majority confirmed a leader whose commit index was `committed`.
    pub fn note(&self, committed: u64, moment: Instant) {
        let mut state = self.state.lock();
        if state.pending.len() == PENDING_MAX {
            // The newest goes, not the oldest. A node that always lags a little would otherwise never reach any.
            state.pending.pop_back();
        }
        state.pending.push_back(Confirmation { committed, moment });
    }

    /// Age of this node's state in milliseconds, given how far it has applied.
    pub fn staleness_ms(&self, applied: u64) -> u64 {
        age_ms(self.as_of(applied))
    }

    /// The moment as of which a state that has come this far is current.
    pub fn as_of(&self, applied: u64) -> Option<Instant> {
        let mut state = self.state.lock();
        let State { newest, pending, .. } = &mut *state;
        pending.retain(|confirmation| {
            let reached = confirmation.committed <= applied;
            if reached && newest.is_none_or(|moment| moment < confirmation.moment) {
                *newest = Some(confirmation.moment);
            }
            !reached
        });
        *newest
    }
}

/// Age of a state that is as of this moment, in milliseconds.
pub fn age_ms(as_of: Option<Instant>) -> u64 {
    as_of.map_or(UNKNOWN_MS, |moment| clock::millis(moment.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_applied_confirmations_count() {
        let freshness = Freshness::default();
        assert_eq!(freshness.staleness_ms(100), UNKNOWN_MS);
        let asked = clock::now();
        freshness.confirm(7, &Beacon { term: 1, committed: 10, quorum_age_ms: 0, log_time: 0 }, asked);
        assert_eq!(freshness.staleness_ms(9), UNKNOWN_MS, "entry 10 is not applied yet");
        assert!(freshness.staleness_ms(10) < UNKNOWN_MS);
    }

    #[test]
    fn the_leaders_own_age_is_added_and_older_words_do_not_win() {
        let freshness = Freshness::default();
        let now = clock::now();
        let old = now.checked_sub(Duration::from_secs(5)).expect("the machine runs for longer");
        freshness.note(1, now);
        freshness.note(1, old);
        assert!(freshness.staleness_ms(1) < 5_000);
        let aged = Freshness::default();
        aged.confirm(7, &Beacon { term: 1, committed: 1, quorum_age_ms: 4_000, log_time: 0 }, now);
        assert!(aged.staleness_ms(1) >= 4_000);
    }

    #[test]
    fn r5_a_leader_is_known_for_as_long_as_its_word_is_fresh() {
        let freshness = Freshness::default();
        assert_eq!(freshness.word_age(1, 3), None, "nobody said anything");
        freshness.note_leader(1, 3);
        let first = freshness.word_age(1, 3).expect("it was elected a moment ago");
        assert_eq!(freshness.word_age(2, 3), None);
        assert_eq!(freshness.word_age(1, 4), None, "its next term is another leadership");
        freshness.note_leader(1, 3);
        assert!(freshness.word_age(1, 3).expect("known") >= first, "to follow it still is no word of it");
        let long_ago = Beacon { term: 3, committed: 1, quorum_age_ms: 60_000, log_time: 0 };
        freshness.confirm(1, &long_ago, clock::now());
        let age = freshness.word_age(1, 3).expect("known");
        assert!(age < Duration::from_secs(30), "an older word does not win");
        freshness.confirm(2, &Beacon { term: 4, ..long_ago }, clock::now());
        assert!(freshness.word_age(2, 4).expect("known") >= Duration::from_secs(60), "it names its own age");
        freshness.confirm(1, &Beacon { quorum_age_ms: 0, ..long_ago }, clock::now());
        assert_eq!(freshness.word_age(1, 3), None, "a late word of an earlier term changes nothing");
    }

    #[test]
    fn a_node_that_keeps_a_little_behind_still_reaches_confirmations() {
        let freshness = Freshness::default();
        for committed in 0..10 * PENDING_MAX as u64 {
            freshness.note(committed + 2, clock::now());
            if committed > 2 * PENDING_MAX as u64 {
                assert!(freshness.as_of(committed).is_some());
            }
        }
    }
}
