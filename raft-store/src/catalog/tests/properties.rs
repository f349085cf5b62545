//! Properties of random command sequences, for what scripts cannot enumerate.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

use proptest::prelude::*;

use super::exercise::{any_holding, any_op, any_token, hash, peer};
use super::model::Model;
use crate::catalog::check::invariants::check;
use crate::catalog::*;

/// A step of a random history.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Step {
    pub(in crate::catalog) stamp: Option<(u64, u64)>,
    pub(in crate::catalog) commands: Vec<Command>,
}

fn key() -> impl Strategy<Value = KeyTag> {
    let session = (0..2u8, 0..6u64, proptest::option::of(0..4u64))
        .prop_map(|(session, sequence, floor)| (format!("s{session}:{sequence}"), floor));
    let opaque = (0..8u8).prop_map(|key| (format!("k{key}"), None));
    (prop_oneof![session, opaque], 0..2u32, 0..2u8).prop_map(|((key, floor), chunk, body)| KeyTag {
        key,
        chunk,
        floor,
        body: hash(body),
    })
}

fn command() -> impl Strategy<Value = Command> {
    (proptest::option::weighted(0.4, key()), any_op()).prop_map(|(key, op)| Command { key, op })
}

/// Mostly short steps of time, and sometimes one past every retention.
fn elapsed() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..20_000u64, 1 => 0..1_000_000u64, 1 => 0..3_000_000_000u64]
}

pub(in crate::catalog) fn history(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (proptest::option::weighted(0.7, (elapsed(), 0..8u64)), proptest::collection::vec(command(), 0..4));
    proptest::collection::vec(step, 0..steps).prop_map(|steps| {
        let mut at = 0;
        let stamped = steps.into_iter().map(|(stamp, commands)| {
            // A stamp of another term does not move the clock (T2).
            let stamp = stamp.map(|(elapsed, other)| {
                at += elapsed;
                (u64::from(other != 0), at)
            });
            Step { stamp, commands }
        });
        stamped.collect()
    })
}

pub(in crate::catalog) fn small() -> Catalog {
    Catalog::with_limits(Limits {
        cleanup_items: 3,
        answers: 12,
        opaque_keys_per_peer: 3,
        line_length: 2,
        answers_per_peer: 7,
    })
}

pub(in crate::catalog) fn apply(catalog: &mut Catalog, step: &Step) -> Applied {
    let stamp = step.stamp.map(|(term, at)| Stamp { term, at });
    // Each entry has an index of its own, as in a log.
    let index = catalog.sequence + 1;
    catalog.apply(EntryId { term: 1, index }, &Batch { stamp, commands: step.commands.clone() })
}

proptest! {
    #[test]
    fn invariants_hold_after_every_step(history in history(60)) {
        let mut catalog = small();
        for step in &history {
            let applied = apply(&mut catalog, step);
            prop_assert_eq!(applied.replies.len(), step.commands.len());
            if let Err(violation) = check(&catalog) {
                return Err(TestCaseError::fail(format!("{violation} after {step:?}")));
            }
        }
    }

    #[test]
    fn a_clone_does_not_see_later_writes(history in history(60), at in 0..60usize) {
        let mut original = small();
        let (before, after) = history.split_at(at.min(history.len()));
        for step in before {
            apply(&mut original, step);
        }
        let snapshot = original.clone();
        let bytes = original.encode();
        for step in after {
            apply(&mut original, step);
        }
        prop_assert_eq!(snapshot.encode(), bytes);
        prop_assert_eq!(check(&snapshot), Ok(()));
    }

    #[test]
    fn a_decoded_catalog_goes_on_like_the_original(history in history(60), at in 0..60usize) {
        let mut original = small();
        let (before, after) = history.split_at(at.min(history.len()));
        for step in before {
            apply(&mut original, step);
        }
        let bytes = original.encode();
        let mut decoded = Catalog::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), bytes);
        for step in after {
            prop_assert_eq!(apply(&mut decoded, step), apply(&mut original, step));
        }
        prop_assert_eq!(decoded.encode(), original.encode());
        prop_assert_eq!(decoded.counts(), original.counts());
    }
}

/// A catalog after a history.
fn after(history: &[Step]) -> Catalog {
    let mut catalog = Catalog::default();
    for step in history {
        apply(&mut catalog, step);
    }
    catalog
}

/// The bytes without the command counter, which also counts commands that are refused or answered from memory.
fn state(catalog: &Catalog) -> Vec<u8> {
    let mut catalog = catalog.clone();
    catalog.sequence = 0;
    catalog.encode()
}

fn alone(command: Command) -> Step {
    Step { stamp: None, commands: vec![command] }
}

proptest! {
    #[test]
    fn the_event_stream_tells_everything(history in history(60), bounded in any::<bool>()) {
        let mut catalog = if bounded { small() } else { Catalog::default() };
        let mut model = Model::new();
        for step in &history {
            let applied = apply(&mut catalog, step);
            let verdict = model.follow(catalog.now(), &applied.events).and_then(|()| model.compare(&catalog));
            if let Err(why) = verdict {
                return Err(TestCaseError::fail(format!("{why} after {step:?}")));
            }
        }
    }

    #[test]
    fn a_refusal_changes_nothing(history in history(40), op in any_op()) {
        let mut catalog = after(&history);
        let before = state(&catalog);
        let applied = apply(&mut catalog, &alone(Command { key: None, op }));
        if applied.replies[0].result.is_err() {
            prop_assert_eq!(applied.events, vec![]);
            prop_assert_eq!(state(&catalog), before);
        }
    }

    /// F4: whatever happened before, an announcement never leaves its peer with an older version than it held.
    #[test]
    fn an_announcement_sets_no_holding_back(
        history in history(40),
        id in 0..4u8,
        holding in any_holding(),
        token in proptest::option::of(any_token()),
        many in any::<bool>(),
    ) {
        let mut catalog = after(&history);
        let held = |catalog: &Catalog| {
            let holders = catalog.file(&holding.name).map_or(Vec::new(), |file| file.holders);
            holders.into_iter().find(|holder| holder.peer == peer(id)).map(|holder| holder.version)
        };
        let before = held(&catalog);
        let op = match (many, token) {
            (true, _) => AnnounceMany { peer: peer(id), files: vec![holding.clone()] }.into(),
            (false, token) => {
                Announce { peer: peer(id), holding: holding.clone(), token, keep_lease: false }.into()
            }
        };
        apply(&mut catalog, &alone(Command { key: None, op }));
        prop_assert!(held(&catalog) >= before, "v{:?} became v{:?}", before, held(&catalog));
    }

    #[test]
    fn a_key_applies_once(history in history(40), op in any_op(), body in 0..2u8, between in history(3)) {
        let mut catalog = after(&history);
        let key = Some(KeyTag { key: "fresh:1".into(), chunk: 0, floor: None, body: hash(body) });
        let command = Command { key, op };
        let Some(peer) = command.op.peer() else { return Ok(()) };
        let answers = catalog.answers.total;
        let first = apply(&mut catalog, &alone(command.clone())).replies.remove(0);
        prop_assert!(!first.replayed);
        if catalog.peer_slot(peer).is_none() {
            // Entries without a stamp clean nothing up, so nothing was forgotten either.
            prop_assert!(catalog.answers.total <= answers, "an unregistered peer leaves no answer (X5)");
            return Ok(());
        }
        let waits = matches!(first.result, Ok(Reply::Denied { position: Some(_), .. }));
        let before = state(&catalog);
        let again = apply(&mut catalog, &alone(command.clone()));
        prop_assert_eq!(&again.replies[0].result, &first.result);
        prop_assert_eq!(again.replies[0].replayed, !waits);
        prop_assert_eq!(again.events, vec![]);
        if waits {
            return Ok(());
        }
        prop_assert_eq!(state(&catalog), before);
        for step in &between {
            apply(&mut catalog, step);
        }
        // Later the answer is the same, except that a lease may have ended or been renewed.
        let before = state(&catalog);
        let late = apply(&mut catalog, &alone(command));
        // A session that was idle for too long is forgotten.
        if late.replies[0].replayed {
            prop_assert_eq!(late.events, vec![]);
            prop_assert_eq!(state(&catalog), before);
            match (&first.result, &late.replies[0].result) {
                (Ok(Reply::Granted(first)), Ok(Reply::Granted(late))) => {
                    prop_assert_eq!(&late.token, &first.token);
                    prop_assert_eq!(late.fencing_token, first.fencing_token);
                }
                (Ok(Reply::Granted(first)), Err(Rejection::LeaseExpired { fencing_token, .. })) => {
                    prop_assert_eq!(*fencing_token, Some(first.fencing_token));
                }
                (first, late) => prop_assert_eq!(first, late),
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        history in history(30),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        more in self::history(5),
    ) {
        let mut bytes = after(&history).encode();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Damaged bytes may still decode. Then the state has to be sound.
        if let Ok(mut catalog) = Catalog::decode(&bytes) {
            if let Err(violation) = check(&catalog) {
                return Err(TestCaseError::fail(violation.to_string()));
            }
            for step in &more {
                apply(&mut catalog, step);
            }
        }
    }
}

/// Histories that are drawn at most until every kind was seen: each operation makes the others rarer.
const HISTORIES_MAX: usize = 20_000;

/// A property says nothing about what never happens, so random histories have to reach every kind of event and answer.
#[test]
fn histories_reach_every_kind_of_event_and_answer() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let kind = |debug: String| debug.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    let expected = [
        "Announced",
        "AnnouncedMany",
        "AttributesChanged",
        "AttributesLeased",
        "Denied",
        "Done",
        "FileDeleted",
        "FilePublished",
        "Granted",
        "HashConflict",
        "HolderAdded",
        "HolderDropped",
        "KeyExpired",
        "KeyReused",
        "LeaseEnded",
        "LeaseExpired",
        "LeaseGranted",
        "LeaseOffered",
        "LeaseRenewed",
        "LeaseRequired",
        "LineJoined",
        "LineLeft",
        "NotAnInteger",
        "NotFound",
        "NotHolder",
        "OutOfBounds",
        "Overloaded",
        "PeerExpired",
        "PeerForgotten",
        "PeerListed",
        "PeerRegistered",
        "Registered",
        "ReplicasSet",
        "Txn",
        "UnknownPeer",
        "VersionConflict",
        "replayed",
    ];
    let mut seen = std::collections::BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..HISTORIES_MAX {
        if expected.iter().all(|kind| seen.contains(*kind)) {
            break;
        }
        let history = history(60).new_tree(&mut runner).unwrap().current();
        let mut catalog = small();
        for step in &history {
            let applied = apply(&mut catalog, step);
            seen.extend(applied.events.iter().map(|event| kind(format!("{event:?}"))));
            for reply in &applied.replies {
                match &reply.result {
                    Ok(reply) => seen.insert(kind(format!("{reply:?}"))),
                    Err(rejection) => seen.insert(kind(format!("{rejection:?}"))),
                };
                if reply.replayed {
                    seen.insert("replayed".into());
                }
            }
        }
    }
    let missing: Vec<_> = expected.iter().filter(|kind| !seen.contains(**kind)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}
