//! What tests need of an operation, so that every test covers a new one at once: its words in scripts (`scripts`),
//! random values for random histories (`properties`), and samples whose bytes are pinned (`wire`).
//!
//! Invariant: random values are drawn from few peers, names, bytes and tokens, so that the steps of a history interact.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

pub(in crate::catalog) use proptest::bool::weighted;
pub(in crate::catalog) use proptest::collection::vec;
pub(in crate::catalog) use proptest::option;
use proptest::prelude::Just;
pub(in crate::catalog) use proptest::prelude::{BoxedStrategy, Strategy, any, prop_oneof};
use proptest::strategy::Union;

pub(in crate::catalog) use super::scripts::{Arguments, Parsed, hash_of};
use crate::catalog::ops::{ALL, Op};
use crate::catalog::{Action, Holding, Test};
pub(in crate::catalog) use crate::types::limits;
use crate::types::{AttributeKey, AttributeValue, Comparison, ContentHash, FileName, LeaseToken, PeerId};

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

pub(in crate::catalog) fn attribute_key(n: u8) -> AttributeKey {
    AttributeKey::parse(&format!("k{n}")).unwrap()
}

fn any_attribute_key() -> impl Strategy<Value = AttributeKey> {
    (0..3u8).prop_map(attribute_key)
}

/// Small integers mostly, sometimes one near the ends of the range, sometimes a string.
fn any_attribute_value() -> impl Strategy<Value = AttributeValue> {
    let text = prop_oneof!["", "x", "y"].prop_map(|text: String| AttributeValue::text(text).unwrap());
    prop_oneof![6 => any_addend().prop_map(AttributeValue::Integer), 1 => text]
}

fn any_addend() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -5..6i64, 1 => proptest::sample::select(vec![i64::MIN, i64::MAX, i64::MAX - 2])]
}

pub(in crate::catalog) fn any_test() -> impl Strategy<Value = Test> {
    let is = proptest::sample::select(Comparison::ALL.to_vec());
    let attribute = (any_attribute_key(), is, any_attribute_value());
    prop_oneof![
        1 => any::<bool>().prop_map(Test::Exists),
        1 => (1..4u64).prop_map(Test::Version),
        1 => (0..5u8).prop_map(|bytes| Test::Hash(hash(bytes))),
        3 => attribute.prop_map(|(key, is, value)| Test::Attribute { key, is, value }),
        1 => any_token().prop_map(Test::Lease),
    ]
}

pub(in crate::catalog) fn any_action() -> impl Strategy<Value = Action> {
    let set = (any_attribute_key(), any_attribute_value());
    let add = (any_attribute_key(), any_addend(), option::weighted(0.3, -4..3i64), option::weighted(0.3, 0..8i64));
    prop_oneof![
        2 => set.prop_map(|(key, value)| Action::Set { key, value }),
        3 => add.prop_map(|(key, by, min, max)| Action::Add { key, by, min, max }),
        2 => any_attribute_key().prop_map(|key| Action::Unset { key }),
        1 => Just(Action::Delete),
    ]
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
