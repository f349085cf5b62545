//! The bytes of the log and of snapshots, pinned (D3): one command of every kind, every reply and refusal, and the
//! state that the commands lead to.
//!
//! Invariant: lines of the golden file are added, never changed: logs and snapshots of earlier builds hold these bytes.
//! `UPDATE_GOLDENFILES=1` writes the file anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use serde::Serialize;

use super::properties::{hash, name, peer, token};
use crate::catalog::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/catalog/tests/wire.golden");

fn hex(value: &impl Serialize) -> String {
    postcard::to_stdvec(value).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn holding(file: u8, version: Option<u64>, size: Option<u64>, bytes: u8) -> Holding {
    Holding { name: name(file), version, size, hash: hash(bytes) }
}

fn register(id: u8, listing: Listing) -> Op {
    let (zone, capacity_bytes) = (Some("z".into()), Some(300));
    let address = format!("http://p{id}");
    Op::Register(Register { peer: peer(id), address, zone, capacity_bytes, serving: id != 3, listing })
}

/// Every kind of command, in the order of their tags.
fn samples() -> Vec<Op> {
    vec![
        register(1, Listing::Whole(vec![holding(1, None, Some(200), 1), holding(2, Some(1), None, 2)])),
        register(2, Listing::Page { id: "l".into(), last: false, files: vec![holding(3, None, None, 3)] }),
        register(3, Listing::Unchanged { digest: hash(7), count: Some(2) }),
        Op::Announce(Announce { peer: peer(2), holding: holding(4, None, None, 4), token: None, keep_lease: false }),
        Op::Announce(Announce {
            peer: peer(1),
            holding: holding(1, Some(2), Some(7), 5),
            token: Some(token(1)),
            keep_lease: true,
        }),
        Op::AnnounceMany { peer: peer(2), files: vec![holding(1, Some(1), None, 1), holding(2, Some(1), None, 9)] },
        Op::Acquire { peer: peer(1), file: name(1), ttl_ms: 60_000, wait: false, token: token(1) },
        Op::Acquire { peer: peer(2), file: name(1), ttl_ms: 5_000, wait: true, token: token(2) },
        Op::Acquire { peer: peer(1), file: name(2), ttl_ms: 30_000, wait: false, token: token(3) },
        Op::Renew { peer: peer(1), file: name(1), token: token(1), ttl_ms: Some(90_000) },
        Op::Renew { peer: peer(1), file: name(2), token: token(3), ttl_ms: None },
        Op::Release { peer: peer(1), file: name(1), token: token(1) },
        Op::Leave { peer: peer(3), file: name(1) },
        Op::Delete { peer: peer(2), file: name(4), everywhere: false, token: None },
        Op::Delete { peer: peer(1), file: name(2), everywhere: true, token: Some(token(3)) },
        Op::ExpirePeer { peer: peer(1), incarnation: 1, term: 1 },
        Op::DropWaiter { peer: peer(2), file: name(1), ticket: 7, term: 1 },
        Op::SetReplicas { replicas: 3 },
    ]
}

/// The commands with which a state begins in which few tables are empty.
fn scenario() -> Vec<Command> {
    let samples = samples();
    let order = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 4, 12, 13, 14, 15, 17];
    (0..).zip(order).map(|(n, index)| Command { key: key(n), op: samples[index].clone() }).collect()
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
    ]
}

/// The first word of a value's `Debug` form: its kind.
fn kind(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
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
    let batch = Batch { stamp: Some(Stamp { term: 1, at: 1_000 }), commands: scenario() };
    writeln!(text, "entry {}", hex(&batch)).unwrap();
    let mut catalog = Catalog::default();
    let applied = catalog.apply(1, &batch);
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
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (line, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "the bytes are not those of earlier builds");
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "every line of the golden file has its value");
}
