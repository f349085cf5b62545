//! A good history of transfers, and what must be caught in broken ones.

use super::super::sample::*;
use super::in_memory::Bug;
use super::*;
use crate::history::{
    Action, After, Answer, AttributeValue, Branch, Change, Comparison, Condition, Level, Op, Seen, Txn,
};

const TRACES: [i64; 6] =
    [1 << 39, (1 << 39) + 7, (1 << 39) + 100, (1 << 39) + 5_000, (1 << 39) + 90_000, (1 << 39) + 3];

/// A transaction that moves an amount and leaves trace number `number` on both accounts.
fn transfer(number: usize, from: &str, to: &str, amount: i64) -> Txn {
    let bounded = |name: &str, by| Change {
        name: name.into(),
        action: Action::Add { attr: "balance".into(), by, min: Some(0), max: Some(100) },
        fence: None,
    };
    let traces = || vec![add(from, "trace", TRACES[number]), add(to, "trace", TRACES[number])];
    let conditions = vec![Condition::Attribute {
        name: from.into(),
        attr: "balance".into(),
        is: Comparison::AtLeast,
        value: AttributeValue::Integer(amount),
    }];
    let mut then = vec![bounded(to, amount), bounded(from, -amount)];
    then.extend(traces());
    Txn { peer: "a".into(), conditions, then, otherwise: traces() }
}

fn deposit(number: usize, name: &str, by: i64) -> Txn {
    let action = Action::Add { attr: "balance".into(), by, min: Some(0), max: Some(100) };
    let bounded = Change { name: name.into(), action, fence: None };
    let trace = add(name, "trace", TRACES[number]);
    Txn { otherwise: vec![trace.clone()], ..update(vec![bounded, trace]) }
}

fn state(balance: i64, traces: &[usize]) -> Vec<(&'static str, i64)> {
    vec![("balance", balance), ("trace", traces.iter().map(|number| TRACES[*number]).sum())]
}

fn read(name: &str, level: Level) -> Op {
    Op::ReadAttributes { name: name.into(), level, node: 1, min_index: None }
}

fn saw(attributes: &[(&str, i64)], applied: u64) -> End {
    let answer = Answer::Attributes { version: None, attributes: numbers(attributes) };
    End::Seen(answer, Seen { node: 1, boot: "b".into(), applied, index: None })
}

/// 50 to x, 20 from x to y, and a deposit that nobody was told of; without what was read after healing.
fn begun() -> Sample {
    let mut sample = good();
    let after = applied("10.0", Branch::Then, &[("x", &state(50, &[0]))]);
    sample.key("a-1").op((300, 301), Op::Txn(deposit(0, "x", 50)), after);
    let both: &[(&str, &[(&str, i64)])] = &[("y", &state(20, &[1])), ("x", &state(30, &[0, 1]))];
    let after = applied("11.0", Branch::Then, both);
    sample.key("a-2").op((302, 303), Op::Txn(transfer(1, "x", "y", 20)), after);
    sample.key("a-3").op((304, 400), Op::Txn(deposit(2, "y", 5)), End::Unknown);
    sample
}

fn finals(sample: &mut Sample, x: &[(&str, i64)], y: &[(&str, i64)]) {
    for node in 1..=3 {
        sample.record(900, final_attributes(node, "x", x)).record(900, final_attributes(node, "y", y));
    }
}

/// The same, read to the end.
fn told(y: (i64, &[usize])) -> Sample {
    let mut sample = begun();
    finals(&mut sample, &state(30, &[0, 1]), &state(y.0, y.1));
    sample
}

#[test]
fn a_transaction_that_nobody_was_told_of_was_applied_or_not() {
    told((20, &[1])).accepted_by(&CHECKER);
    told((25, &[1, 2])).accepted_by(&CHECKER);
}

#[test]
fn a_lost_or_doubled_addition_is_caught() {
    told((20, &[])).caught_by(&CHECKER, "an addition was lost");
    told((25, &[1, 2, 2])).caught_by(&CHECKER, "an addition was done twice");
    // Its trace is there and its money is not.
    told((20, &[1, 2])).caught_by(&CHECKER, "a read saw y {balance 20");
}

#[test]
fn half_a_transfer_is_caught() {
    let mut sample = begun();
    sample.op((500, 510), Op::Txn(transfer(3, "x", "y", 10)), End::Unknown);
    finals(&mut sample, &state(20, &[0, 1, 3]), &state(20, &[1]));
    sample.caught_by(&CHECKER, "was applied, but not to y");
    let mut sample = begun();
    sample.op((500, 510), Op::Txn(transfer(3, "x", "y", 10)), End::Refused("out_of_bounds"));
    finals(&mut sample, &state(30, &[0, 1]), &state(30, &[1, 3]));
    sample.caught_by(&CHECKER, "or by a refused one");
}

#[test]
fn the_wrong_branch_is_caught() {
    let mut sample = begun();
    let after = applied("12.0", Branch::Else, &[("x", &state(30, &[0, 1, 3])), ("y", &state(20, &[1, 3]))]);
    sample.op((500, 501), Op::Txn(transfer(3, "x", "y", 10)), after);
    finals(&mut sample, &state(30, &[0, 1, 3]), &state(20, &[1, 3]));
    sample.caught_by(&CHECKER, "took the branch `else`");
}

#[test]
fn a_refusal_for_a_bound_has_to_be_due() {
    let mut sample = told((20, &[1]));
    sample.op((500, 501), Op::Txn(deposit(3, "x", -40)), End::Refused("out_of_bounds"));
    sample.accepted_by(&CHECKER);
    sample.op((502, 503), Op::Txn(deposit(4, "x", -30)), End::Refused("out_of_bounds"));
    sample.caught_by(&CHECKER, "a transaction on x was out of bounds");
}

#[test]
fn a_crossed_bound_is_caught_in_any_read() {
    let mut sample = told((20, &[1]));
    sample.op((500, 501), read("x", Level::Stale), saw(&[("balance", -1)], 11));
    sample.caught_by(&CHECKER, "balance of x was -1; its bounds are 0 and 100");
}

#[test]
fn ids_are_distinct_and_keep_real_time() {
    let mut sample = told((20, &[1]));
    sample.op((500, 501), Op::Txn(deposit(3, "z", 1)), applied("11.0", Branch::Then, &[("z", &state(1, &[3]))]));
    sample.caught_by(&CHECKER, "two transactions have the id 11.0");
    let mut sample = told((20, &[1]));
    sample.op((500, 501), Op::Txn(deposit(3, "z", 1)), applied("9.0", Branch::Then, &[("z", &state(1, &[3]))]));
    sample.caught_by(&CHECKER, "9.0 was sent after 11.0 had been acknowledged");
}

#[test]
fn reads_see_what_their_level_promises() {
    let old = || saw(&state(50, &[0]), 10);
    let mut sample = told((20, &[1]));
    sample.op((500, 501), read("x", Level::Stale), old()).accepted_by(&CHECKER);
    sample.op((502, 503), read("x", Level::Linearizable), old());
    sample.caught_by(&CHECKER, "answered from index 10, before what it has to include");
    // The header is newer than the state.
    let mut sample = told((20, &[1]));
    sample.op((500, 501), read("x", Level::Linearizable), saw(&state(50, &[0]), 12));
    sample.caught_by(&CHECKER, "a read saw x {balance 50");
    let mut sample = told((20, &[1]));
    sample.op((500, 501), read("x", Level::Stale), saw(&state(30, &[0, 1]), 10));
    sample.caught_by(&CHECKER, "a read saw x {balance 30");
}

#[test]
fn a_read_may_see_what_nobody_was_told_of_and_then_it_stays() {
    let mut sample = told((25, &[1, 2]));
    sample.op((500, 501), read("y", Level::Linearizable), saw(&state(25, &[1, 2]), 12));
    sample.accepted_by(&CHECKER);
    let mut sample = told((20, &[1]));
    sample.op((500, 501), read("y", Level::Linearizable), saw(&state(25, &[1, 2]), 12));
    sample.caught_by(&CHECKER, "a read saw y {balance 25");
}

#[test]
fn two_requests_under_one_key_are_not_both_applied() {
    let two = |y: i64, traces: &[usize]| {
        let mut sample = begun();
        sample.key("a-3").op((500, 600), Op::Txn(deposit(3, "y", 6)), End::Unknown);
        finals(&mut sample, &state(30, &[0, 1]), &state(y, traces));
        sample
    };
    two(26, &[1, 3]).accepted_by(&CHECKER);
    two(31, &[1, 2, 3]).caught_by(&CHECKER, "two different transactions under one key");
}

#[test]
fn a_changed_name_that_the_answer_leaves_out_is_caught() {
    let mut sample = told((20, &[1]));
    sample.op((500, 501), Op::Txn(update(vec![add("u", "n", 1)])), applied("12.0", Branch::Then, &[]));
    sample.caught_by(&CHECKER, "does not tell each changed name");
}

#[test]
fn a_change_without_the_token_of_a_live_lease_is_caught() {
    let under = |fence: Option<u64>| {
        let mut sample = told((20, &[1]));
        sample.grant((500, 501), "b", "leased", 100, 10, 0);
        let change = Change { fence, ..add("leased", "n", 1) };
        let after = applied("12.0", Branch::Then, &[("leased", &[("n", 1)])]);
        sample.op((510, 511), Op::Txn(update(vec![change])), after);
        sample
    };
    under(Some(10)).accepted_by(&CHECKER);
    under(None).caught_by(&CHECKER, "without its lease's token");
    under(Some(9)).caught_by(&CHECKER, "without its lease's token");
    // Nobody else has it any more, and the token is dead all the same.
    let mut sample = told((20, &[1]));
    sample.grant((500, 501), "b", "leased", 100, 10, 0).release((502, 503), "b", "leased", 10);
    let change = Change { fence: Some(9), ..add("leased", "n", 1) };
    sample.op((510, 511), Op::Txn(update(vec![change])), applied("12.0", Branch::Then, &[("leased", &[("n", 1)])]));
    sample.caught_by(&CHECKER, "under fence 9 after fence 10");
}

#[test]
fn a_condition_on_a_lease_follows_the_lease() {
    let asked = |fence: u64, branch: Branch| {
        let mut sample = told((20, &[1]));
        sample.grant((500, 501), "b", "leased", 100, 10, 0);
        let condition = Condition::Lease { name: "leased".into(), fence };
        let txn = Txn { conditions: vec![condition], ..update(vec![]) };
        sample.op((510, 511), Op::Txn(txn), applied("12.0", branch, &[]));
        sample
    };
    asked(10, Branch::Then).accepted_by(&CHECKER);
    asked(9, Branch::Else).accepted_by(&CHECKER);
    asked(9, Branch::Then).caught_by(&CHECKER, "a later lease had been granted");
    asked(10, Branch::Else).caught_by(&CHECKER, "did not hold while it lived");
}

#[test]
fn versions_in_answers_are_those_that_were_published() {
    let at = |version: Option<u64>| {
        let mut sample = told((20, &[1]));
        let names = vec![After { name: "f".into(), version, attributes: numbers(&[("n", 1)]) }];
        let answer = Answer::Applied { branch: Branch::Then, txn: "12.0".into(), names };
        sample.op((510, 511), Op::Txn(update(vec![add("f", "n", 1)])), End::Ok(answer));
        sample
    };
    at(Some(2)).accepted_by(&CHECKER);
    at(None).caught_by(&CHECKER, "saw f at v0 after v1");
    at(Some(3)).caught_by(&CHECKER, "of which 2 can have been published");
}

#[test]
fn a_later_question_gets_the_first_answer() {
    let look_up = || Op::LookUp { txn: "10.0".into(), level: Level::Linearizable, node: 1 };
    let mut sample = told((20, &[1]));
    sample.op((500, 501), look_up(), applied("10.0", Branch::Then, &[("x", &state(50, &[0]))]));
    sample.accepted_by(&CHECKER);
    sample.op((502, 503), look_up(), applied("10.0", Branch::Then, &[("x", &state(30, &[0, 1]))]));
    sample.caught_by(&CHECKER, "remembered with another answer");
    let mut sample = told((20, &[1]));
    sample.op((500, 501), look_up(), End::Ok(Answer::Forgotten));
    sample.caught_by(&CHECKER, "is forgotten");
}

#[test]
fn what_was_refused_for_certain_is_never_seen() {
    let mut sample = begun();
    sample.op((500, 501), Op::Txn(deposit(3, "y", 6)), End::Refused("no_quorum"));
    finals(&mut sample, &state(30, &[0, 1]), &state(26, &[1, 3]));
    sample.caught_by(&CHECKER, "unexplained");
}

#[test]
fn without_reads_after_healing_nothing_is_decided() {
    let mut sample = Sample::default();
    sample.op((1, 2), Op::Txn(deposit(0, "x", 1)), applied("1.0", Branch::Then, &[("x", &state(1, &[0]))]));
    assert_eq!(sample.check(&CHECKER).undecided.len(), 1);
}

/// Runs the workload's clients on an index in memory, for some seeds.
fn runs(bug: Bug) -> Vec<Findings> {
    let seeds = if bug == Bug::None { 1..9 } else { 1..4 };
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        let model = local.block_on(&runtime.expect("a runtime"), in_memory::history(seed, bug));
        (CHECKER.check)(&model)
    };
    seeds.map(run).collect()
}

#[test]
fn histories_of_a_right_index_are_accepted() {
    for found in runs(Bug::None) {
        assert_eq!((found.first, found.undecided), (vec![], vec![]));
        assert!(found.checks > 2_000, "{}", found.checks);
    }
}

#[test]
fn every_bug_of_an_index_is_caught() {
    for bug in [
        Bug::LosesAnOperation,
        Bug::ForgetsKeys,
        Bug::HalfOfARefusedOne,
        Bug::StaleReads,
        Bug::OtherBranch,
        Bug::RefusesTooMuch,
        Bug::LosesAcknowledged,
    ] {
        for found in runs(bug) {
            assert!(found.violations > 0, "{bug:?} was not caught: {:?}", found.undecided);
        }
    }
}
