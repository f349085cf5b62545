//! The leader's reading of the log clock (T2), and the only place in the node that reads clocks.
//!
//! Invariant: a stamp is only made from an anchor of the current term, and log time between two stamps of one anchor
//! never passes faster than this machine's monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use raft_store::catalog::Stamp;
use raft_store::types::LogTime;

/// `log clock ↔ monotonic now`, fixed when the leader applied the first entry of its own term.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// The term it belongs to.
    pub term: u64,
    log: LogTime,
    monotonic: Instant,
}

impl Anchor {
    /// Anchors now: `log` must have been read before this call, so that stamps lag rather than lead.
    pub fn new(term: u64, log: LogTime) -> Self {
        Self { term, log, monotonic: Instant::now() }
    }

    /// The log time now.
    pub fn now(&self) -> LogTime {
        self.log + millis(self.monotonic.elapsed())
    }

    /// A stamp for an entry proposed now.
    pub fn stamp(&self) -> Stamp {
        Stamp { term: self.term, at: self.now() }
    }
}

/// What the node believes log time to be: exact on a leader, an estimate from the leader's last word on a follower.
#[derive(Debug, Default)]
pub struct LogClock {
    anchor: RwLock<Option<Anchor>>,
    estimate: RwLock<Option<(LogTime, Instant)>>,
}

impl LogClock {
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
}

/// Milliseconds since this process first asked; the `now_ms` of the pure modules.
pub fn monotonic_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    millis(START.get_or_init(Instant::now).elapsed())
}

/// Unix seconds, for people only (T4).
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// Whole milliseconds of a duration, rounded up: for ages that must not look younger than they are (R2).
pub fn millis_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Whole milliseconds of a duration.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
