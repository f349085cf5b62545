//! Backoff of a pair of peer and file after a failure (M2): 1 s, doubled by every further failure, up to 10 minutes.
//!
//! Invariant: a pair is forgotten once it has had no failure for the longest pause after its backoff;
//! at most [`BACKOFFS_MAX`] pairs are kept.

use std::collections::{BTreeMap, BTreeSet};

use raft_store::types::{FileName, PeerId};

/// First pause of a pair, in milliseconds.
pub const PAUSE_MS_MIN: u64 = 1_000;
/// Longest pause of a pair, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 10 * 60 * 1_000;
/// Pairs remembered; beyond it the one whose pause ends first is forgotten.
pub const BACKOFFS_MAX: usize = 100_000;
/// Longest failure code kept, in characters.
const CODE_CHARS_MAX: usize = 64;

#[derive(Debug)]
struct Backoff {
    until: u64,
    pause_ms: u64,
    /// Why, as the peer reported it.
    code: String,
    /// Where it stands in `Backoffs::timers`: the end of the pause, then the time to forget it.
    timer: u64,
}

/// All pairs that back off, or did so lately.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    pairs: BTreeMap<PeerId, BTreeMap<FileName, Backoff>>,
    timers: BTreeSet<(u64, PeerId, FileName)>,
}

impl Backoffs {
    /// Makes a pair back off; answers until when.
    pub(super) fn fail(&mut self, peer: &PeerId, file: &FileName, code: &str, now_ms: u64) -> u64 {
        let before = self.remove(peer, file);
        let pause_ms = before.map_or(PAUSE_MS_MIN, |backoff| (backoff.pause_ms * 2).min(PAUSE_MS_MAX));
        let until = now_ms.saturating_add(pause_ms);
        if self.timers.len() >= BACKOFFS_MAX
            && let Some((_, peer, file)) = self.timers.pop_first()
        {
            self.remove(&peer, &file);
        }
        let code = code.chars().filter(|letter| !letter.is_control()).take(CODE_CHARS_MAX).collect();
        self.timers.insert((until, peer.clone(), file.clone()));
        self.pairs
            .entry(peer.clone())
            .or_default()
            .insert(file.clone(), Backoff { until, pause_ms, code, timer: until });
        until
    }

    /// The pair succeeded: its next failure starts from the shortest pause again.
    pub(super) fn succeed(&mut self, peer: &PeerId, file: &FileName) {
        self.remove(peer, file);
    }

    /// Milliseconds for which a pair still backs off, and why; `None` if it does not.
    pub(super) fn remaining(&self, peer: &PeerId, file: &FileName, now_ms: u64) -> Option<(u64, &str)> {
        let backoff = self.pairs.get(peer)?.get(file)?;
        (backoff.until > now_ms).then(|| (backoff.until - now_ms, backoff.code.as_str()))
    }

    /// Files of which a pair's pause is over by now, at most `limit`.
    pub(super) fn wake(&mut self, now_ms: u64, limit: usize) -> Vec<FileName> {
        let mut woken = Vec::new();
        while woken.len() < limit && self.timers.first().is_some_and(|(at, ..)| *at <= now_ms) {
            let Some((at, peer, file)) = self.timers.pop_first() else { break };
            let Some(backoff) = self.pairs.get_mut(&peer).and_then(|files| files.get_mut(&file)) else { continue };
            if backoff.until == at {
                backoff.timer = at.saturating_add(PAUSE_MS_MAX);
                self.timers.insert((backoff.timer, peer, file.clone()));
                woken.push(file);
            } else {
                self.remove(&peer, &file);
            }
        }
        woken
    }

    fn remove(&mut self, peer: &PeerId, file: &FileName) -> Option<Backoff> {
        let files = self.pairs.get_mut(peer)?;
        let (name, backoff) = files.remove_entry(file)?;
        if files.is_empty() {
            self.pairs.remove(peer);
        }
        self.timers.remove(&(backoff.timer, peer.clone(), name));
        Some(backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (PeerId, FileName) {
        (PeerId::parse("a").expect("valid"), FileName::parse("f").expect("valid"))
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_success() {
        let (peer, file) = pair();
        let mut backoffs = Backoffs::default();
        let mut now = 0;
        for expected in
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 600_000, 600_000]
        {
            let until = backoffs.fail(&peer, &file, "disk_full", now);
            assert_eq!(until - now, expected);
            assert_eq!(backoffs.remaining(&peer, &file, now), Some((expected, "disk_full")));
            assert_eq!(backoffs.remaining(&peer, &file, until), None);
            now = until;
            assert_eq!(backoffs.wake(now, 10), std::slice::from_ref(&file));
        }
        backoffs.succeed(&peer, &file);
        assert_eq!(backoffs.fail(&peer, &file, "x", now) - now, PAUSE_MS_MIN);
    }

    #[test]
    fn a_pair_without_trouble_is_forgotten() {
        let (peer, file) = pair();
        let mut backoffs = Backoffs::default();
        backoffs.fail(&peer, &file, "x", 0);
        assert_eq!(backoffs.wake(1_000, 10).len(), 1);
        assert!(backoffs.wake(1_000 + PAUSE_MS_MAX, 10).is_empty());
        assert!(backoffs.pairs.is_empty() && backoffs.timers.is_empty());
    }
}
