//! Writes: finding the leader, repeating under one key, and what the caller may conclude (W2, W5, X1–X3).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use client::cluster::{Error, IndexClient};
use client::contract::{AnnounceRequest, ErrorCode, FileEntry, HeartbeatRequest};
use raft_store::types::{ContentHash, FileName, PeerId};
use serde_json::json;

use crate::fake::{Fake, Reply, client, dead_url, leader, no_quorum, ok, problem};

fn announcement() -> AnnounceRequest {
    let file =
        FileEntry { name: FileName::parse("a.txt").unwrap(), version: None, size: Some(1), hash: ContentHash([7; 32]) };
    AnnounceRequest {
        peer_id: PeerId::parse("p").unwrap(),
        file: Some(file),
        files: None,
        lease_token: None,
        keep_lease: None,
    }
}

fn announced(index: u64) -> Reply {
    Reply::Json(200, json!({"ok": true, "version": 1, "tasks": []}), vec![("raftshare-index", index.to_string())])
}

/// A lone server that leads, with `script` for its writes.
fn lone(script: impl Fn(u64) -> Reply + Send + Sync + 'static) -> Fake {
    let count = AtomicU64::new(0);
    let address: Arc<OnceLock<String>> = Arc::default();
    let own = Arc::clone(&address);
    let fake = Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => ok(leader(1, own.get().unwrap(), 1)),
        _ => script(count.fetch_add(1, Ordering::SeqCst)),
    });
    address.set(fake.address.to_string()).unwrap();
    fake
}

async fn announce(client: &IndexClient) -> Result<u64, Error> {
    client.announce(&announcement()).await.map(|answer| answer.version)
}

#[tokio::test]
async fn a_write_goes_to_the_leader_and_follows_it_when_it_moves() {
    let second_leads = Arc::new(AtomicU64::new(0));
    let addresses: Arc<OnceLock<[String; 2]>> = Arc::default();
    let node = |me: u64| {
        let (moved, addresses) = (Arc::clone(&second_leads), Arc::clone(&addresses));
        Fake::start(move |seen| {
            let leads = moved.load(Ordering::SeqCst);
            let leader = leader(leads + 1, &addresses.get().unwrap()[leads as usize], 5 + leads);
            match seen.path.as_str() {
                "/leader" => ok(leader),
                _ if leads == me => announced(1),
                _ => problem(403, "not_leader", json!({"applied": "no", "leader": leader})),
            }
        })
    };
    let (first, second) = (node(0), node(1));
    addresses.set([first.address.to_string(), second.address.to_string()]).unwrap();

    // Only the follower is configured; the leader is found by its hint.
    let client = client(&[&second.url()]);
    announce(&client).await.unwrap();
    assert_eq!((first.seen("/announce").len(), second.seen("/announce").len()), (1, 0));
    assert_eq!(first.seen("/announce")[0].header("raftshare-forward").as_deref(), Some("never"));

    second_leads.store(1, Ordering::SeqCst);
    announce(&client).await.unwrap();
    announce(&client).await.unwrap();
    assert_eq!((first.seen("/announce").len(), second.seen("/announce").len()), (2, 2));
    let (refused, repeated) = (&first.seen("/announce")[1], &second.seen("/announce")[0]);
    assert_eq!(refused.key(), repeated.key());
}

#[tokio::test]
async fn a_cut_connection_is_repeated_under_the_same_key_and_bytes() {
    let fake = lone(|count| if count == 0 { Reply::Cut } else { announced(9) });
    let client = client(&[&fake.url()]);
    assert_eq!(announce(&client).await.unwrap(), 1);
    let seen = fake.seen("/announce");
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].key(), seen[1].key());
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn outcome_unknown_then_success_is_success() {
    let unknown = || problem(503, "outcome_unknown", json!({"applied": "unknown"}));
    let fake = lone(move |count| if count < 3 { unknown() } else { announced(9) });
    assert_eq!(announce(&client(&[&fake.url()])).await.unwrap(), 1);
    let keys: std::collections::BTreeSet<_> = fake.seen("/announce").iter().map(|seen| seen.key()).collect();
    assert_eq!((fake.seen("/announce").len(), keys.len()), (4, 1));
}

#[tokio::test]
async fn maybe_applied_is_reported_as_unknown_even_if_later_attempts_are_definite() {
    let fake = lone(|count| if count == 0 { Reply::Cut } else { no_quorum() });
    let error = announce(&client(&[&fake.url()]).with_deadline(Duration::from_millis(200))).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert!(!error.is_definite());
}

#[tokio::test]
async fn a_refusal_of_the_catalog_settles_an_earlier_cut() {
    let conflict = || problem(409, "version_conflict", json!({"applied": "no", "currentVersion": 4}));
    let fake = lone(move |count| if count == 0 { Reply::Cut } else { conflict() });
    let error = announce(&client(&[&fake.url()])).await.unwrap_err();
    assert_eq!(error.problem().and_then(|problem| problem.current_version), Some(4));
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn refusals_are_final_and_definite() {
    let fake = lone(|_| problem(403, "lease_required", json!({"applied": "no", "holder": "q"})));
    let error = announce(&client(&[&fake.url()])).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::LeaseRequired));
    assert_eq!(fake.seen("/announce").len(), 1);
}

#[tokio::test]
async fn no_majority_until_the_deadline_is_a_definite_no() {
    let fake = Fake::start(|_| no_quorum());
    let error = announce(&client(&[&fake.url()]).with_deadline(Duration::from_secs(2))).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(fake.seen("/announce").len() > 1, "it is worth another try");
}

#[tokio::test]
async fn servers_that_do_not_exist_are_unreachable() {
    let url = dead_url();
    let error = announce(&client(&[&url]).with_deadline(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { servers, .. } if servers == &url), "{error:?}");
    assert!(error.is_definite());
}

#[tokio::test]
async fn a_dead_server_costs_nothing_if_another_one_lives() {
    let fake = lone(|_| announced(1));
    announce(&client(&[&dead_url(), &fake.url()])).await.unwrap();
    assert_eq!(fake.seen("/announce").len(), 1);
}

#[tokio::test]
async fn each_write_has_its_own_key_and_the_floor_follows() {
    let fake = lone(|_| announced(1));
    let client = client(&[&fake.url()]);
    announce(&client).await.unwrap();
    announce(&client).await.unwrap();
    let seen = fake.seen("/announce");
    let (first, second) = (seen[0].key(), seen[1].key());
    assert_eq!(first.split_once(':').unwrap().0, second.split_once(':').unwrap().0);
    assert_ne!(first, second);
    assert_eq!(seen[1].header("idempotency-floor"), second.split_once(':').map(|(_, sequence)| sequence.to_owned()));
}

#[tokio::test]
async fn a_callers_own_key_is_sent_as_it_is_and_without_a_floor() {
    let fake = lone(|_| announced(1));
    announce(&client(&[&fake.url()]).with_key("mine")).await.unwrap();
    let seen = &fake.seen("/announce")[0];
    assert_eq!((seen.key().as_str(), seen.header("idempotency-floor")), ("mine", None));
}

#[tokio::test]
async fn membership_changes_are_sent_once() {
    let fake = lone(|_| Reply::Cut);
    let error = client(&[&fake.url()]).promote(2).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(fake.seen("/cluster/promote").len(), 1);
    assert!(fake.seen("/cluster/promote")[0].header("idempotency-key").is_none());
}

#[tokio::test]
async fn heartbeats_have_no_key_and_are_repeated() {
    let fake = lone(|count| if count == 0 { Reply::Cut } else { ok(json!({"ok": true, "tasks": []})) });
    let heartbeat = HeartbeatRequest {
        peer_id: PeerId::parse("p").unwrap(),
        incarnation: None,
        wait_ms: None,
        free_bytes: None,
        working: None,
        failed: None,
    };
    assert!(client(&[&fake.url()]).heartbeat(&heartbeat).await.unwrap().ok);
    assert!(fake.seen("/heartbeat").iter().all(|seen| seen.header("idempotency-key").is_none()));
}

#[tokio::test]
async fn a_silent_leader_is_left_once_the_others_name_a_newer_one() {
    let addresses: Arc<OnceLock<[String; 2]>> = Arc::default();
    let known = Arc::clone(&addresses);
    let old = Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => ok(leader(1, &known.get().unwrap()[0], 1)),
        _ => Reply::Never,
    });
    let known = Arc::clone(&addresses);
    let asked = AtomicU64::new(0);
    let new = Fake::start(move |seen| match seen.path.as_str() {
        // The election takes place after the client's first question.
        "/leader" if asked.fetch_add(1, Ordering::SeqCst) == 0 => ok(leader(1, &known.get().unwrap()[0], 1)),
        "/leader" => ok(leader(2, &known.get().unwrap()[1], 2)),
        _ => announced(1),
    });
    addresses.set([old.address.to_string(), new.address.to_string()]).unwrap();
    // The deadline ends before the silent attempt would by itself.
    let client = client(&[&old.url(), &new.url()]).with_deadline(Duration::from_millis(5_500));
    assert_eq!(announce(&client).await.unwrap(), 1);
    assert_eq!(old.seen("/announce")[0].key(), new.seen("/announce")[0].key());
}
