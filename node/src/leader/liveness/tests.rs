//! Silence, gaps and grace periods, second by second.

use super::*;
use raft_store::catalog::LineEnd;

fn peer(id: &str) -> PeerId {
    PeerId::parse(id).expect("a valid id")
}

fn file(name: &str) -> FileName {
    FileName::parse(name).expect("a valid name")
}

fn start(ids: &[&str]) -> Liveness {
    Liveness::new(Config::default(), ids.iter().map(|id| (peer(id), 1)), 1_000_000)
}

/// Ticks once a second from `from` to `to` seconds after the start.
fn run(liveness: &mut Liveness, from: u64, to: u64, confirmed: bool) {
    for second in from + 1..=to {
        liveness.tick(1_000_000 + second * 1_000, confirmed);
    }
}

fn at(second: u64) -> u64 {
    1_000_000 + second * 1_000
}

fn ids(expired: Vec<(PeerId, Incarnation)>) -> Vec<String> {
    expired.into_iter().map(|(peer, incarnation)| format!("{peer}@{incarnation}")).collect()
}

#[test]
fn a_silent_peer_expires_after_its_ttl_and_not_before() {
    let mut liveness = start(&["a", "b"]);
    run(&mut liveness, 0, 44, true);
    liveness.sign_of_life(&peer("b"), at(44));
    assert!(liveness.expired_peers().is_empty());
    run(&mut liveness, 44, 45, true);
    assert_eq!(ids(liveness.expired_peers()), ["a@1"]);
    run(&mut liveness, 45, 89, true);
    assert_eq!(ids(liveness.expired_peers()), ["a@1", "b@1"], "a is reported again, its proposal was lost");
}

#[test]
fn a_report_repeats_only_after_its_pause_and_ends_with_the_event() {
    let mut liveness = start(&["a"]);
    run(&mut liveness, 0, 45, true);
    assert_eq!(ids(liveness.expired_peers()), ["a@1"]);
    assert!(liveness.expired_peers().is_empty());
    liveness.observe(&Event::PeerExpired { peer: peer("a") }, at(45));
    run(&mut liveness, 45, 60, true);
    assert!(liveness.expired_peers().is_empty());
    assert_eq!(liveness.silent_for_ms(&peer("a"), at(60)), None);
}

#[test]
fn time_without_a_majority_does_not_count() {
    let mut liveness = start(&["a"]);
    run(&mut liveness, 0, 30, true);
    run(&mut liveness, 30, 34, false);
    run(&mut liveness, 34, 49, true); // one step each side of the unconfirmed stretch does not count either
    assert!(liveness.expired_peers().is_empty(), "44 s counted");
    run(&mut liveness, 49, 50, true);
    assert_eq!(ids(liveness.expired_peers()), ["a@1"]);
}

#[test]
fn a_gap_does_not_count_and_starts_a_grace_period() {
    for (name, confirmed_after) in [("timer stood still", 100), ("majority was lost", 100)] {
        let mut liveness = start(&["a"]);
        run(&mut liveness, 0, 44, true);
        assert_eq!(liveness.grace_remaining_ms(), 0);
        if name == "majority was lost" {
            run(&mut liveness, 44, confirmed_after - 1, false);
            assert!(liveness.expired_peers().is_empty(), "{name}");
        }
        liveness.tick(at(confirmed_after), true);
        assert_eq!(liveness.grace_remaining_ms(), 15_000, "{name}");
        run(&mut liveness, confirmed_after, confirmed_after + 14, true);
        assert!(liveness.expired_peers().is_empty(), "{name}: over its TTL, but in the grace period");
        run(&mut liveness, confirmed_after + 14, confirmed_after + 15, true);
        assert_eq!(ids(liveness.expired_peers()), ["a@1"], "{name}");
    }
}

#[test]
fn a_gap_of_five_seconds_still_counts() {
    let mut liveness = start(&["a"]);
    for second in (5..=45).step_by(5) {
        liveness.tick(at(second), true);
    }
    assert_eq!(ids(liveness.expired_peers()), ["a@1"]);
}

#[test]
fn the_grace_period_ends_early_once_everyone_was_heard() {
    let mut liveness = start(&["a", "b"]);
    assert_eq!(liveness.grace_remaining_ms(), 15_000);
    run(&mut liveness, 0, 1, true);
    liveness.sign_of_life(&peer("a"), at(1));
    liveness.sign_of_life(&peer("a"), at(1));
    liveness.observe(&Event::PeerRegistered { peer: peer("new"), incarnation: 9, live: true }, at(1));
    assert_eq!(liveness.grace_remaining_ms(), 14_000);
    liveness.observe(&Event::PeerExpired { peer: peer("b") }, at(1));
    assert_eq!(liveness.grace_remaining_ms(), 0, "the only silent one is gone");
    assert_eq!(start(&[]).grace_remaining_ms(), 0, "a cluster that knows no peer has none");
}

#[test]
fn a_newer_registration_is_what_expires() {
    let mut liveness = start(&["a"]);
    run(&mut liveness, 0, 40, true);
    liveness.observe(&Event::PeerRegistered { peer: peer("a"), incarnation: 7, live: true }, at(40));
    run(&mut liveness, 40, 84, true);
    assert!(liveness.expired_peers().is_empty());
    run(&mut liveness, 84, 85, true);
    assert_eq!(ids(liveness.expired_peers()), ["a@7"]);
    liveness.observe(&Event::PeerRegistered { peer: peer("a"), incarnation: 8, live: false }, at(85));
    run(&mut liveness, 85, 200, true);
    assert!(liveness.expired_peers().is_empty(), "a peer that serves nothing is not live");
}

#[test]
fn strangers_give_no_sign_of_life() {
    let mut liveness = start(&[]);
    liveness.sign_of_life(&peer("x"), at(1));
    assert_eq!(liveness.silent_for_ms(&peer("x"), at(1)), None);
}

#[test]
fn silent_waiters_are_reported_with_their_ticket() {
    let mut liveness = start(&[]);
    liveness.add_waiter(file("f"), peer("a"), 1, at(0));
    liveness.observe(&Event::LineJoined { file: file("f"), peer: peer("b"), ticket: 2 }, at(0));
    run(&mut liveness, 0, 10, true);
    liveness.waiter_polled(&file("f"), &peer("b"), 2, at(10));
    run(&mut liveness, 10, 14, true);
    assert!(liveness.silent_waiters().is_empty());
    run(&mut liveness, 14, 15, true);
    assert_eq!(liveness.silent_waiters(), [(file("f"), peer("a"), 1)]);
    liveness.observe(&Event::LineLeft { file: file("f"), peer: peer("a"), cause: LineEnd::Silent }, at(15));
    run(&mut liveness, 15, 25, true);
    assert_eq!(liveness.silent_waiters(), [(file("f"), peer("b"), 2)]);
}

#[test]
fn an_offer_ends_the_watch_and_a_late_poll_does_not_replace_a_newer_ticket() {
    let mut liveness = start(&[]);
    liveness.observe(&Event::LineJoined { file: file("f"), peer: peer("a"), ticket: 5 }, at(0));
    liveness.waiter_polled(&file("f"), &peer("a"), 3, at(12));
    run(&mut liveness, 0, 15, true);
    assert_eq!(liveness.silent_waiters(), [(file("f"), peer("a"), 5)]);
    liveness.observe(&Event::LeaseOffered { file: file("f"), peer: peer("a"), deadline: 1 }, at(15));
    run(&mut liveness, 15, 60, true);
    assert!(liveness.silent_waiters().is_empty());
}

#[test]
fn waiters_get_a_full_window_after_a_gap() {
    let mut liveness = start(&[]);
    liveness.add_waiter(file("f"), peer("a"), 1, at(0));
    run(&mut liveness, 0, 14, true);
    liveness.tick(at(60), true);
    run(&mut liveness, 60, 74, true);
    assert!(liveness.silent_waiters().is_empty());
    run(&mut liveness, 74, 75, true);
    assert_eq!(liveness.silent_waiters().len(), 1);
}

#[test]
fn one_report_is_bounded() {
    let many = (0..REPORT_ITEMS_MAX + 1).map(|n| (peer(&format!("p{n}")), 1));
    let mut liveness = Liveness::new(Config::default(), many, at(0));
    run(&mut liveness, 0, 45, true);
    assert_eq!(liveness.expired_peers().len(), REPORT_ITEMS_MAX);
    assert_eq!(liveness.expired_peers().len(), 1);
}
