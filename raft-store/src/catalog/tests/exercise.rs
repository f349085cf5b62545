//! What tests need of an operation, so that every test covers a new one at once: its words in scripts (`scripts`),
//! random values for random histories (`properties`), and samples whose bytes are pinned (`wire`).
//!
//! Invariant: random values are drawn from few peers, names, bytes and tokens, so that the steps of a history interact.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

pub(in crate::catalog) use proptest::bool::weighted;
pub(in crate::catalog) use proptest::collection::vec;
pub(in crate::catalog) use proptest::option;
pub(in crate::catalog) use proptest::prelude::{BoxedStrategy, Strategy, any, prop_oneof};
use proptest::strategy::Union;

pub(in crate::catalog) use super::scripts::{Arguments, Parsed, hash_of};
use crate::catalog::Holding;
use crate::catalog::ops::{ALL, Op};
pub(in crate::catalog) use crate::types::limits;
use crate::types::{ContentHash, FileName, LeaseToken, PeerId};

/// An operation that tests can exercise.
pub(in crate::catalog) trait Exercised: Sized {
    /// The words that it has in scripts.
    const WORDS: &[&str];

    /// Reads the rest of a script's command.
    fn read(arguments: &mut Arguments<'_>) -> Parsed<Self>;

    /// Random values, and their weight among the operations of a random history.
    fn any() -> (u32, BoxedStrategy<Self>);

    /// Samples whose bytes are pinned; together they use every field. New samples are added at the end.
    fn samples() -> Vec<Self>;
}

/// An [`Exercised`] operation in the list of all.
pub(in crate::catalog) struct Exercise {
    words: &'static [&'static str],
    read: fn(&mut Arguments<'_>) -> Parsed<Op>,
    any: fn() -> (u32, BoxedStrategy<Op>),
    samples: fn() -> Vec<Op>,
}

impl Exercise {
    pub(in crate::catalog) const fn of<T: Exercised + Into<Op> + std::fmt::Debug + 'static>() -> Self {
        Self {
            words: T::WORDS,
            read: |arguments| Ok(T::read(arguments)?.into()),
            any: || {
                let (weight, values) = T::any();
                (weight, values.prop_map(T::into).boxed())
            },
            samples: || T::samples().into_iter().map(T::into).collect(),
        }
    }
}

/// The operation of a script's command; `None` if it is not an operation.
pub(super) fn read_op(arguments: &mut Arguments<'_>) -> Parsed<Option<Op>> {
    let word = arguments.word();
    let exercise = ALL.iter().find(|exercise| exercise.words.contains(&word));
    exercise.map(|exercise| (exercise.read)(arguments)).transpose()
}

/// Any operation.
pub(super) fn any_op() -> impl Strategy<Value = Op> {
    Union::new_weighted(ALL.iter().map(|exercise| (exercise.any)()).collect())
}

/// Operations of every kind, in the order of their tags.
pub(super) fn samples() -> Vec<Op> {
    ALL.iter().flat_map(|exercise| (exercise.samples)()).collect()
}

pub(in crate::catalog) fn peer(n: u8) -> PeerId {
    PeerId::parse(format!("p{n}")).unwrap()
}

pub(in crate::catalog) fn name(n: u8) -> FileName {
    FileName::parse(format!("f{n}")).unwrap()
}

pub(in crate::catalog) fn hash(n: u8) -> ContentHash {
    ContentHash([n; 32])
}

pub(in crate::catalog) fn token(n: u8) -> LeaseToken {
    LeaseToken([n; 16])
}

pub(in crate::catalog) fn holding(file: u8, version: Option<u64>, size: Option<u64>, bytes: u8) -> Holding {
    Holding { name: name(file), version, size, hash: hash(bytes) }
}

pub(in crate::catalog) fn any_peer() -> impl Strategy<Value = PeerId> {
    (0..4u8).prop_map(peer)
}

pub(in crate::catalog) fn any_name() -> impl Strategy<Value = FileName> {
    (0..4u8).prop_map(name)
}

pub(in crate::catalog) fn any_token() -> impl Strategy<Value = LeaseToken> {
    (0..5u8).prop_map(token)
}

/// A time to live, in milliseconds.
pub(in crate::catalog) fn any_ttl() -> impl Strategy<Value = u64> {
    100..40_000u64
}

pub(in crate::catalog) fn any_holding() -> impl Strategy<Value = Holding> {
    (0..4u8, option::of(1..4u64), option::of(0..100u64), 0..5u8)
        .prop_map(|(file, version, size, bytes)| holding(file, version, size, bytes))
}

#[test]
fn every_operation_has_samples_and_words_of_its_own() {
    let mut words = std::collections::BTreeSet::new();
    for exercise in ALL {
        assert!(!exercise.words.is_empty() && !(exercise.samples)().is_empty(), "{:?}", exercise.words);
        assert!(exercise.words.iter().all(|word| words.insert(word)), "{:?}", exercise.words);
    }
}
