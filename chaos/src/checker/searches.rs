//! Proves: a search at level `linearizable` (and `leader`, while no process was stopped) finds every file whose
//! announce was acknowledged before it was sent, and one that names a log index finds what was written at or below it;
//! its position is at least that index; and within one node process the position of searches never goes back.
//!
//! Source: rules R1, R2 and R3, for the name index that searches are answered from.
//!
//! Cannot see: files whose holder may have expired meanwhile, so only searches that were answered soon after the
//! announce was first sent, and soon after its peer's registration was, are held against it. A repeat under its key is
//! told the first answer, and revives nobody; an announce does not save a peer whose expiry is on its way already (P3).
//! Nor does it see searches without a level, which a node may answer from any state, unless they name an index.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, Level, Micros, Op, OpId};
use crate::model::{Model, Operation, Outcome, peer_of};

/// A holder that announced stays live for this many milliseconds on the leader's clock: less than the
/// shortest time to live of a peer in any run.
const HOLDER_LIVES_MS: u64 = 700;

/// Searches are as fresh as they claim.
pub const CHECKER: Checker = Checker { name: "searches", property: "searches find what was acknowledged", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let holder_lives: Micros = model.lasts(HOLDER_LIVES_MS);
    let paused = model.faults.iter().any(|fault| fault.fault.voids_leader_reads());
    let mut registered: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    let mut published: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Op::Publish { file, .. }, Some(Answer::Published { .. })) = (&operation.op, operation.answer()) {
            published.entry(file).or_default().push(operation);
        }
        if let Op::Register { peer } = &operation.op {
            registered.entry(peer).or_default().push(operation);
        }
    }
    for search in model.operations.values() {
        let Op::Search { file, level, min_index, .. } = &search.op else { continue };
        let Outcome::Ok(Answer::Found { version }, seen) = &search.outcome else { continue };
        if let (Some(index), Some(seen)) = (min_index, seen) {
            findings.expect(seen.applied >= *index, &[search.id], || {
                format!("node {} answered from position {} a search that named {index}", seen.node, seen.applied)
            });
        }
        let strong = *level == Some(Level::Linearizable) || (*level == Some(Level::Leader) && !paused);
        let recent = |publish: &&&Operation| search.end() < alive_since(publish, &registered) + holder_lives;
        for publish in published.get(file.as_str()).into_iter().flatten().filter(recent) {
            let Outcome::Ok(Answer::Published { version: wanted }, written) = &publish.outcome else { continue };
            let index = written.as_ref().and_then(|seen| seen.index);
            let named = min_index.zip(index).is_some_and(|(named, index)| index <= named);
            if named || (strong && publish.end() < search.invoked) {
                findings.expect(version >= wanted, &[publish.id, search.id], || {
                    format!("a search for {file} saw v{version}; v{wanted} was acknowledged before")
                });
            }
        }
    }
    positions_never_go_back(model, &mut findings);
    findings
}

/// The earliest moment since which an announce's peer may have been silent.
fn alive_since(publish: &Operation, registered: &BTreeMap<&str, Vec<&Operation>>) -> Micros {
    let registrations = peer_of(&publish.op).and_then(|peer| registered.get(peer)).into_iter().flatten();
    let last = registrations.filter(|registration| registration.invoked <= publish.invoked);
    let last = last.max_by_key(|registration| registration.invoked);
    last.map_or(publish.began, |registration| registration.began.min(publish.began))
}

fn positions_never_go_back(model: &Model, findings: &mut Findings) {
    let mut by_process: BTreeMap<(u64, &str), Vec<(&Operation, u64)>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Op::Search { .. }, Outcome::Ok(_, Some(seen))) = (&operation.op, &operation.outcome) {
            by_process.entry((seen.node, &seen.boot)).or_default().push((operation, seen.applied));
        }
    }
    for ((node, _), mut searches) in by_process {
        let mut answered = searches.clone();
        answered.sort_by_key(|(operation, _)| operation.end());
        let mut answered = answered.into_iter().peekable();
        searches.sort_by_key(|(operation, _)| operation.invoked);
        let mut greatest: (u64, OpId) = (0, 0);
        for (search, position) in searches {
            while let Some((earlier, reached)) = answered.next_if(|(earlier, _)| earlier.end() < search.invoked) {
                greatest = greatest.max((reached, earlier.id));
            }
            findings.expect(position >= greatest.0, &[greatest.1, search.id], || {
                format!("node {node} searched at position {position} after {}", greatest.0)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{FaultName, FaultOutcome, Seen};

    fn seen(boot: &str, applied: u64, index: Option<u64>) -> Seen {
        Seen { node: 2, boot: boot.into(), applied, index }
    }

    fn search(level: Option<Level>, min_index: Option<u64>) -> Op {
        Op::Search { file: "f".into(), level, node: 2, min_index }
    }

    /// Version 3 is published at index 40, and searched for right after.
    fn history(level: Option<Level>, min_index: Option<u64>, version: u64, position: u64) -> Sample {
        let mut sample = good();
        let answer = End::Seen(Answer::Published { version: 3 }, seen("x", 40, Some(40)));
        sample.grant((210, 211), "a", "f", 100, 10, 2).op((212, 213), publish("a", "f", 10, "h3", false), answer);
        let found = End::Seen(Answer::Found { version }, seen("x", position, None));
        sample.op((220, 221), search(level, min_index), found);
        sample
    }

    const STRONG: [(Option<Level>, Option<u64>); 4] = [
        (Some(Level::Linearizable), None),
        (Some(Level::Leader), None),
        (Some(Level::Stale), Some(40)),
        (None, Some(40)),
    ];

    #[test]
    fn a_search_that_finds_what_was_acknowledged_is_accepted() {
        for (level, min_index) in STRONG {
            history(level, min_index, 3, 40).accepted_by(&CHECKER);
        }
        history(Some(Level::Stale), None, 0, 39).accepted_by(&CHECKER);
        history(None, None, 0, 39).accepted_by(&CHECKER);
    }

    #[test]
    fn a_search_that_misses_it_is_caught() {
        for (level, min_index) in STRONG {
            history(level, min_index, 0, 40).caught_by(&CHECKER, "saw v0; v");
        }
    }

    #[test]
    fn a_position_before_the_named_index_is_caught() {
        history(Some(Level::Stale), Some(40), 3, 39).caught_by(&CHECKER, "answered from position 39");
    }

    #[test]
    fn a_leader_search_counts_only_while_nothing_was_stopped() {
        let mut sample = history(Some(Level::Leader), None, 0, 39);
        sample.record(30, fault(FaultName::Stop, 1, FaultOutcome::Installed));
        sample.accepted_by(&CHECKER);
    }

    #[test]
    fn a_holder_that_may_have_expired_excuses() {
        let mut sample = history(Some(Level::Linearizable), None, 3, 40);
        let late = End::Seen(Answer::Found { version: 0 }, seen("x", 90, None));
        sample.op((5_000, 5_001), search(Some(Level::Linearizable), None), late).accepted_by(&CHECKER);
    }

    #[test]
    fn a_holder_that_may_have_expired_before_the_announce_was_repeated_excuses() {
        let search_of = |sample: &mut Sample| {
            let missed = End::Seen(Answer::Found { version: 0 }, seen("x", 40, None));
            sample.op((1_020, 1_021), search(Some(Level::Linearizable), None), missed);
        };
        let answer = || End::Seen(Answer::Published { version: 3 }, seen("x", 40, Some(40)));
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2);
        sample.key("k").op((212, 213), publish("a", "f", 10, "h3", false), End::Unknown);
        sample.key("k").op((1_000, 1_001), publish("a", "f", 10, "h3", false), answer());
        search_of(&mut sample);
        sample.accepted_by(&CHECKER);
        let mut sample = good();
        sample.op((985, 986), Op::Register { peer: "a".into() }, End::Ok(Answer::Done));
        sample.grant((990, 991), "a", "f", 100, 10, 2);
        sample.key("k").op((1_000, 1_001), publish("a", "f", 10, "h3", false), answer());
        search_of(&mut sample);
        sample.caught_by(&CHECKER, "saw v0; v");
    }

    #[test]
    fn a_holder_whose_registration_was_sent_long_ago_excuses() {
        let mut sample = good();
        let register = || Op::Register { peer: "z".into() };
        sample.key("r").op((100, 101), register(), End::Unknown);
        sample.key("r").op((1_000, 1_001), register(), End::Ok(Answer::Done));
        let answer = End::Seen(Answer::Published { version: 3 }, seen("x", 40, Some(40)));
        sample.op((1_002, 1_003), publish("z", "f", 10, "h3", false), answer);
        let missed = || End::Seen(Answer::Found { version: 0 }, seen("x", 40, None));
        sample.op((1_004, 1_005), search(Some(Level::Linearizable), None), missed());
        sample.accepted_by(&CHECKER);
        sample.op((999, 1_000), register(), End::Ok(Answer::Done));
        sample.op((1_001, 1_002), register(), End::Ok(Answer::Done));
        sample.caught_by(&CHECKER, "saw v0; v");
    }

    #[test]
    fn a_holder_expires_sooner_where_a_clock_runs_faster() {
        let mut sample = history(Some(Level::Linearizable), None, 3, 40);
        sample.op((205, 206), Op::Register { peer: "a".into() }, End::Ok(Answer::Done));
        let late = End::Seen(Answer::Found { version: 0 }, seen("x", 90, None));
        sample.op((700, 701), search(Some(Level::Linearizable), None), late);
        sample.caught_by(&CHECKER, "saw v0; v");
        let findings = check(&sample.model_with_clocks(2_000));
        assert_eq!(findings.violations, 0, "{findings:?}");
    }

    #[test]
    fn a_process_that_goes_back_is_caught_and_a_new_process_may() {
        let answer = |boot, position| End::Seen(Answer::Found { version: 2 }, seen(boot, position, None));
        let mut sample = good();
        sample.op((300, 301), search(Some(Level::Stale), None), answer("x", 9));
        sample.op((302, 303), search(Some(Level::Stale), None), answer("y", 8));
        sample.accepted_by(&CHECKER);
        sample.op((304, 305), search(None, None), answer("x", 8));
        sample.caught_by(&CHECKER, "searched at position 8 after 9");
    }
}
