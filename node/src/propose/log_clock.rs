//! The leader's reading of the log clock (T2): the only source of the time that goes into entries.
//!
//! Invariant: a stamp is only made from an anchor of the current term, and log time between two stamps of one anchor
//! never passes faster than this machine's monotonic clock.

use std::time::Duration;

use parking_lot::RwLock;
use raft_store::catalog::Stamp;
use raft_store::types::LogTime;
use tokio::time::Instant;

use crate::sys::clock::{Monotonic, millis};

/// `log clock ↔ monotonic now`, fixed when the leader applied the first entry of its own term.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// The term it belongs to.
    pub term: u64,
    log: LogTime,
    clock: Monotonic,
    at: Duration,
}

impl Anchor {
    /// Anchors now: `log` must have been read before this call, so that stamps lag rather than lead.
    pub fn new(term: u64, log: LogTime, clock: Monotonic) -> Self {
        Self { term, log, clock, at: clock.now() }
    }

    /// The log time now.
    pub fn now(&self) -> LogTime {
        self.log + millis(self.clock.now().saturating_sub(self.at))
    }

    /// A stamp for an entry proposed now.
    pub fn stamp(&self) -> Stamp {
        Stamp { term: self.term, at: self.now() }
    }
}

/// The log time as this node knows it: exact on a leader; on a follower an estimate from the leader's last answer.
#[derive(Debug, Default)]
pub struct LogClock {
    monotonic: Monotonic,
    anchor: RwLock<Option<Anchor>>,
    estimate: RwLock<Option<(LogTime, Instant)>>,
}

impl LogClock {
    /// Log time kept by this clock.
    pub fn new(monotonic: Monotonic) -> Self {
        Self { monotonic, ..Self::default() }
    }

    /// The monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        self.monotonic
    }

    /// The leader's anchor, if this node leads and has one.
    pub fn anchor(&self) -> Option<Anchor> {
        *self.anchor.read()
    }

    /// Sets or clears the anchor.
    pub fn set_anchor(&self, anchor: Option<Anchor>) {
        *self.anchor.write() = anchor;
    }

    /// Notes the log time the leader named, as of `asked`.
    pub fn set_estimate(&self, log: LogTime, asked: Instant) {
        *self.estimate.write() = Some((log, asked));
    }

    /// Log time for answers to people (T4): never earlier than `applied`, the catalog's own clock.
    pub fn now(&self, applied: LogTime) -> LogTime {
        if let Some(anchor) = self.anchor() {
            return anchor.now().max(applied);
        }
        match *self.estimate.read() {
            Some((log, asked)) => (log + millis(asked.elapsed())).max(applied),
            None => applied,
        }
    }

    /// The time that the log clock has certainly reached. On a follower [`LogClock::now`] may be ahead of it, by as
    /// long as the leader's answer took to arrive. That is enough to call a lease over too early.
    pub fn reached(&self, applied: LogTime) -> LogTime {
        match (self.anchor(), *self.estimate.read()) {
            (Some(anchor), _) => anchor.now().max(applied),
            (None, Some((log, _))) => log.max(applied),
            (None, None) => applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::now;

    #[tokio::test(start_paused = true)]
    async fn what_a_follower_guesses_is_ahead_of_what_is_certain() {
        let clock = LogClock::new(Monotonic::default());
        assert_eq!((clock.now(7), clock.reached(7)), (7, 7));
        clock.set_estimate(1_000, now());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!((clock.now(7), clock.reached(7)), (1_500, 1_000));
        assert_eq!(clock.reached(1_200), 1_200, "an entry says so");
        clock.set_anchor(Some(Anchor::new(3, 2_000, Monotonic::default())));
        assert_eq!(clock.reached(7), 2_000, "a leader knows");
    }
}
