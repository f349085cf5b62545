//! Random transactions against a model that is as simple as the rules allow (K2–K4).
//!
//! Invariant: the model evaluates a transaction on a copy of all attributes, one operation after the other, and keeps
//! the copy only if nothing was refused. It computes with wider integers than the catalog.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::exercise::{any_action, any_name, any_peer, any_test, any_token};
use super::properties::{Step, apply, history};
use crate::catalog::*;
use crate::types::{AttributeKey, AttributeValue, Comparison, FileName, LeaseToken, PeerId};

type Attributes = BTreeMap<FileName, BTreeMap<String, AttributeValue>>;
type Operations = Vec<(FileName, Action, Option<LeaseToken>)>;

/// The parts of a transaction.
#[derive(Debug, Clone)]
struct Parts {
    peer: PeerId,
    conditions: Vec<(FileName, Test)>,
    then: Operations,
    otherwise: Operations,
}

impl Parts {
    fn txn(&self) -> Txn {
        let mut txn = Txn::new(self.peer.clone());
        self.conditions.iter().cloned().for_each(|(name, test)| txn.require(name, test));
        self.then.iter().cloned().for_each(|(name, action, token)| txn.then(name, action, token));
        self.otherwise.iter().cloned().for_each(|(name, action, token)| txn.otherwise(name, action, token));
        txn
    }
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let operation = || (any_name(), any_action(), proptest::option::weighted(0.3, any_token()));
    let conditions = proptest::collection::vec((any_name(), any_test()), 0..3);
    let operations = || proptest::collection::vec(operation(), 0..6);
    (any_peer(), conditions, operations(), operations()).prop_map(|(peer, conditions, then, otherwise)| Parts {
        peer,
        conditions,
        then,
        otherwise,
    })
}

fn key_text(key: &AttributeKey) -> String {
    key.as_str().to_owned()
}

/// All attributes of all names.
fn attributes(catalog: &Catalog) -> Attributes {
    let records = catalog.files.iter().map(|(_, record)| {
        let attributes = record.attributes.iter().map(|(key, value)| (key_text(key), value.clone()));
        (record.file_name(), attributes.collect::<BTreeMap<_, _>>())
    });
    records.filter(|(_, attributes)| !attributes.is_empty()).collect()
}

fn live_token(catalog: &Catalog, name: &FileName) -> Option<LeaseToken> {
    let lease = catalog.files[catalog.file_id(name)?].lease()?;
    (lease.deadline.at > catalog.now()).then_some(lease.token)
}

fn holds(catalog: &Catalog, state: &Attributes, (name, test): &(FileName, Test)) -> bool {
    let version = catalog.file(name).and_then(|file| file.hash.map(|hash| (file.version, hash)));
    match test {
        Test::Exists(wanted) => (version.is_some() || state.contains_key(name)) == *wanted,
        Test::Version(wanted) => version.is_some_and(|(version, _)| version == *wanted),
        Test::Hash(wanted) => version.is_some_and(|(_, hash)| hash == *wanted),
        Test::Lease(token) => live_token(catalog, name) == Some(*token),
        Test::Attribute { key, is, value } => {
            use AttributeValue::{Integer, Text};
            let order = match (state.get(name).and_then(|of| of.get(key.as_str())), value) {
                (Some(Integer(one)), Integer(other)) => one.partial_cmp(other),
                (Some(Text(one)), Text(other)) => one.as_bytes().partial_cmp(other.as_bytes()),
                _ => None,
            };
            use std::cmp::Ordering::{Equal, Greater, Less};
            match is {
                Comparison::Equal => order == Some(Equal),
                Comparison::NotEqual => order != Some(Equal),
                Comparison::Less => order == Some(Less),
                Comparison::LessOrEqual => matches!(order, Some(Less | Equal)),
                Comparison::Greater => order == Some(Greater),
                Comparison::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
            }
        }
    }
}

/// The kind of a refusal.
fn refusal(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::OutOfBounds { .. } => "bounds",
        Rejection::NotAnInteger { .. } => "string",
        Rejection::AttributesLeased { .. } | Rejection::LeaseExpired { .. } => "lease",
        Rejection::UnknownPeer { .. } => "peer",
        _ => "other",
    }
}

/// The attributes after a transaction, and which branch was taken.
fn expected(catalog: &Catalog, parts: &Parts) -> Result<(Attributes, bool), &'static str> {
    if catalog.peer(&parts.peer).is_none() {
        return Err("peer");
    }
    let mut state = attributes(catalog);
    let held = parts.conditions.iter().all(|condition| holds(catalog, &state, condition));
    for (name, action, token) in if held { &parts.then } else { &parts.otherwise } {
        if live_token(catalog, name) != *token {
            return Err("lease");
        }
        let of = state.entry(name.clone()).or_default();
        match action {
            Action::Set { key, value } => drop(of.insert(key_text(key), value.clone())),
            Action::Add { key, by, min, max } => {
                let before = match of.get(key.as_str()) {
                    None => 0,
                    Some(AttributeValue::Integer(value)) => i128::from(*value),
                    Some(AttributeValue::Text(_)) => return Err("string"),
                };
                let sum = before + i128::from(*by);
                let least = i128::from(min.unwrap_or(i64::MIN));
                let most = i128::from(max.unwrap_or(i64::MAX));
                if sum < least || sum > most {
                    return Err("bounds");
                }
                of.insert(key_text(key), AttributeValue::Integer(i64::try_from(sum).unwrap()));
            }
            Action::Unset { key } => drop(of.remove(key.as_str())),
            Action::Delete => of.clear(),
        }
        if of.is_empty() {
            state.remove(name);
        }
    }
    Ok((state, held))
}

proptest! {
    #[test]
    fn a_transaction_does_all_of_what_the_rules_say_or_nothing(
        history in history(30),
        transactions in proptest::collection::vec(any_parts(), 1..12),
    ) {
        let mut catalog = Catalog::default();
        for step in &history {
            apply(&mut catalog, step);
        }
        for parts in &transactions {
            // What is past its deadline ends here, so that the transaction itself meets nothing that has yet to end.
            apply(&mut catalog, &Step { stamp: None, commands: Vec::new() });
            let before = attributes(&catalog);
            let expected = expected(&catalog, parts);
            let command = Command { key: None, op: parts.txn().into() };
            let applied = apply(&mut catalog, &Step { stamp: None, commands: vec![command] });
            match (&applied.replies[0].result, expected) {
                (Ok(Reply::Txn(outcome)), Ok((after, held))) => {
                    prop_assert_eq!(outcome.held, held);
                    prop_assert_eq!(attributes(&catalog), after);
                    for name in &outcome.names {
                        let told = name.attributes.iter().map(|(key, value)| (key_text(key), value.clone()));
                        let known = attributes(&catalog).remove(&name.name).unwrap_or_default();
                        prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), known, "the answer tells what is there");
                        prop_assert_eq!(name.version, catalog.current_version(&name.name));
                    }
                }
                (Err(rejection), Err(why)) => {
                    prop_assert_eq!(refusal(rejection), why);
                    prop_assert_eq!(attributes(&catalog), before);
                }
                (got, expected) => prop_assert!(false, "{:?}, not {:?}: {:?}", got, expected, parts),
            }
        }
    }
}
