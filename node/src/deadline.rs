//! How long a request's caller waits, and what is left of it (W6).
//!
//! Invariant: a deadline is set once, when the request arrives, and only shrinks on its way. A node that forwards the
//! request passes on what is left of the time, less what the answer needs to come back.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::REQUEST_DEADLINE;
use crate::sys::clock;

/// The longest deadline that a request may name, in milliseconds.
pub const DEADLINE_MS_MAX: u64 = 300_000;
/// What an answer needs on its way back from the leader, at most.
const RETURN_MARGIN: Duration = Duration::from_millis(100);

/// The header of a request does not name a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Raftshare-Deadline-Ms must be a whole number of milliseconds from 1 to {DEADLINE_MS_MAX}")]
pub struct BadDeadline;

/// When a request arrived, and how long its caller waits, if the request says so.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    named: Option<Duration>,
}

impl Deadline {
    /// The deadline of a request that arrived now, from the value of its header if it has one. Fails if that is not a
    /// number of milliseconds in range.
    pub fn of(header: Option<&[u8]>) -> Result<Self, BadDeadline> {
        let named = match header {
            None => None,
            Some(value) => {
                let text = std::str::from_utf8(value).map_err(|_| BadDeadline)?;
                let millis = text.trim_ascii().parse().map_err(|_| BadDeadline)?;
                if !(1..=DEADLINE_MS_MAX).contains(&millis) {
                    return Err(BadDeadline);
                }
                Some(Duration::from_millis(millis))
            }
        };
        Ok(Self { arrived: clock::now(), named })
    }

    /// For a request that arrived now and names none.
    pub fn unnamed() -> Self {
        Self { arrived: clock::now(), named: None }
    }

    /// A deadline that the node sets for itself.
    pub fn within(duration: Duration) -> Self {
        Self { arrived: clock::now(), named: Some(duration) }
    }

    /// When the request arrived.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// The moment that the caller named.
    pub fn named(&self) -> Option<Instant> {
        self.named.map(|named| self.arrived + named)
    }

    /// The moment that the caller named, or the usual one; a request that waits by design may take `wait` longer.
    pub fn until(&self, wait: Duration) -> Instant {
        self.named().unwrap_or(self.arrived + wait + REQUEST_DEADLINE)
    }

    /// The deadline of a step that may take at most `usual` from now on.
    pub fn at_most(&self, usual: Duration) -> Instant {
        let usual = clock::now() + usual;
        self.named().map_or(usual, |named| named.min(usual))
    }
}

/// The time left until a moment.
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(clock::now())
}

/// The deadline in milliseconds that a node passes on with a forwarded request, so that the answer is back in time.
pub fn for_next_hop(until: Instant) -> u64 {
    let left = left(until);
    let margin = RETURN_MARGIN.min(left / 4);
    clock::millis(left.saturating_sub(margin)).clamp(1, DEADLINE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Deadline, BadDeadline> {
        Deadline::of(Some(value.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_deadline_counts_from_arrival() {
        let deadline = of("800").expect("a number");
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(left(deadline.until(Duration::from_secs(9))), Duration::from_millis(500), "waiting adds nothing");
        assert_eq!(left(deadline.at_most(Duration::from_millis(100))), Duration::from_millis(100));
        assert_eq!(left(deadline.at_most(Duration::from_secs(9))), Duration::from_millis(500));
        assert_eq!(for_next_hop(deadline.until(Duration::ZERO)), 400, "the answer has to come back");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(for_next_hop(deadline.until(Duration::ZERO)), 1, "never zero, which would be refused as wrong");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_header_it_is_the_usual_one() {
        let deadline = Deadline::of(None).expect("no header");
        assert_eq!(deadline.named(), None);
        assert_eq!(left(deadline.until(Duration::ZERO)), REQUEST_DEADLINE);
        assert_eq!(left(deadline.until(Duration::from_secs(2))), REQUEST_DEADLINE + Duration::from_secs(2));
    }

    #[test]
    fn wrong_values_are_refused() {
        for value in ["", "0", "-1", "1.5", "5s", "300001", "18446744073709551616"] {
            assert!(matches!(of(value), Err(BadDeadline)), "{value:?}");
        }
    }
}
