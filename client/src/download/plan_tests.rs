//! Properties of the planner under every order of outcomes, and a few scenarios by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Executes actions, and checks after every step what must hold at any time.
struct Simulation {
    plan: Plan,
    running: BTreeMap<(ChunkId, SourceId), ()>,
    done: BTreeSet<ChunkId>,
}

impl Simulation {
    fn new(chunks: usize, sources: usize) -> Self {
        let mut simulation = Self { plan: Plan::new(chunks, sources), running: BTreeMap::new(), done: BTreeSet::new() };
        let actions = simulation.plan.assign();
        simulation.execute(actions);
        simulation
    }

    fn step(&mut self, pick: usize, outcome: Outcome) {
        let Some(&(chunk, source)) = self.running.keys().nth(pick % self.running.len().max(1)) else { return };
        let actions = self.plan.handle(chunk, source, outcome);
        let ended = outcome != Outcome::Slow || actions.contains(&Action::Cancel(chunk, source));
        if outcome == Outcome::Done {
            assert!(self.done.insert(chunk), "chunk {chunk} is done once");
        }
        if ended {
            self.running.remove(&(chunk, source));
        }
        self.execute(actions);
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Fetch(chunk, source) => {
                    assert!(!self.done.contains(&chunk), "a done chunk is not fetched again");
                    assert!(self.running.insert((chunk, source), ()).is_none(), "no fetch twice");
                }
                Action::Cancel(chunk, source) => {
                    self.running.remove(&(chunk, source));
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let mut per_chunk = BTreeMap::<_, usize>::new();
        let mut per_source = BTreeMap::<_, usize>::new();
        for (chunk, source) in self.running.keys() {
            *per_chunk.entry(chunk).or_default() += 1;
            *per_source.entry(source).or_default() += 1;
        }
        assert!(per_chunk.values().all(|fetchers| *fetchers <= 2), "at most two fetchers: {:?}", self.running);
        assert!(per_source.values().all(|running| *running <= CONNECTIONS_PER_SOURCE), "{:?}", self.running);
        assert!(per_source.len() <= SOURCES_MAX, "{:?}", self.running);
        assert_eq!(self.running.is_empty(), self.plan.progress() != Progress::Running, "nothing hangs");
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Done),
        2 => Just(Outcome::Failed),
        2 => Just(Outcome::Slow),
        1 => Just(Outcome::Unusable),
    ]
}

proptest! {
    #[test]
    fn every_order_of_outcomes_ends(
        chunks in 1..20usize,
        sources in 1..7usize,
        steps in prop::collection::vec((0..64usize, outcome()), 0..200),
    ) {
        let mut simulation = Simulation::new(chunks, sources);
        for (pick, outcome) in steps {
            simulation.step(pick, outcome);
        }
        // From here on everything succeeds: a bounded number of steps must end it.
        for _ in 0..chunks {
            simulation.step(0, Outcome::Done);
        }
        let expected = if simulation.done.len() == chunks { Progress::Finished } else { Progress::Stuck };
        prop_assert_eq!(simulation.plan.progress(), expected);
    }

    #[test]
    fn one_good_source_is_enough(chunks in 1..20usize, sources in 1..7usize, good in 0..7usize) {
        let good = good % sources;
        let mut simulation = Simulation::new(chunks, sources);
        let mut steps = 0;
        while let Some(&(chunk, source)) = simulation.running.keys().next() {
            let position = simulation.running.keys().position(|key| *key == (chunk, source)).unwrap_or(0);
            simulation.step(position, if source == good { Outcome::Done } else { Outcome::Failed });
            steps += 1;
            prop_assert!(steps < 1_000, "it terminates");
        }
        prop_assert_eq!(simulation.plan.progress(), Progress::Finished);
    }

    #[test]
    fn sources_that_come_and_go_end_it_as_long_as_one_is_there(
        chunks in 1..20usize,
        sources in 2..7usize,
        steps in prop::collection::vec((0..64usize, 0..7usize), 0..300),
    ) {
        let mut simulation = Simulation::new(chunks, sources);
        // At any moment one source answers, another one each time; the fetches of all others fail.
        for (pick, up) in steps {
            let up = up % sources;
            if simulation.plan.progress() != Progress::Finished {
                simulation.plan.revive(up);
                let actions = simulation.plan.assign();
                simulation.execute(actions);
            }
            let Some(&(_, source)) = simulation.running.keys().nth(pick % simulation.running.len().max(1)) else {
                continue;
            };
            simulation.step(pick, if source == up { Outcome::Done } else { Outcome::Failed });
        }
        // Then one that was not known before.
        let late = simulation.plan.add_source();
        let mut steps = 0;
        let actions = simulation.plan.assign();
        simulation.execute(actions);
        while let Some(&(chunk, source)) = simulation.running.keys().next() {
            let position = simulation.running.keys().position(|key| *key == (chunk, source)).unwrap_or(0);
            simulation.step(position, if source == late { Outcome::Done } else { Outcome::Failed });
            steps += 1;
            prop_assert!(steps < 1_000, "it terminates");
        }
        prop_assert_eq!(simulation.plan.progress(), Progress::Finished);
    }

    #[test]
    fn all_sources_failing_is_stuck(chunks in 1..20usize, sources in 0..7usize) {
        let mut simulation = Simulation::new(chunks, sources);
        let mut steps = 0;
        while !simulation.running.is_empty() {
            simulation.step(steps, Outcome::Failed);
            steps += 1;
            prop_assert!(steps <= sources * FAILURES_MAX as usize);
        }
        prop_assert_eq!(simulation.plan.progress(), Progress::Stuck);
    }
}

#[test]
fn chunks_spread_over_the_sources_and_only_the_last_are_fetched_twice() {
    let mut plan = Plan::new(7, 3);
    let first = plan.assign();
    let expected = [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)].map(|(chunk, source)| Action::Fetch(chunk, source));
    assert_eq!(first, expected);
    assert_eq!(plan.handle(0, 0, Outcome::Done), [Action::Fetch(6, 0)]);
    // Nothing is unassigned: source 1 helps source 0 out with its oldest chunk.
    assert_eq!(plan.handle(1, 1, Outcome::Done), [Action::Fetch(2, 1)]);
    assert_eq!(plan.handle(2, 1, Outcome::Done), [Action::Cancel(2, 2), Action::Fetch(3, 1), Action::Fetch(4, 2)]);
    assert_eq!(plan.handle(2, 2, Outcome::Done), [], "a cancelled fetch does not count");
}

#[test]
fn a_slow_source_loses_its_chunk_only_to_another() {
    let mut alone = Plan::new(1, 1);
    alone.assign();
    assert_eq!(alone.handle(0, 0, Outcome::Slow), []);
    let mut two = Plan::new(1, 2);
    assert_eq!(two.assign(), [Action::Fetch(0, 0), Action::Fetch(0, 1)]);
    assert_eq!(two.handle(0, 0, Outcome::Slow), [Action::Cancel(0, 0)]);
    assert_eq!(two.handle(0, 1, Outcome::Done), []);
    assert_eq!(two.progress(), Progress::Finished);
}

#[test]
fn a_source_without_the_bytes_is_not_revived_and_one_that_failed_gets_one_more_failure() {
    let mut plan = Plan::new(4, 2);
    plan.assign();
    plan.handle(0, 0, Outcome::Unusable);
    assert!(!plan.misses_sources() && !plan.revive(0));
    for _ in 0..FAILURES_MAX {
        let chunk = (0..4).find(|chunk| plan.chunks[*chunk].fetchers.contains(&1)).expect("it is at work");
        plan.handle(chunk, 1, Outcome::Failed);
    }
    assert_eq!(plan.progress(), Progress::Stuck);
    assert!(plan.misses_sources() && plan.revive(1) && !plan.revive(1));
    let [Action::Fetch(chunk, 1), ..] = plan.assign()[..] else { panic!("it is asked again") };
    plan.handle(chunk, 1, Outcome::Failed);
    assert_eq!(plan.progress(), Progress::Stuck);
}

#[test]
fn chunk_sizes_are_powers_of_two_within_the_limits() {
    const MIB: u64 = 1024 * 1024;
    for (size, expected) in [
        (1, CHUNK_BYTES_MIN),
        (256 * MIB, CHUNK_BYTES_MIN),
        (257 * MIB, 2 * CHUNK_BYTES_MIN),
        (1024 * MIB, MIB),
        (u64::MAX, CHUNK_BYTES_MAX),
    ] {
        assert_eq!(chunk_bytes(size), expected, "{size}");
    }
}
