//! The digest covers every change of the replicated state, and nothing else (D1, N3).
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::properties::{apply, history, small};
use crate::catalog::records::{Contention, EndedLease, Lease, Offer, OpenListing, PastVersion, Waiter};
use crate::catalog::state::Deadline;
use crate::catalog::tables::slab::Id;
use crate::catalog::*;
use crate::types::{ContentHash, LeaseToken};

/// The same state with no leaf computed, as after loading a snapshot.
fn loaded(catalog: &Catalog) -> Catalog {
    Catalog::decode(&catalog.encode()).unwrap()
}

proptest! {
    #[test]
    fn a_digest_that_was_kept_up_to_date_is_that_of_the_loaded_state(
        history in history(60),
        asked in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let mut catalog = small();
        let mut image = None;
        for (step, asks) in history.iter().zip(asked) {
            apply(&mut catalog, step);
            if asks {
                prop_assert_eq!(catalog.state_digest(), loaded(&catalog).state_digest());
                // Chunks that an image shares are copied together with their leaves.
                image = Some((catalog.image(), catalog.encode()));
            }
        }
        prop_assert_eq!(catalog.state_digest(), loaded(&catalog).state_digest());
        prop_assert_eq!(catalog.files.marked() + catalog.peers.marked(), 0, "everything is hashed");
        if let Some((image, encoded)) = image {
            prop_assert_eq!(image.state_digest(), Catalog::decode(&encoded).unwrap().state_digest());
        }
    }

    #[test]
    fn equal_digests_mean_equal_bytes(one in history(8), other in history(8)) {
        let run = |history: &[super::properties::Step]| {
            let mut catalog = small();
            history.iter().for_each(|step| drop(apply(&mut catalog, step)));
            catalog
        };
        let (one, other) = (run(&one), run(&other));
        prop_assert_eq!(one.state_digest() == other.state_digest(), one.encode() == other.encode());
    }

    /// One follower replays every entry, another installs a snapshot midway: both end at the same digest.
    #[test]
    fn replay_and_snapshot_lead_to_the_same_digest(history in history(60), at in 0..60usize) {
        let (mut replayed, mut installed) = (small(), small());
        for (index, step) in history.iter().enumerate() {
            apply(&mut replayed, step);
            apply(&mut installed, step);
            if index == at {
                installed = loaded(&installed);
            }
        }
        prop_assert_eq!(replayed.state_digest(), installed.state_digest());
    }
}

/// A state in which no table is empty.
fn rich() -> Catalog {
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let history = history(60).new_tree(&mut runner).unwrap().current();
        let mut catalog = small();
        history.iter().for_each(|step| drop(apply(&mut catalog, step)));
        let has_keys =
            catalog.answers.owners.iter().any(|(_, keys)| !keys.sessions.is_empty() && !keys.opaque.is_empty());
        let contended = catalog.files.iter().any(|(_, file)| file.lease().is_some());
        if has_keys && contended && catalog.files.len() > 2 && catalog.peers.len() > 1 {
            return catalog;
        }
    }
    panic!("no random history fills all tables");
}

fn first_file(catalog: &Catalog) -> Id {
    catalog.files.iter().next().unwrap().0
}

fn first_peer(catalog: &Catalog) -> Id {
    catalog.peers.iter().next().unwrap().0
}

fn contention(catalog: &mut Catalog) -> &mut Contention {
    let file = catalog.files.iter().find(|(_, file)| file.lease().is_some()).unwrap().0;
    catalog.files[file].contention.as_mut().unwrap()
}

fn lease(catalog: &mut Catalog) -> &mut Lease {
    contention(catalog).lease.as_mut().unwrap()
}

fn keys(catalog: &mut Catalog) -> &mut crate::catalog::keys::owners::Keys {
    let owner = catalog.answers.owners.iter().find(|(_, keys)| !keys.sessions.is_empty() && !keys.opaque.is_empty());
    let owner = owner.unwrap().0.clone();
    catalog.answers.owners.get_mut(&owner).unwrap()
}

fn session(catalog: &mut Catalog) -> &mut crate::catalog::keys::answers::Session {
    let keys = keys(catalog);
    let name = keys.sessions.first_key_value().unwrap().0.clone();
    keys.sessions.get_mut(&name).unwrap()
}

fn opaque(catalog: &mut Catalog) -> &mut crate::catalog::keys::answers::OpaqueKey {
    let keys = keys(catalog);
    let name = keys.opaque.first_key_value().unwrap().0.clone();
    keys.opaque.get_mut(&name).unwrap()
}

const LATER: Deadline = Deadline { at: 77, position: 88 };

/// A change of one field, and its name.
type Flip = (&'static str, fn(&mut Catalog));

/// One change for each field of the replicated state.
fn flips() -> Vec<Flip> {
    vec![
        ("clock", |c| c.clock += 1),
        ("sequence", |c| c.sequence += 1),
        ("positions", |c| c.positions += 1),
        ("incarnations", |c| c.incarnations += 1),
        ("fencing tokens", |c| c.fencing_tokens += 1),
        ("tickets", |c| c.tickets += 1),
        ("replicas", |c| c.settings.replicas += 1),
        ("limits: clean-up", |c| c.limits.cleanup_items += 1),
        ("limits: answers", |c| c.limits.answers += 1),
        ("limits: opaque keys", |c| c.limits.opaque_keys_per_peer += 1),
        ("limits: line", |c| c.limits.line_length += 1),
        ("limits: answers per peer", |c| c.limits.answers_per_peer += 1),
        ("a file: name", |c| {
            let f = first_file(c);
            c.files[f].name = "other".into();
        }),
        ("a file: version", |c| {
            let f = first_file(c);
            c.files[f].version += 1;
        }),
        ("a file: size", |c| {
            let f = first_file(c);
            c.files[f].size = Some(987_654);
        }),
        ("a file: hash", |c| {
            let f = first_file(c);
            c.files[f].hash = Some(ContentHash([99; 32]));
        }),
        ("a file: token", |c| {
            let f = first_file(c);
            c.files[f].fencing_token += 1;
        }),
        ("a file: past", |c| {
            let f = first_file(c);
            c.files[f].past.push(PastVersion { version: 9, hash: ContentHash([9; 32]) });
        }),
        ("a file: holders", |c| {
            let f = first_file(c);
            c.files[f].holders.push(crate::catalog::records::Holder { peer: 9, version: 9, touched: 9 });
        }),
        ("a file: refused", |c| {
            let f = first_file(c);
            c.files[f].refused.push(9);
        }),
        ("a file: ended leases", |c| {
            let f = first_file(c);
            c.files[f].ended.push(EndedLease { token: LeaseToken([9; 16]), fencing_token: 9 });
        }),
        ("a file: attributes", |c| {
            let f = first_file(c);
            c.files[f].attributes.set(super::exercise::attribute_key(9), 9.into());
        }),
        ("a lease: peer", |c| lease(c).peer += 1),
        ("a lease: incarnation", |c| lease(c).incarnation += 1),
        ("a lease: token", |c| lease(c).token = LeaseToken([77; 16])),
        ("a lease: fencing token", |c| lease(c).fencing_token += 1),
        ("a lease: time to live", |c| lease(c).ttl_ms += 1),
        ("a lease: deadline", |c| lease(c).deadline.at += 1),
        ("a lease: position", |c| lease(c).deadline.position += 1),
        ("an offer", |c| contention(c).offer = Some(Offer { peer: 1, ticket: 77, deadline: LATER })),
        ("a wait queue", |c| contention(c).queue.push_back(Waiter { peer: 1, ticket: 77 })),
        ("a file more", |c| {
            let name = crate::types::FileName::parse("one-more").unwrap();
            c.files.insert(crate::catalog::records::FileRecord::new(&name));
        }),
        ("a file less", |c| {
            let f = first_file(c);
            c.files.remove(f);
        }),
        ("a file in another slot", |c| {
            // Two records swap their slots.
            let (a, b) = {
                let mut ids = c.files.iter().map(|(id, _)| id);
                (ids.next().unwrap(), ids.next().unwrap())
            };
            let (one, other) = (c.files[a].clone(), c.files[b].clone());
            (c.files[a], c.files[b]) = (other, one);
        }),
        ("a peer: id", |c| {
            let p = first_peer(c);
            c.peers[p].id = super::exercise::peer(200);
        }),
        ("a peer: address", |c| {
            let p = first_peer(c);
            c.peers[p].address = "http://elsewhere".into();
        }),
        ("a peer: zone", |c| {
            let p = first_peer(c);
            c.peers[p].zone = Some("elsewhere".into());
        }),
        ("a peer: capacity", |c| {
            let p = first_peer(c);
            c.peers[p].capacity_bytes = Some(987_654);
        }),
        ("a peer: incarnation", |c| {
            let p = first_peer(c);
            c.peers[p].incarnation += 1;
        }),
        ("a peer: end", |c| {
            let p = first_peer(c);
            c.peers[p].forget_at = Some(LATER);
        }),
        ("a peer: listing", |c| {
            let p = first_peer(c);
            c.peers[p].listing = Some(OpenListing { id: "x".into(), started: 9, deleted: ["y".to_owned()].into() });
        }),
        ("a peer: closed listings", |c| {
            let p = first_peer(c);
            c.peers[p].closed_listings.push_back("x".into());
        }),
        ("a session: floor", |c| session(c).floor += 1),
        ("a session: use", |c| session(c).used += 1),
        ("a session: deadline", |c| session(c).due.at += 1),
        ("a session: an answer less", |c| drop(session(c).answers.pop_first())),
        ("an opaque key: first use", |c| opaque(c).first_used += 1),
        ("an opaque key: deadline", |c| opaque(c).due.position += 1),
        ("an opaque key: an answer less", |c| drop(opaque(c).chunks.pop_last())),
        ("an answer: body", |c| {
            let answers = &mut session(c).answers;
            let key = *answers.first_key_value().unwrap().0;
            answers.get_mut(&key).unwrap().body = ContentHash([99; 32]);
        }),
    ]
}

#[test]
fn every_field_of_the_state_has_a_part_in_the_digest() {
    let original = rich();
    let before = original.state_digest();
    for (what, change) in flips() {
        let mut changed = original.clone();
        change(&mut changed);
        assert_ne!(changed.state_digest(), before, "{what}");
    }
    assert_eq!(original.state_digest(), before);
}

#[test]
fn only_what_was_written_is_hashed_again() {
    let files = super::fixtures::files(2_000, |n| n as usize % 100 + 1);
    let command = Command { key: None, op: super::fixtures::register("p", files) };
    let mut catalog = Catalog::default();
    catalog.apply(super::fixtures::entry(1), &Batch { stamp: None, commands: vec![command] });
    assert_eq!(catalog.files.marked(), 2_000);
    catalog.state_digest();
    assert_eq!(catalog.files.marked(), 0);
    let held = catalog.image();
    let file = first_file(&catalog);
    catalog.files[file].version += 1;
    assert_eq!((catalog.files.marked(), held.state_digest() == catalog.state_digest()), (1, false));
}
