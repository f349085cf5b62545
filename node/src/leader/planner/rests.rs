//! Backoff of a pair of peer and file after a failure (M2): 1 s, doubled by every further failure, up to 10 minutes.
//!
//! Invariant: a pair is forgotten once it has had no failure for the longest pause after its backoff;
//! at most [`RESTS_MAX`] pairs are kept.

use std::collections::{BTreeMap, BTreeSet};

use raft_store::types::{FileName, PeerId};

/// First pause of a pair, in milliseconds.
pub const PAUSE_MS_MIN: u64 = 1_000;
/// Longest pause of a pair, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 10 * 60 * 1_000;
/// Pairs remembered; beyond it the one whose pause ends first is forgotten.
pub const RESTS_MAX: usize = 100_000;
/// Longest failure code kept, in characters.
const CODE_CHARS_MAX: usize = 64;

#[derive(Debug)]
struct Rest {
    until: u64,
    pause_ms: u64,
    /// Why, as the peer reported it.
    code: String,
    /// Where it stands in `Rests::timers`: the end of the pause, then the time to forget it.
    timer: u64,
}

/// All pairs that rest or have rested lately.
#[derive(Debug, Default)]
pub(super) struct Rests {
    pairs: BTreeMap<PeerId, BTreeMap<FileName, Rest>>,
    timers: BTreeSet<(u64, PeerId, FileName)>,
}

impl Rests {
    /// Sends a pair to rest; answers until when.
    pub(super) fn fail(&mut self, peer: &PeerId, file: &FileName, code: &str, now_ms: u64) -> u64 {
        let before = self.remove(peer, file);
        let pause_ms = before.map_or(PAUSE_MS_MIN, |rest| (rest.pause_ms * 2).min(PAUSE_MS_MAX));
        let until = now_ms.saturating_add(pause_ms);
        if self.timers.len() >= RESTS_MAX
            && let Some((_, peer, file)) = self.timers.pop_first()
        {
            self.remove(&peer, &file);
        }
        let code = code.chars().filter(|letter| !letter.is_control()).take(CODE_CHARS_MAX).collect();
        self.timers.insert((until, peer.clone(), file.clone()));
        self.pairs.entry(peer.clone()).or_default().insert(file.clone(), Rest { until, pause_ms, code, timer: until });
        until
    }

    /// The pair succeeded: its next failure starts from the shortest pause again.
    pub(super) fn succeed(&mut self, peer: &PeerId, file: &FileName) {
        self.remove(peer, file);
    }

    /// Milliseconds a pair still rests and why; `None` if it does not.
    pub(super) fn remaining(&self, peer: &PeerId, file: &FileName, now_ms: u64) -> Option<(u64, &str)> {
        let rest = self.pairs.get(peer)?.get(file)?;
        (rest.until > now_ms).then(|| (rest.until - now_ms, rest.code.as_str()))
    }

    /// Files of which a pair's pause is over by now, at most `limit`.
    pub(super) fn wake(&mut self, now_ms: u64, limit: usize) -> Vec<FileName> {
        let mut woken = Vec::new();
        while woken.len() < limit && self.timers.first().is_some_and(|(at, ..)| *at <= now_ms) {
            let Some((at, peer, file)) = self.timers.pop_first() else { break };
            let Some(rest) = self.pairs.get_mut(&peer).and_then(|files| files.get_mut(&file)) else { continue };
            if rest.until == at {
                rest.timer = at.saturating_add(PAUSE_MS_MAX);
                self.timers.insert((rest.timer, peer, file.clone()));
                woken.push(file);
            } else {
                self.remove(&peer, &file);
            }
        }
        woken
    }

    fn remove(&mut self, peer: &PeerId, file: &FileName) -> Option<Rest> {
        let files = self.pairs.get_mut(peer)?;
        let (name, rest) = files.remove_entry(file)?;
        if files.is_empty() {
            self.pairs.remove(peer);
        }
        self.timers.remove(&(rest.timer, peer.clone(), name));
        Some(rest)
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
        let mut rests = Rests::default();
        let mut now = 0;
        for expected in
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 600_000, 600_000]
        {
            let until = rests.fail(&peer, &file, "disk_full", now);
            assert_eq!(until - now, expected);
            assert_eq!(rests.remaining(&peer, &file, now), Some((expected, "disk_full")));
            assert_eq!(rests.remaining(&peer, &file, until), None);
            now = until;
            assert_eq!(rests.wake(now, 10), std::slice::from_ref(&file));
        }
        rests.succeed(&peer, &file);
        assert_eq!(rests.fail(&peer, &file, "x", now) - now, PAUSE_MS_MIN);
    }

    #[test]
    fn a_pair_without_trouble_is_forgotten() {
        let (peer, file) = pair();
        let mut rests = Rests::default();
        rests.fail(&peer, &file, "x", 0);
        assert_eq!(rests.wake(1_000, 10).len(), 1);
        assert!(rests.wake(1_000 + PAUSE_MS_MAX, 10).is_empty());
        assert!(rests.pairs.is_empty() && rests.timers.is_empty());
    }
}
