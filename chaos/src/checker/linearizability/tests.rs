//! Histories that the checker must pass, and broken ones that it must catch.

use super::super::sample::*;
use super::*;
use crate::history::{Answer, Op};

fn renew(peer: &str, fence: u64, ttl_ms: u64) -> Op {
    Op::Renew { peer: peer.into(), file: "f".into(), fence, ttl_ms }
}

fn renewed(fence: u64, ttl_ms: u64) -> End {
    End::Ok(Answer::Granted { fence, ttl_ms, version: 2, sent: None })
}

#[test]
fn a_second_grant_while_the_first_must_live_is_caught() {
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 100, 10, 2).grant((250, 251), "b", "f", 100, 11, 2);
    sample.caught_by(&CHECKER, "fence 11 was granted");
}

#[test]
fn a_second_grant_after_the_time_to_live_is_explained_by_an_expiry() {
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 100, 10, 2).grant((311, 312), "b", "f", 100, 11, 2);
    sample.finals(400, "f", 2, "h2").accepted_by(&CHECKER);
}

#[test]
fn a_faster_clock_of_a_node_brings_the_expiry_forward_and_no_more() {
    let rejected = |at| {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).grant((at, at), "b", "f", 100, 11, 2);
        check(&sample.model_with_clocks(2_000)).violations
    };
    assert_eq!((rejected(259), rejected(261)), (1, 0));
}

#[test]
fn a_renewal_moves_the_expiry_on() {
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 100, 10, 2).op((300, 301), renew("a", 10, 100), renewed(10, 100));
    sample.grant((350, 351), "b", "f", 100, 11, 2);
    sample.caught_by(&CHECKER, "fence 11 was granted");
}

#[test]
fn a_lost_release_explains_an_early_grant_once() {
    let release = || Op::Release { peer: "a".into(), file: "f".into(), fence: 10 };
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 100, 10, 2).op((212, 213), release(), End::Unknown);
    sample.grant((250, 251), "b", "f", 100, 11, 2).accepted_by(&CHECKER);
    sample.grant((252, 253), "a", "f", 100, 12, 2);
    sample.caught_by(&CHECKER, "fence 12 was granted");
}

#[test]
fn a_lease_called_over_too_early_is_caught() {
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 100, 10, 2).op((250, 251), renew("a", 10, 100), End::Refused("lease_expired"));
    sample.caught_by(&CHECKER, "fence 10 was over");
}

#[test]
fn a_stale_strong_read_is_caught() {
    let mut sample = good();
    sample.read((210, 211), "f", 1, "h1");
    sample.caught_by(&CHECKER, "a read saw v1");
}

#[test]
fn a_publish_under_a_lease_that_another_took_is_caught() {
    let mut sample = good();
    sample.grant((210, 211), "a", "f", 10, 10, 2).grant((230, 231), "b", "f", 100, 11, 2);
    sample.publish((240, 241), "a", "f", 10, "h3", published(3));
    sample.caught_by(&CHECKER, "v3 was published");
}

#[test]
fn a_publish_whose_answer_was_lost_may_have_happened_or_not() {
    let mut happened = good();
    happened.grant((210, 211), "a", "f", 100, 10, 2).publish((212, 213), "a", "f", 10, "h3", End::Unknown);
    let mut never = good();
    never.grant((210, 211), "a", "f", 100, 10, 2).publish((212, 213), "a", "f", 10, "h3", End::Unknown);
    happened.read((220, 221), "f", 3, "h3").finals(400, "f", 3, "h3");
    never.read((220, 221), "f", 2, "h2");
    assert_eq!((happened.check(&CHECKER).violations, never.check(&CHECKER).violations), (1, 0), "finals of v2 remain");
    happened.read((222, 223), "f", 2, "h2");
    happened.caught_by(&CHECKER, "a read saw v2");
}

#[test]
fn repeats_under_one_key_are_one_grant() {
    let mut sample = good();
    sample.key("k").op((210, 220), acquire("a", "f", 50), End::Unknown);
    sample.key("k").grant((230, 231), "a", "f", 30, 10, 2);
    sample.publish((232, 233), "a", "f", 10, "h3", published(3));
    sample.read((234, 235), "f", 3, "h3");
    let found = sample.check(&CHECKER);
    assert_eq!(found.violations, 1, "only the final reads of v2 are wrong: {found:?}");
    assert!(found.first[0].what.contains("a read saw v2"), "{found:?}");
}

#[test]
fn a_denial_in_favour_of_a_lost_grant_is_explained() {
    let mut sample = good();
    sample.op((210, 220), acquire("a", "f", 50), End::Unknown);
    sample.op((225, 226), acquire("b", "f", 50), denied("a"));
    sample.grant((280, 281), "b", "f", 50, 12, 2).accepted_by(&CHECKER);
    let mut sample = good();
    sample.op((225, 226), acquire("b", "f", 50), denied("a"));
    sample.caught_by(&CHECKER, "denied");
}

#[test]
fn a_lost_grant_may_have_taken_the_place_of_the_peers_own_longer_lease() {
    let took_over = |registers: bool| {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2);
        if registers {
            sample.op((215, 216), Op::Register { peer: "a".into() }, End::Ok(Answer::Done));
        }
        let waits = Op::Acquire { peer: "a".into(), file: "f".into(), ttl_ms: 10, wait: true };
        sample.op((220, 300), waits, End::Unknown).grant((235, 236), "b", "f", 50, 12, 2);
        sample
    };
    took_over(true).accepted_by(&CHECKER);
    took_over(false).caught_by(&CHECKER, "fence 12 was granted");
    let mut too_early = took_over(true);
    too_early.grant((240, 241), "c", "f", 50, 13, 2).caught_by(&CHECKER, "fence 13 was granted");
}

#[test]
fn a_search_without_time_decides_nothing() {
    let mut sample = good();
    for number in 0..40 {
        let hash = format!("x{number}");
        sample.op((210, 300), publish("a", "g", 5, &hash, true), End::Unknown);
    }
    sample.grant((205, 206), "a", "g", 500, 5, 0).read((250, 251), "g", 99, "never");
    let found = check_within(&sample.model(), Duration::ZERO);
    assert_eq!(found.violations, 0);
    assert_eq!(found.undecided.len(), 1, "{found:?}");
}
