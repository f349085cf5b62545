//! How long a request's caller waits, and what is left of it (W6).
//!
//! Invariant: a deadline is set once, when the request arrives, and only shrinks on its way: to another node goes what
//! is left of it, less what the answer needs to come back.

use std::time::Duration;

use axum::http::HeaderMap;
use client::api::headers;
use tokio::time::Instant;

use crate::config::REQUEST_DEADLINE;
use crate::http::error::ApiError;

/// The longest deadline that a request may name, in milliseconds.
pub const DEADLINE_MS_MAX: u64 = 300_000;
/// What an answer needs on its way back from the leader, at most.
const RETURN_MARGIN: Duration = Duration::from_millis(100);

/// When a request arrived, and how long its caller waits if it says so.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    named: Option<Duration>,
}

impl Deadline {
    /// For a request that arrived now; fails on a header that names no number of milliseconds.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let wrong = || {
            let name = "Raftshare-Deadline-Ms";
            ApiError::BadRequest(format!("{name} must be a whole number of milliseconds from 1 to {DEADLINE_MS_MAX}"))
        };
        let named = match headers.get(headers::DEADLINE_MS) {
            None => None,
            Some(value) => {
                let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(wrong)?;
                if !(1..=DEADLINE_MS_MAX).contains(&millis) {
                    return Err(wrong());
                }
                Some(Duration::from_millis(millis))
            }
        };
        Ok(Self { arrived: Instant::now(), named })
    }

    /// A deadline that the node sets for itself.
    pub fn within(duration: Duration) -> Self {
        Self { arrived: Instant::now(), named: Some(duration) }
    }

    /// When the request arrived.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// The moment that the caller named.
    pub fn named(&self) -> Option<Instant> {
        self.named.map(|named| self.arrived + named)
    }

    /// The caller's moment, or the usual one for a request that may wait for `wait` on top.
    pub fn until(&self, wait: Duration) -> Instant {
        self.named().unwrap_or(self.arrived + wait + REQUEST_DEADLINE)
    }

    /// The moment by which something has to be done that takes `usual` at most, counted from now.
    pub fn at_most(&self, usual: Duration) -> Instant {
        let usual = Instant::now() + usual;
        self.named().map_or(usual, |named| named.min(usual))
    }
}

/// What is left until a moment.
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// What a node that forwards a request names as its deadline, so that the answer is back in time.
pub fn for_next_hop(until: Instant) -> u64 {
    let left = left(until);
    let margin = RETURN_MARGIN.min(left / 4);
    crate::clock::millis(left.saturating_sub(margin)).clamp(1, DEADLINE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Deadline, ApiError> {
        let mut map = HeaderMap::new();
        map.insert(headers::DEADLINE_MS, value.parse().expect("a header value"));
        Deadline::of(&map)
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
        let deadline = Deadline::of(&HeaderMap::new()).expect("no header");
        assert_eq!(deadline.named(), None);
        assert_eq!(left(deadline.until(Duration::ZERO)), REQUEST_DEADLINE);
        assert_eq!(left(deadline.until(Duration::from_secs(2))), REQUEST_DEADLINE + Duration::from_secs(2));
    }

    #[test]
    fn wrong_values_are_refused() {
        for value in ["", "0", "-1", "1.5", "5s", "300001", "18446744073709551616"] {
            assert!(matches!(of(value), Err(ApiError::BadRequest(_))), "{value:?}");
        }
    }
}
