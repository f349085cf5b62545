//! The retry policy as a table: every class of failure against every kind of request.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn situation() -> Situation {
    Situation {
        attempts: 2,
        elapsed: SECOND,
        deadline: 10 * SECOND,
        maybe_applied: false,
        never_connected: false,
        chance: 1.0,
    }
}

fn problem(status: u16, code: ErrorCode, applied: Option<AppliedState>) -> Problem {
    Problem { applied, ..Problem::new(status, code, "", "") }
}

#[test]
fn every_class_meets_every_kind_of_request() {
    let again = Next::Again(Duration::from_millis(40));
    let not_now = Class::NotNow { retry_after: None };
    #[rustfmt::skip]
    let table = [
        // class             keyed                harmless        once
        (Class::NotSent,   [again,                again,          again]),
        (Class::NotLeader, [again,                again,          again]),
        (not_now,          [again,                again,          again]),
        (Class::Decided,   [Next::GiveUp,         Next::GiveUp,   Next::GiveUp]),
        (Class::Turned,    [Next::GiveUp,         Next::GiveUp,   Next::GiveUp]),
        (Class::Unknown,   [again,                again,          Next::GiveUpUnknown]),
    ];
    for (class, expected) in table {
        for (repeat, expected) in [Repeat::Keyed, Repeat::Harmless, Repeat::Once].into_iter().zip(expected) {
            assert_eq!(next(class, repeat, situation()), expected, "{class:?} {repeat:?}");
        }
    }
}

#[test]
fn what_may_have_been_applied_once_stays_unknown_unless_the_catalog_decides() {
    let after = Situation { maybe_applied: true, elapsed: 10 * SECOND, ..situation() };
    for (class, expected) in [
        (Class::NotSent, Next::GiveUpUnknown),
        (Class::NotLeader, Next::GiveUpUnknown),
        (Class::NotNow { retry_after: None }, Next::GiveUpUnknown),
        (Class::Turned, Next::GiveUpUnknown),
        (Class::Unknown, Next::GiveUpUnknown),
        (Class::Decided, Next::GiveUp),
    ] {
        assert_eq!(next(class, Repeat::Keyed, after), expected, "{class:?}");
    }
}

#[test]
fn reads_never_end_unknown() {
    let late = Situation { elapsed: 10 * SECOND, maybe_applied: true, ..situation() };
    assert_eq!(next(Class::Unknown, Repeat::Harmless, late), Next::GiveUp);
}

#[test]
fn nothing_outlives_its_deadline_or_five_minutes() {
    let at = |elapsed, deadline| next(Class::Unknown, Repeat::Keyed, Situation { elapsed, deadline, ..situation() });
    assert!(matches!(at(9 * SECOND, 10 * SECOND), Next::Again(_)));
    assert_eq!(at(10 * SECOND, 10 * SECOND), Next::GiveUpUnknown);
    assert_eq!(at(DEADLINE_MAX, 2 * DEADLINE_MAX), Next::GiveUpUnknown);
    // A pause that would end after the deadline is not started.
    assert_eq!(at(10 * SECOND - Duration::from_millis(40), 10 * SECOND), Next::GiveUpUnknown);
    // Nor is an attempt that would be cut short: it would turn a definite failure into an unknown one.
    let late = Situation { elapsed: 10 * SECOND - ATTEMPT_MIN, ..situation() };
    assert_eq!(next(Class::NotNow { retry_after: None }, Repeat::Keyed, late), Next::GiveUp);
}

#[test]
fn servers_that_were_never_connected_to_are_given_up_early() {
    let never = Situation { never_connected: true, elapsed: UNREACHABLE_MAX, ..situation() };
    assert_eq!(next(Class::NotSent, Repeat::Keyed, never), Next::GiveUp);
    let once = Situation { never_connected: false, ..never };
    assert!(matches!(next(Class::NotSent, Repeat::Keyed, once), Next::Again(_)));
}

#[test]
fn the_first_hint_is_followed_at_once() {
    let first = Situation { attempts: 1, ..situation() };
    assert_eq!(next(Class::NotLeader, Repeat::Once, first), Next::Again(Duration::ZERO));
}

#[test]
fn backoff_doubles_up_to_a_bound_and_has_full_jitter() {
    let bounds: Vec<u128> = (1..=8).map(|attempt| backoff(attempt, 1.0).as_millis()).collect();
    assert_eq!(bounds, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_MAX);
    assert_eq!(backoff(5, 0.0), Duration::ZERO);
    assert_eq!(backoff(5, 0.5), Duration::from_millis(160));
}

#[test]
fn a_servers_own_estimate_counts_but_is_bounded() {
    let wait = |hint| next(Class::NotNow { retry_after: Some(hint) }, Repeat::Keyed, situation());
    assert_eq!(wait(Duration::from_millis(300)), Next::Again(Duration::from_millis(300)));
    assert_eq!(wait(Duration::from_secs(60)), Next::Again(BACKOFF_MAX));
}

#[test]
fn refusals_are_sorted_by_what_they_prove() {
    use AppliedState::{No, Unknown};
    let not_now = Class::NotNow { retry_after: None };
    for (status, code, applied, expected) in [
        (503, ErrorCode::OutcomeUnknown, Some(Unknown), Class::Unknown),
        (503, ErrorCode::OutcomeUnknown, None, Class::Unknown),
        (503, ErrorCode::NoQuorum, Some(No), not_now),
        (503, ErrorCode::NoQuorum, Some(Unknown), Class::Unknown),
        (503, ErrorCode::StorageFailed, Some(No), not_now),
        (429, ErrorCode::Overloaded, Some(No), not_now),
        (403, ErrorCode::NotLeader, Some(No), Class::NotLeader),
        (403, ErrorCode::LeaseExpired, Some(No), Class::Decided),
        (409, ErrorCode::VersionConflict, Some(No), Class::Decided),
        (401, ErrorCode::Unauthorized, Some(No), Class::Turned),
        (409, ErrorCode::KeyExpired, Some(No), Class::Turned),
        (418, ErrorCode::Unknown, None, Class::Turned),
        (500, ErrorCode::Unknown, None, Class::Unknown),
        (503, ErrorCode::Unknown, Some(No), not_now),
    ] {
        assert_eq!(classify(&problem(status, code, applied)), expected, "{status} {code:?} {applied:?}");
    }
}
