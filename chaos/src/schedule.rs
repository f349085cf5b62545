//! From a scenario and a seed to what happens in each round. Pure.
//!
//! Invariant: the same scenario, seed and number of rounds give the same schedule. The seed constrains a run, it does
//! not replay one: real processes on a real machine never meet twice in the same way.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::scenario::{Scenario, Step};

/// A step with its random numbers drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// What to do. Choices and chances are already decided.
    pub step: Step,
    /// How long it lasts, for steps with a span to draw from.
    pub lasts: Duration,
    /// Seed of what a fault draws.
    pub seed: u64,
}

/// What happens in each round.
pub fn plan(scenario: &Scenario, seed: u64, rounds: u32) -> Vec<Vec<Action>> {
    let mut rng = StdRng::seed_from_u64(seed);
    // Where in every group of N rounds the steps of `OneIn(N)` happen: the first one, so that a short run has them too.
    (0..rounds).map(|round| draw(scenario.round, round, &mut rng)).collect()
}

fn draw(steps: &[Step], round: u32, rng: &mut StdRng) -> Vec<Action> {
    let mut actions = Vec::new();
    for &step in steps {
        let (mut lasts, mut seed) = (Duration::ZERO, 0);
        match step {
            Step::Traffic((from, to)) | Step::NoMajority((from, to)) => {
                lasts = Duration::from_millis(rng.random_range(from..=to));
            }
            Step::AfterUpdate((from, to)) => lasts = Duration::from_micros(rng.random_range(from..=to)),
            Step::Fault(_) => seed = rng.random(),
            Step::OneOf(alternatives) => {
                let (chosen, seed) = (rng.random_range(0..alternatives.len()), rng.random());
                // From its own generator, so that a choice does not shift the numbers of what follows.
                actions.extend(draw(alternatives[chosen], round, &mut StdRng::seed_from_u64(seed)));
                continue;
            }
            Step::OneIn(rounds, steps) => {
                // Drawn in every round, so that one round's chance does not shift the numbers of the next.
                let drawn = draw(steps, round, rng);
                if round.is_multiple_of(rounds) {
                    actions.extend(drawn);
                }
                continue;
            }
            _ => {}
        }
        actions.push(Action { step, lasts, seed });
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::find;

    #[test]
    fn a_seed_decides_the_schedule() {
        let scenario = find("leader-kill").expect("exists");
        assert_eq!(plan(scenario, 7, 9), plan(scenario, 7, 9));
        assert_ne!(plan(scenario, 7, 9), plan(scenario, 8, 9));
        assert_eq!(plan(scenario, 7, 9)[..4], plan(scenario, 7, 4)[..], "more rounds only add rounds");
    }

    #[test]
    fn one_round_of_three_kills_twice_and_every_delay_is_within_bounds() {
        let scenario = find("leader-kill").expect("exists");
        let kills =
            |actions: &Vec<Action>| actions.iter().filter(|action| matches!(action.step, Step::Kill(_))).count();
        let rounds = plan(scenario, 1, 300);
        assert_eq!(rounds.iter().filter(|actions| kills(actions) == 2).count(), 100);
        for action in rounds.iter().flatten() {
            if let Step::AfterUpdate(_) = action.step {
                assert!(action.lasts <= Duration::from_millis(20));
            }
        }
    }
}
