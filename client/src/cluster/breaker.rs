//! The circuit breaker of one node: it decides whether requests are sent to the node. Pure: the time is an argument.
//!
//! ```text
//!                 a request fails                       the pause is over
//!    closed ---------------------------------> open -------------------------------> half-open
//!     ^ ^  +- silent while others answer ------ | -------------------------------------> | |
//!     | +---- named leader of a newer term -----+ <----- the probe fails: pause x 2 -----+ |
//!     +-------------- any answer ----------------------------------------------------------+
//! ```
//!
//! | state | requests | ends |
//! | --- | --- | --- |
//! | closed | are sent | with a failed request, or with a request that stays silent while another node answers |
//! | open | go to other nodes | after the pause: 100 ms, doubled by each failed probe up to 2 s |
//! | half-open | go to other nodes; one probe is sent in the background | with the outcome of the probe |
//!
//! Invariants: a node that does not answer delays the requests that were under way when it failed, and no later one as
//! long as another node answers. In half-open, at most one probe is under way. Every pause has a limit, so a node that
//! comes back is found.

use std::time::{Duration, Instant};

/// The pause after the first failure; it doubles with every failed probe.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The time limit of a probe.
pub(super) const PROBE_MAX: Duration = Duration::from_secs(1);
/// A probe without an outcome after this time counts as lost, and another one may be sent.
const PROBE_LOST: Duration = Duration::from_secs(2);

/// Whether requests are sent to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are sent.
    Closed,
    /// Requests go to other nodes, and the node is left alone.
    Open,
    /// Requests go to other nodes, and one probe decides.
    HalfOpen,
}

/// The breaker of one node. A new one is closed.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    phase: Phase,
    /// Failures since the last answer, each after the pause of the one before.
    failures: u32,
}

#[derive(Debug, Default, Clone, Copy)]
enum Phase {
    #[default]
    Closed,
    /// The pause ends then.
    Open(Instant),
    /// When the last probe was sent.
    HalfOpen(Option<Instant>),
}

impl Breaker {
    /// The state at this moment.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open(until) if now < until => State::Open,
            Phase::Open(_) | Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    /// Whether the caller is to send a probe now. Only one caller gets `true` for each probe.
    pub(super) fn claim_probe(&mut self, now: Instant) -> bool {
        if self.state(now) != State::HalfOpen {
            return false;
        }
        if let Phase::HalfOpen(Some(sent)) = self.phase
            && now.saturating_duration_since(sent) < PROBE_LOST
        {
            return false;
        }
        self.phase = Phase::HalfOpen(Some(now));
        true
    }

    /// The node answered, to whatever.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A request or a probe failed. Further failures of requests that were under way do not prolong the pause.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.state(now) == State::Open {
            return;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Open(now + pause);
    }

    /// A request to the node stayed silent while another node answered the same.
    pub(super) fn silent(&mut self) {
        if matches!(self.phase, Phase::Closed) {
            self.phase = Phase::HalfOpen(None);
        }
    }

    /// Another node names this one as the leader of a newer term, so a majority has just heard from it. If it fails
    /// again, its pause goes on doubling.
    pub(super) fn vouched_for(&mut self) {
        self.phase = Phase::Closed;
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
