//! Search for a linearization of one object's history: the algorithm of Wing and Gong with Lowe's just-in-time order
//! and a memo, generic over a sequential specification.
//!
//! The history is walked event by event. A *configuration* is a state of the object together with the open operations
//! that already took effect. When an operation returns, every configuration in which it has not taken effect yet is
//! extended by open operations, in every order, until it has; configurations that cannot are dropped. If none is left,
//! no order of the operations explains the answers. Equal configurations are searched once. At a quiescent point there
//! are as many configurations as states, so the cost depends on how many operations overlap, not on how many there are.
//!
//! Two rules keep the number small and lose no linearization: an operation that never changes a state takes effect as
//! soon as it is possible (later it may not be, and nothing gains by waiting); and operations that may or may not have
//! been applied are never forced, only offered.
//!
//! Invariant: `Rejected` only if every order was tried; what the budget cut short is `Undecided`.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Most operations that can be open at one moment.
pub const OPEN_MAX: usize = 512;
/// Configurations between two readings of the clock.
const LOOK_EVERY: u64 = 1_024;

/// A sequential object.
pub trait Spec {
    /// Its state; small, cloned often.
    type State: Clone + Eq + Hash + Debug;
    /// An operation together with its answer.
    type Op;

    /// The state before anything happened.
    fn initial(&self) -> Self::State;
    /// The state after the operation, or nothing if it cannot give its answer in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
    /// The other state after the operation, if what is known of it allows two.
    fn other(&self, _state: &Self::State, _op: &Self::Op) -> Option<Self::State> {
        None
    }
    /// Whether the operation changes no state whatsoever.
    fn is_pure(&self, op: &Self::Op) -> bool;
}

/// One operation of a history.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// What, with its answer.
    pub op: O,
    /// It took effect after this moment.
    pub invoked: u64,
    /// And before this one; absent if it may take effect at any time.
    pub returned: Option<u64>,
    /// It certainly took effect. An operation that did not is only offered to the search, until it returns.
    pub certain: bool,
}

/// What the search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchResult {
    /// There is a linearization.
    Accepted,
    /// There is none: the call at this index is the first that cannot be explained; with it, the calls open at that
    /// moment and the states that were possible before it, in words.
    Rejected {
        /// Index of the call.
        call: usize,
        /// Indexes of the other open calls.
        open: Vec<usize>,
        /// Possible states.
        states: Vec<String>,
    },
    /// The budget was over before a decision.
    Undecided {
        /// Calls that were explained until then.
        explained: usize,
    },
}

/// How much a search may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Time.
    pub time: Duration,
    /// Configurations held at once.
    pub configurations: usize,
}

/// Open calls that took effect, by slot.
type Taken = [u64; OPEN_MAX / 64];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Configuration<S> {
    state: S,
    taken: Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// Before `Return`: operations that touch in one moment count as overlapping.
    Invoke(usize),
    Return(usize),
}

/// Looks for a linearization of the calls.
pub fn search<P: Spec>(spec: &P, calls: &[Call<P::Op>], budget: Budget) -> SearchResult {
    let mut edges: Vec<(u64, Edge)> = Vec::with_capacity(calls.len() * 2);
    for (index, call) in calls.iter().enumerate() {
        edges.push((call.invoked, Edge::Invoke(index)));
        edges.extend(call.returned.map(|at| (at.max(call.invoked), Edge::Return(index))));
    }
    edges.sort_unstable();
    let mut search = Search {
        spec,
        calls,
        slots: vec![None; OPEN_MAX],
        high: 0,
        slot_of: vec![usize::MAX; calls.len()],
        deadline: Instant::now() + budget.time,
        most: budget.configurations,
        visited: 0,
    };
    let mut reached = HashSet::from([Configuration { state: spec.initial(), taken: Taken::default() }]);
    for (done, (_, edge)) in edges.iter().enumerate() {
        let explained = done / 2;
        reached = match *edge {
            Edge::Invoke(index) => {
                if !search.open(index) {
                    return SearchResult::Undecided { explained };
                }
                reached.into_iter().map(|configuration| search.settle(configuration)).collect()
            }
            Edge::Return(index) => {
                let next = if calls[index].certain { search.force(&reached, index) } else { Some(reached.clone()) };
                match next {
                    None => return SearchResult::Undecided { explained },
                    Some(next) if next.is_empty() => return search.rejected(index, &reached),
                    Some(next) => search.close(index, next),
                }
            }
        };
    }
    SearchResult::Accepted
}

struct Search<'a, P: Spec> {
    spec: &'a P,
    calls: &'a [Call<P::Op>],
    /// The open calls.
    slots: Vec<Option<usize>>,
    /// Slots from here on were never used.
    high: usize,
    slot_of: Vec<usize>,
    deadline: Instant,
    most: usize,
    visited: u64,
}

fn has(taken: &Taken, slot: usize) -> bool {
    taken[slot / 64] & (1 << (slot % 64)) != 0
}

impl<P: Spec> Search<'_, P> {
    fn open(&mut self, index: usize) -> bool {
        let Some(slot) = self.slots.iter().position(Option::is_none) else { return false };
        self.slots[slot] = Some(index);
        self.high = self.high.max(slot + 1);
        self.slot_of[index] = slot;
        true
    }

    /// The call is over: its slot is free again in every configuration.
    fn close(&mut self, index: usize, reached: HashSet<Configuration<P::State>>) -> HashSet<Configuration<P::State>> {
        let slot = self.slot_of[index];
        self.slots[slot] = None;
        let freed = reached.into_iter().map(|mut configuration| {
            configuration.taken[slot / 64] &= !(1 << (slot % 64));
            configuration
        });
        freed.collect()
    }

    /// Lets every open call take effect that is possible and never changes anything.
    fn settle(&self, mut configuration: Configuration<P::State>) -> Configuration<P::State> {
        for (slot, call) in self.slots[..self.high].iter().enumerate() {
            let Some(index) = *call else { continue };
            let op = &self.calls[index].op;
            if self.spec.is_pure(op)
                && !has(&configuration.taken, slot)
                && self.spec.step(&configuration.state, op).is_some()
            {
                configuration.taken[slot / 64] |= 1 << (slot % 64);
            }
        }
        configuration
    }

    /// Every configuration in which the call took effect; nothing if the budget is over.
    fn force(
        &mut self,
        reached: &HashSet<Configuration<P::State>>,
        index: usize,
    ) -> Option<HashSet<Configuration<P::State>>> {
        let wanted = self.slot_of[index];
        let mut explained = HashSet::new();
        let mut seen: HashSet<Configuration<P::State>> = HashSet::new();
        let mut stack: Vec<Configuration<P::State>> = reached.iter().cloned().collect();
        while let Some(configuration) = stack.pop() {
            self.visited += 1;
            let late = self.visited.is_multiple_of(LOOK_EVERY) && Instant::now() > self.deadline;
            if late || seen.len() + explained.len() > self.most {
                return None;
            }
            if has(&configuration.taken, wanted) {
                explained.insert(configuration);
                continue;
            }
            for (slot, call) in self.slots[..self.high].iter().enumerate() {
                let Some(other) = *call else { continue };
                if has(&configuration.taken, slot) {
                    continue;
                }
                let op = &self.calls[other].op;
                let states = [self.spec.step(&configuration.state, op), self.spec.other(&configuration.state, op)];
                for state in states.into_iter().flatten() {
                    let mut taken = configuration.taken;
                    taken[slot / 64] |= 1 << (slot % 64);
                    let next = self.settle(Configuration { state, taken });
                    if seen.insert(next.clone()) {
                        stack.push(next);
                    }
                }
            }
        }
        Some(explained)
    }

    fn rejected(&self, call: usize, reached: &HashSet<Configuration<P::State>>) -> SearchResult {
        let open = self.slots.iter().flatten().copied().filter(|other| *other != call).collect();
        let mut states: Vec<String> =
            reached.iter().map(|configuration| format!("{:?}", configuration.state)).collect();
        states.sort_unstable();
        states.dedup();
        SearchResult::Rejected { call, open, states }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A register of small numbers with reads, writes and compare-and-set.
    struct Register;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Do {
        Read(u8),
        Write(u8),
        Swap(u8, u8),
    }

    impl Spec for Register {
        type State = u8;
        type Op = Do;

        fn initial(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, op: &Do) -> Option<u8> {
            match *op {
                Do::Read(value) => (value == *state).then_some(*state),
                Do::Write(value) => Some(value),
                Do::Swap(from, to) => (from == *state).then_some(to),
            }
        }

        fn is_pure(&self, op: &Do) -> bool {
            matches!(op, Do::Read(_))
        }
    }

    const BUDGET: Budget = Budget { time: Duration::from_secs(60), configurations: 1_000_000 };

    fn call(op: Do, invoked: u64, returned: u64) -> Call<Do> {
        Call { op, invoked, returned: Some(returned), certain: true }
    }

    /// A history that is linearizable by construction: each operation takes effect at a random moment within its span.
    fn valid(rng: &mut StdRng, count: usize, unknown: f64) -> Vec<Call<Do>> {
        let mut points: Vec<(u64, u64, u64)> = (0..count)
            .map(|_| {
                let at = rng.random_range(0..count as u64 * 10);
                (at, at.saturating_sub(rng.random_range(0..30)), at + rng.random_range(0..30))
            })
            .collect();
        points.sort_unstable();
        let mut state = 0;
        let effects = points.into_iter().map(|(_, invoked, returned)| {
            let to = rng.random_range(0..4);
            let op = match rng.random_range(0..3) {
                0 => Do::Read(state),
                1 => Do::Write(to),
                _ => Do::Swap(state, to),
            };
            state = Register.step(&state, &op).expect("possible by construction");
            let unknown = !matches!(op, Do::Read(_)) && rng.random_bool(unknown);
            Call { op, invoked, returned: (!unknown).then_some(returned), certain: !unknown }
        });
        effects.collect()
    }

    /// Tries every order of every subset that has all certain calls.
    fn brute(calls: &[Call<Do>], used: u32, state: u8) -> bool {
        let left = |index: usize| used & (1 << index) == 0;
        if (0..calls.len()).all(|index| !left(index) || !calls[index].certain) {
            return true;
        }
        let first_return = (0..calls.len()).filter(|&index| left(index) && calls[index].certain);
        let bound = first_return.filter_map(|index| calls[index].returned).min().unwrap_or(u64::MAX);
        (0..calls.len()).any(|index| {
            left(index)
                && calls[index].invoked <= bound
                && Register.step(&state, &calls[index].op).is_some_and(|state| brute(calls, used | (1 << index), state))
        })
    }

    #[test]
    fn valid_histories_are_accepted() {
        for seed in 0..200 {
            let calls = valid(&mut StdRng::seed_from_u64(seed), 24, 0.1);
            assert_eq!(search(&Register, &calls, BUDGET), SearchResult::Accepted, "seed {seed}");
        }
    }

    #[test]
    fn small_histories_are_judged_like_brute_force() {
        let (mut accepted, mut rejected) = (0, 0);
        for seed in 0..3_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut calls = valid(&mut rng, 7, 0.2);
            for call in &mut calls {
                if rng.random_bool(0.2) {
                    call.op = Do::Read(rng.random_range(0..4));
                    call.certain = call.returned.is_some();
                }
            }
            let found = search(&Register, &calls, BUDGET) == SearchResult::Accepted;
            assert_eq!(found, brute(&calls, 0, 0), "seed {seed}: {calls:?}");
            if found { accepted += 1 } else { rejected += 1 }
        }
        assert!(accepted > 300 && rejected > 300, "{accepted} accepted, {rejected} rejected");
    }

    #[test]
    fn an_impossible_read_is_named_with_its_surroundings() {
        let calls =
            [call(Do::Write(1), 0, 5), call(Do::Write(2), 6, 20), call(Do::Read(0), 8, 10), call(Do::Read(2), 30, 31)];
        let SearchResult::Rejected { call, open, states } = search(&Register, &calls, BUDGET) else {
            panic!("the read of a value that was overwritten is accepted")
        };
        assert_eq!((call, open, states), (2, vec![1], vec!["1".to_owned()]));
    }

    #[test]
    fn an_operation_of_unknown_outcome_may_take_effect_late_or_never() {
        let unknown = Call { op: Do::Write(7), invoked: 0, returned: None, certain: false };
        let late = [unknown.clone(), call(Do::Read(0), 10, 11), call(Do::Read(7), 20, 21)];
        assert_eq!(search(&Register, &late, BUDGET), SearchResult::Accepted);
        let twice = [unknown, call(Do::Read(7), 10, 11), call(Do::Write(1), 12, 13), call(Do::Read(7), 20, 21)];
        assert!(matches!(search(&Register, &twice, BUDGET), SearchResult::Rejected { call: 3, .. }));
    }

    #[test]
    fn a_budget_that_is_too_small_decides_nothing() {
        let calls: Vec<_> =
            (0..12).map(|value| call(Do::Write(value), 0, 100)).chain([call(Do::Read(99), 50, 60)]).collect();
        let budget = Budget { time: Duration::from_secs(60), configurations: 100 };
        assert!(matches!(search(&Register, &calls, budget), SearchResult::Undecided { .. }));
    }

    #[test]
    fn long_histories_cost_by_their_overlap() {
        let calls = valid(&mut StdRng::seed_from_u64(1), 20_000, 0.0);
        assert_eq!(search(&Register, &calls, BUDGET), SearchResult::Accepted);
    }
}
