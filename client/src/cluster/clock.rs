//! The clock for deadlines and lease margins; it keeps running while the machine sleeps (T4, X3).
//!
//! Invariant: readings never go back, and a laptop that was closed for an hour sees an hour pass. On Linux
//! `std::time::Instant` stands still during sleep, so a lease that ended long ago would look alive.

use std::time::Duration;

/// A reading of the clock, as time since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The current moment.
    pub fn now() -> Self {
        Self(read())
    }

    /// Time since `self`; zero if `self` is in the future.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from now until `self`; zero once it is past.
    pub fn remaining(self) -> Duration {
        self.since(Self::now())
    }
}

impl std::ops::Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
/// On other systems the monotonic clock already counts sleep, or there is no better clock.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

// Calls the C library rather than rustix, which calls the kernel directly: clock faults are injected by a preloaded
// library that replaces the C library's functions.
#[allow(unsafe_code, reason = "the standard library offers no clock that counts sleep")]
fn read() -> Duration {
    let mut reading = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `reading` is a valid, exclusively borrowed timespec for the duration of the call.
    let status = unsafe { libc::clock_gettime(CLOCK, &raw mut reading) };
    // The call fails only for a clock id that the kernel does not know; this one has existed since Linux 2.6.39.
    assert_eq!(status, 0, "the system has no clock {CLOCK}");
    Duration::new(reading.tv_sec.unsigned_abs(), reading.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_go_back_and_differences_saturate() {
        let first = BootTime::now();
        let second = BootTime::now();
        assert!(second >= first);
        assert_eq!(first.since(first + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((first + Duration::from_secs(1)).since(first), Duration::from_secs(1));
    }
}
