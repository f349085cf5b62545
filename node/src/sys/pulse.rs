//! Notices that this process was paused: it was stopped, or its machine or virtual machine was suspended (W6).
//!
//! Meanwhile requests wait in the system's buffers, and look as if they had just arrived when the process continues.
//! Their callers may have given up long ago, so nothing that may have waited through a pause is carried out.
//!
//! Invariant: a caller that asks after a pause learns of it, even before the timer has run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::clock::{Monotonic, millis};

/// How often the timer runs.
const BEAT: Duration = Duration::from_millis(100);
/// Silence of the timer that counts as a pause, in milliseconds. A busy machine is late by less, and callers wait
/// longer.
const PAUSE_MS_MIN: u64 = 1_000;
/// How long after a pause a request may be one that waited through it, in milliseconds.
const BACKLOG_MS: u64 = 250;

/// See the module.
#[derive(Debug)]
pub struct Pulse {
    clock: Monotonic,
    /// The last moment at which this process was known to run, in milliseconds of the clock.
    last_ms: AtomicU64,
    /// Pauses so far.
    pauses: AtomicU64,
    /// When the last one was noticed; 0 before the first.
    noticed_ms: AtomicU64,
}

impl Pulse {
    /// Begins to count.
    pub fn new(clock: Monotonic) -> Self {
        let now = millis(clock.awake_and_asleep());
        Self { clock, last_ms: AtomicU64::new(now), pauses: AtomicU64::new(0), noticed_ms: AtomicU64::new(0) }
    }

    /// Notes that this process runs; returns how many pauses there were.
    pub fn beat(&self) -> u64 {
        self.beat_at(millis(self.clock.awake_and_asleep()))
    }

    /// How many pauses were noticed so far, without reading the clock.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Acquire)
    }

    /// Whether a request that arrives now may have waited through a pause.
    pub fn was_paused(&self) -> bool {
        self.was_paused_at(millis(self.clock.awake_and_asleep()))
    }

    fn beat_at(&self, now: u64) -> u64 {
        // Many requests come within one millisecond: only the first of them writes what all processors read.
        if self.last_ms.load(Ordering::Acquire) >= now {
            return self.pauses.load(Ordering::Acquire);
        }
        let last = self.last_ms.fetch_max(now, Ordering::AcqRel);
        if now.saturating_sub(last) >= PAUSE_MS_MIN {
            self.noticed_ms.store(now, Ordering::Release);
            return self.pauses.fetch_add(1, Ordering::AcqRel) + 1;
        }
        self.pauses.load(Ordering::Acquire)
    }

    fn was_paused_at(&self, now: u64) -> bool {
        let paused = self.beat_at(now) > 0;
        paused && now.saturating_sub(self.noticed_ms.load(Ordering::Acquire)) < BACKLOG_MS
    }
}

/// Runs until the process ends.
pub async fn run(pulse: Arc<Pulse>) {
    let mut interval = tokio::time::interval(BEAT);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut known = pulse.beat();
    loop {
        interval.tick().await;
        let pauses = pulse.beat();
        if pauses != std::mem::replace(&mut known, pauses) {
            tracing::info!("this process was paused; requests that waited meanwhile are refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_is_noticed_by_whoever_asks_first() {
        let pulse = Pulse::new(Monotonic::default());
        let start = pulse.last_ms.load(Ordering::Acquire);
        let mut now = start;
        for _ in 0..50 {
            now += PAUSE_MS_MIN - 1;
            assert!(!pulse.was_paused_at(now), "late is not paused");
        }
        assert_eq!(pulse.beat_at(now), 0);
        now += PAUSE_MS_MIN;
        assert!(pulse.was_paused_at(now), "before the timer ran again");
        assert!(pulse.was_paused_at(now + BACKLOG_MS - 1), "the backlog is read after it");
        assert!(!pulse.was_paused_at(now + BACKLOG_MS), "what comes later is new");
        assert_eq!(pulse.beat_at(now + BACKLOG_MS), 1);
    }
}
