//! What to do after a failed attempt: wait and retry, or give up and report what is known. Pure: time and randomness
//! are arguments.
//!
//! Invariants: an attempt that may have been applied is retried only under the same key (X3). Once any attempt may have
//! been applied, giving up reports *unknown*, unless the catalog itself decided under that key. No call takes more than
//! five minutes.

use std::time::Duration;

use crate::contract::{AppliedState, ErrorCode, Problem};

/// Longest time a call may take, including sleep of the machine (X3).
pub const DEADLINE_MAX: Duration = Duration::from_secs(5 * 60);
/// First step of the backoff; doubles with every attempt.
pub const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Largest step of the backoff.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A call that cannot connect to any server gives up after this long: the address is probably wrong.
pub const UNREACHABLE_MAX: Duration = Duration::from_secs(3);

/// With less time left than this, no further attempt is started: its answer would hardly arrive, and a definite failure
/// would become an unknown outcome.
pub const ATTEMPT_MIN: Duration = Duration::from_millis(200);

/// What an attempt's failure says about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No connection, so nothing was sent.
    NotSent,
    /// The node does not lead and did nothing.
    NotLeader,
    /// The node did nothing, and may be able to later.
    NotNow {
        /// The node's own estimate, if it gave one.
        retry_after: Option<Duration>,
    },
    /// A rule of the catalog refused the request, and that answer is remembered under its key.
    Decided,
    /// Refused before it reached the catalog (credentials, syntax, size …): this attempt was not applied.
    Turned,
    /// Timed out, cut off, or `outcome_unknown`.
    Unknown,
}

/// Which requests may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A write with an idempotency key: retry under the same key.
    Keyed,
    /// Reads and heartbeats: retry as often as needed.
    Harmless,
    /// A write without a key: retry only if it certainly was not applied.
    Once,
}

/// What is known after a failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Failed attempts so far, this one included; at least 1.
    pub attempts: u32,
    /// Time since the call began.
    pub elapsed: Duration,
    /// The call's own time limit.
    pub deadline: Duration,
    /// Whether an earlier attempt may have been applied.
    pub maybe_applied: bool,
    /// Whether every attempt so far ended in [`Class::NotSent`].
    pub never_connected: bool,
    /// A random number in `0.0..1.0`.
    pub chance: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Retry after this pause.
    Again(Duration),
    /// Stop; the request was not applied, or the catalog decided and the answer says what happened.
    GiveUp,
    /// Stop; the request may have been applied.
    GiveUpUnknown,
}

/// Classifies a server's refusal of a write.
pub fn classify(problem: &Problem) -> Class {
    use ErrorCode as C;
    let retry_after = problem.retry_after_ms.map(Duration::from_millis);
    if problem.applied == Some(AppliedState::Unknown) {
        return Class::Unknown;
    }
    match problem.code {
        C::NotLeader => Class::NotLeader,
        C::Overloaded
        | C::NoQuorum
        | C::NotInitialized
        | C::StorageFailed
        | C::Loading
        | C::Diverged
        | C::Removed
        | C::TooStale
        | C::ReadOnly => Class::NotNow { retry_after },
        C::NotHolder
        | C::LeaseRequired
        | C::LeaseExpired
        | C::NotFound
        | C::UnknownPeer
        | C::VersionConflict
        | C::HashConflict
        | C::OutOfBounds => Class::Decided,
        C::BadRequest
        | C::BadName
        | C::Unauthorized
        | C::Forbidden
        | C::MethodNotAllowed
        | C::KeyExpired
        | C::AlreadyInitialized
        | C::MembershipRefused
        | C::Compacted
        | C::TooLarge
        | C::KeyReused => Class::Turned,
        C::OutcomeUnknown => Class::Unknown,
        C::Unknown => match problem.status {
            400..500 => Class::Turned,
            _ if problem.applied == Some(AppliedState::No) => Class::NotNow { retry_after },
            _ => Class::Unknown,
        },
    }
}

/// Decides what follows a failed attempt.
pub fn next(class: Class, repeat: Repeat, situation: Situation) -> Next {
    let maybe_applied = repeat != Repeat::Harmless && (situation.maybe_applied || class == Class::Unknown);
    let give_up = if maybe_applied { Next::GiveUpUnknown } else { Next::GiveUp };
    let pause = match class {
        Class::Decided => return Next::GiveUp,
        Class::Turned => return give_up,
        Class::Unknown if repeat == Repeat::Once => return give_up,
        Class::NotSent if situation.never_connected && situation.elapsed >= UNREACHABLE_MAX => return give_up,
        Class::NotNow { retry_after: Some(hint) } => {
            hint.min(BACKOFF_MAX).max(backoff(situation.attempts, situation.chance))
        }
        // The first hint needs no pause: it names the node to ask. Further hints mean that the nodes disagree briefly.
        Class::NotLeader if situation.attempts == 1 => Duration::ZERO,
        Class::NotSent | Class::NotLeader | Class::NotNow { retry_after: None } | Class::Unknown => {
            backoff(situation.attempts, situation.chance)
        }
    };
    let deadline = situation.deadline.min(DEADLINE_MAX);
    if situation.elapsed.saturating_add(pause).saturating_add(ATTEMPT_MIN) >= deadline {
        give_up
    } else {
        Next::Again(pause)
    }
}

/// Full jitter: a random pause between zero and a bound that doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`].
fn backoff(attempts: u32, chance: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
