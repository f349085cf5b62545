//! Leases: waiting in line under one key, renewal in the background, and knowing when a lease is lost (L5, L7).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::cluster::{Error, IndexClient, LeaseAnswer, LeaseGuard};
use client::contract::LeaseRequest;
use raft_store::types::{FileName, PeerId};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, client, denied, grant, no_quorum, ok, problem};

fn request(ttl_ms: u64) -> LeaseRequest {
    LeaseRequest {
        peer_id: PeerId::parse("p").unwrap(),
        file_name: FileName::parse("a.txt").unwrap(),
        ttl_ms: Some(ttl_ms),
        wait: None,
        wait_ms: None,
    }
}

/// A server that grants leases of `ttl_ms` and answers renewals by `renewal`, which is told their number.
fn granting(ttl_ms: u64, renewal: impl Fn(u64) -> Reply + Send + Sync + 'static) -> Fake {
    let renewals = AtomicU64::new(0);
    Fake::start(move |seen| match seen.path.as_str() {
        "/lease" => ok(grant(ttl_ms, 6)),
        "/lease/renew" => renewal(renewals.fetch_add(1, Ordering::SeqCst)),
        "/lease/release" => Reply::Json(204, Value::Null, Vec::new()),
        _ => no_quorum(),
    })
}

async fn guard(client: &IndexClient, ttl_ms: u64) -> LeaseGuard {
    let request = request(ttl_ms);
    match client.acquire(&request).await.unwrap() {
        LeaseAnswer::Granted(grant) => LeaseGuard::start(client, request.peer_id, request.file_name, &grant),
        LeaseAnswer::Denied(denied) => panic!("{denied:?}"),
    }
}

#[tokio::test]
async fn a_wait_is_one_operation_under_one_key() {
    let polls = AtomicU64::new(0);
    let fake = Fake::start(move |seen| match seen.path.as_str() {
        "/lease" => match polls.fetch_add(1, Ordering::SeqCst) {
            0 => ok(denied(Some(2))),
            1 => Reply::Cut,
            2 => ok(denied(Some(1))),
            _ => ok(grant(60_000, 6)),
        },
        _ => no_quorum(),
    });
    let mut positions = Vec::new();
    let answer = client(&[&fake.url()])
        .acquire_waiting(&request(60_000), None, |denied| positions.push(denied.position))
        .await
        .unwrap();
    assert!(matches!(answer, LeaseAnswer::Granted(grant) if grant.response.fencing_token == 6));
    assert_eq!(positions, [Some(2), Some(1)]);
    let seen = fake.seen("/lease");
    assert!(seen.iter().all(|poll| poll.key() == seen[0].key() && poll.body == seen[0].body));
    assert_eq!(seen[0].body["wait"], json!(true));
}

#[tokio::test]
async fn impatience_gives_the_place_up() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/lease" => ok(denied(Some(1))),
        "/lease/leave" => Reply::Json(204, Value::Null, Vec::new()),
        _ => no_quorum(),
    });
    let patience = Some(Duration::from_millis(10));
    let answer = client(&[&fake.url()]).acquire_waiting(&request(60_000), patience, |_| {}).await.unwrap();
    assert!(matches!(answer, LeaseAnswer::Denied(denied) if denied.position == Some(1)));
    let (poll, leave) = (&fake.seen("/lease")[0], &fake.seen("/lease/leave")[0]);
    assert_ne!(poll.key(), leave.key());
    assert_eq!(leave.body, json!({"peerId": "p", "fileName": "a.txt"}));
}

#[tokio::test]
async fn a_poll_that_fails_from_within_the_line_leaves_the_outcome_open() {
    for leave_fails in [false, true] {
        let polls = AtomicU64::new(0);
        let fake = Fake::start(move |seen| match seen.path.as_str() {
            "/lease" if polls.fetch_add(1, Ordering::SeqCst) == 0 => ok(denied(Some(2))),
            _ => no_quorum(),
        });
        let impatient = leave_fails.then_some(Duration::ZERO);
        let client = client(&[&fake.url()]).with_deadline(Duration::from_millis(200));
        let error = client.acquire_waiting(&request(60_000), impatient, |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "the place in line may still come to a grant: {error}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test")]
async fn a_guard_renews_until_it_is_released() {
    let (renewed, mut renewals) = tokio::sync::mpsc::unbounded_channel();
    let fake = granting(300, move |count| {
        let _ = renewed.send(count);
        ok(grant(300, 6))
    });
    let client = client(&[&fake.url()]);
    let guard = guard(&client, 300).await;
    for expected in 0..5 {
        assert_eq!(renewals.recv().await, Some(expected), "five renewals outlive the first grant");
    }
    assert!(guard.is_safe());
    guard.release().await.unwrap();
    assert_eq!(fake.seen("/lease/release").len(), 1);
    let keys: std::collections::BTreeSet<_> = fake.seen("/lease/renew").iter().map(|seen| seen.key()).collect();
    assert_eq!(keys.len(), fake.seen("/lease/renew").len(), "each renewal is an operation of its own");
}

#[tokio::test]
async fn a_refused_renewal_loses_the_lease_at_once() {
    let fake = granting(900, |_| problem(403, "lease_expired", json!({"applied": "no"})));
    let guard = guard(&client(&[&fake.url()]), 900).await;
    assert!(guard.is_safe());
    guard.lost().await;
    assert!(!guard.is_safe());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(fake.seen("/lease/renew").len(), 1);
}

#[tokio::test]
async fn failed_renewals_are_repeated_until_the_margin_and_then_the_lease_counts_as_lost() {
    let fake = granting(600, |_| no_quorum());
    let guard = guard(&client(&[&fake.url()]), 600).await;
    guard.lost().await;
    assert!(!guard.is_safe());
    assert!(fake.seen("/lease/renew").len() > 1);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test")]
async fn a_renewal_that_succeeds_after_failures_saves_the_lease() {
    let (renewed, mut renewals) = tokio::sync::mpsc::unbounded_channel();
    let fake = granting(3_000, move |count| {
        let _ = renewed.send(count);
        if count < 3 { no_quorum() } else { ok(grant(3_000, 6)) }
    });
    let guard = guard(&client(&[&fake.url()]), 3_000).await;
    while renewals.recv().await != Some(4) {}
    assert!(guard.is_safe());
    guard.forget();
}
