//! Pins the bytes of the log and of snapshots (D3): commands of every kind, every reply and refusal, and the state
//! after a short scenario.
//!
//! Invariant: lines may be added to the golden file but never changed, because logs and snapshots of earlier builds
//! have these bytes. `UPDATE_GOLDENFILES=1` writes the file. A new snapshot format changes the lines about states; the
//! state in the format before becomes a file of its own, which `codec::before` reads.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

use std::fmt::Write as _;

use serde::Serialize;

use super::exercise::{attribute_key, hash, name, peer, samples, token};
use crate::catalog::*;
use crate::types::{AttributeValue, Attributes, TxnId};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/catalog/tests/wire.golden");

/// The state that the build before transactions reached with [`scenario`] (format 2).
const STATE_2: &str = include_str!("state-2.golden");

pub(in crate::catalog) fn state_of_format_2() -> Vec<u8> {
    let digits = STATE_2.trim();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The state that this build reaches with the same commands.
pub(in crate::catalog) fn state_before_transactions() -> Vec<u8> {
    let mut catalog = Catalog::default();
    catalog.apply(super::fixtures::entry(1), &entry(scenario()));
    catalog.encode()
}

fn entry(commands: Vec<Command>) -> Batch {
    Batch { stamp: Some(Stamp { term: 1, at: 1_000 }), commands }
}

fn hex(value: &impl Serialize) -> String {
    postcard::to_stdvec(value).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Commands that leave few tables of the catalog empty.
fn scenario() -> Vec<Command> {
    let order = [
        ("Register", 0),
        ("Register", 1),
        ("Register", 2),
        ("Announce", 0),
        ("AnnounceMany", 0),
        ("Acquire", 0),
        ("Acquire", 1),
        ("Acquire", 2),
        ("Renew", 0),
        ("Renew", 1),
        ("Announce", 1),
        ("Leave", 0),
        ("Delete", 0),
        ("Delete", 1),
        ("ExpirePeer", 0),
        ("SetReplicas", 0),
    ];
    commands(&order, 0)
}

/// Transactions, and those commands that show what becomes of attributes.
fn transactions() -> Vec<Command> {
    commands(&[("Txn", 0), ("Txn", 1), ("Txn", 1)], 16)
}

fn commands(order: &[(&str, usize)], first: u32) -> Vec<Command> {
    let samples = samples();
    let sample = |(of, index): &(&str, usize)| samples.iter().filter(|op| kind(op) == *of).nth(*index).unwrap().clone();
    (first..).zip(order).map(|(n, which)| Command { key: key(n), op: sample(which) }).collect()
}

fn key(n: u32) -> Option<KeyTag> {
    match n % 3 {
        0 => None,
        1 => Some(KeyTag { key: format!("s:{n}"), chunk: 0, floor: Some(u64::from(n / 2)), body: hash(n as u8) }),
        _ => Some(KeyTag { key: format!("opaque {n}"), chunk: n, floor: None, body: hash(n as u8) }),
    }
}

fn results() -> Vec<Result<Reply, Rejection>> {
    let grant =
        Grant { file: name(1), token: token(1), fencing_token: 7, ttl_ms: 60_000, deadline: 90_000, version: 2 };
    let conflict = Conflict { name: name(1), current_version: 3, hash: Some(hash(1)) };
    let file = name(1);
    let attributes = [(attribute_key(1), (-300).into()), (attribute_key(2), AttributeValue::text("kg").unwrap())];
    let names = vec![
        TxnName { name: name(1), version: Some(2), attributes: attributes.into_iter().collect() },
        TxnName { name: name(2), version: None, attributes: Attributes::new() },
    ];
    let outcome = TxnOutcome { txn: TxnId { index: 300, position: 2 }, held: true, names };
    vec![
        Ok(Reply::Registered { incarnation: 1, listing: ListingState::Accepted, conflicts: vec![conflict] }),
        Ok(Reply::Registered { incarnation: 1, listing: ListingState::Unchanged, conflicts: Vec::new() }),
        Ok(Reply::Registered { incarnation: 300, listing: ListingState::Wanted, conflicts: Vec::new() }),
        Ok(Reply::Announced { version: 2, fencing_token: Some(7) }),
        Ok(Reply::AnnouncedMany(vec![Ok(2), Err(Rejection::KeyReused)])),
        Ok(Reply::Granted(grant)),
        Ok(Reply::Denied { holder: peer(1), deadline: 90_000, position: Some(1) }),
        Ok(Reply::Done),
        Err(Rejection::UnknownPeer { peer: peer(1) }),
        Err(Rejection::NotFound { file: file.clone() }),
        Err(Rejection::NotHolder { file }),
        Err(Rejection::LeaseRequired { current_version: 2, holder: Some(peer(1)) }),
        Err(Rejection::LeaseExpired { current_version: 2, holder: None, fencing_token: Some(7) }),
        Err(Rejection::VersionConflict { current_version: 2, hash: Some(hash(1)), size: Some(9), holder: None }),
        Err(Rejection::HashConflict { current_version: 2, hash: None, size: None }),
        Err(Rejection::KeyReused),
        Err(Rejection::KeyExpired),
        Err(Rejection::Overloaded { what: "it".into() }),
        Ok(Reply::Txn(outcome)),
        Err(Rejection::AttributesLeased { file: name(1), holder: Some(peer(1)) }),
        Err(Rejection::OutOfBounds { file: name(1), key: attribute_key(1), value: -300, by: 7 }),
        Err(Rejection::NotAnInteger { file: name(1), key: attribute_key(1) }),
        Err(Rejection::TooManyAttributes { file: name(1) }),
        Err(Rejection::AnswerTooLarge { bytes: 70_000 }),
    ]
}

/// The first word of a value's `Debug` form: its kind.
fn kind(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the test")]
fn the_bytes_of_log_and_snapshots_are_those_of_earlier_builds() {
    let mut text = String::new();
    for op in samples() {
        writeln!(text, "command {} {}", kind(&op), hex(&op)).unwrap();
    }
    for result in results() {
        let of = match &result {
            Ok(reply) => kind(reply),
            Err(rejection) => kind(rejection),
        };
        writeln!(text, "outcome {of} {}", hex(&Outcome { result, replayed: false })).unwrap();
    }
    let batch = entry(scenario());
    writeln!(text, "entry {}", hex(&batch)).unwrap();
    let mut catalog = Catalog::default();
    let applied = catalog.apply(super::fixtures::entry(1), &batch);
    check(&catalog).unwrap();
    for outcome in &applied.replies {
        writeln!(text, "applied {}", hex(outcome)).unwrap();
    }
    for event in &applied.events {
        writeln!(text, "event {} {}", kind(event), hex(event)).unwrap();
    }
    let state: String = catalog.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "state {state}").unwrap();
    writeln!(text, "digest {}\nstate digest {}", catalog.digest(), catalog.state_digest()).unwrap();
    let applied = catalog.apply(super::fixtures::entry(2), &entry(transactions()));
    check(&catalog).unwrap();
    for outcome in &applied.replies {
        writeln!(text, "transacted {}", hex(outcome)).unwrap();
    }
    for event in &applied.events {
        writeln!(text, "event {} {}", kind(event), hex(event)).unwrap();
    }
    let state: String = catalog.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "state after transactions {state}").unwrap();
    writeln!(text, "its digest {}\nits state digest {}", catalog.digest(), catalog.state_digest()).unwrap();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (line, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "the bytes are not those of earlier builds");
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "every line of the golden file has its value");
}
