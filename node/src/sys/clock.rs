//! The clocks of this machine. The only file of the crate that reads one.
//!
//! Invariant: deadlines and ages are measured by [`now`] and [`Monotonic`], which no operator sets. The wall clock is
//! for people only (T4). The time that goes into entries comes from `propose::LogClock`, which is based on
//! [`Monotonic`].

#![expect(clippy::disallowed_methods, reason = "the one file that reads clocks")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::cluster::BootTime;
use tokio::time::Instant;

/// This moment, by the monotonic clock. A test that pauses the runtime's time pauses this as well.
pub fn now() -> Instant {
    Instant::now()
}

/// The smallest difference between the two clocks that counts as sleep of the machine.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// This machine's monotonic clock, counted from when the node started.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic {
    began: Instant,
    #[cfg(feature = "sim")]
    rate_percent: u32,
    /// The same moment by the clock that goes on while the machine sleeps, and by the one that stops. Never simulated.
    real: (BootTime, std::time::Instant),
}

impl Default for Monotonic {
    fn default() -> Self {
        Self {
            began: now(),
            #[cfg(feature = "sim")]
            rate_percent: 100,
            real: (BootTime::now(), std::time::Instant::now()),
        }
    }
}

impl Monotonic {
    /// A simulated clock, begun now, that runs at this percentage of the right rate.
    #[cfg(feature = "sim")]
    pub fn with_rate(rate_percent: u32) -> Self {
        Self { rate_percent, ..Self::default() }
    }

    /// What the clock shows.
    pub fn now(&self) -> Duration {
        let elapsed = self.began.elapsed();
        #[cfg(feature = "sim")]
        if self.rate_percent != 100 {
            return elapsed * self.rate_percent / 100;
        }
        elapsed
    }

    /// What the clock shows, plus the time that the machine slept since the clock began: the clock stood still then.
    pub fn awake_and_asleep(&self) -> Duration {
        let (began, awake_since) = self.real;
        let slept = began.elapsed().saturating_sub(awake_since.elapsed());
        // Two clocks are read one after the other; less than this is no sleep.
        if slept < SLEEP_MIN { self.now() } else { self.now() + slept }
    }

    /// The same in milliseconds: the `now_ms` of the pure modules.
    pub fn now_ms(&self) -> u64 {
        millis(self.now())
    }
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
