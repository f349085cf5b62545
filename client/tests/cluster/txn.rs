//! Transactions: one key for all attempts of one, typed refusals, and what became of it (K2–K5, X1–X3).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::cluster::{Branch, Change, Check, IndexClient, TxnBuilder, TxnError};
use client::contract::SearchQuery;
use raft_store::types::{Comparison, FileName, LeaseToken, PeerId, TxnId};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen, client, no_quorum, ok, problem};

fn name(text: &str) -> FileName {
    FileName::parse(text).unwrap()
}

fn answered() -> Value {
    json!({"ok": true, "branch": "then", "txn": "12.3",
           "names": [{"name": "market/a", "version": null, "attributes": {"stock": 4, "unit": "kg"}}]})
}

/// A server that answers `POST /txn` by `script`, which is told its number.
fn index(script: impl Fn(u64, &Seen) -> Reply + Send + Sync + 'static) -> Fake {
    let count = AtomicU64::new(0);
    Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => no_quorum(), // then any server is asked
        "/txn" => script(count.fetch_add(1, Ordering::SeqCst), seen),
        "/lease/leave" => Reply::Json(204, Value::Null, Vec::new()),
        _ => no_quorum(),
    })
}

fn purchase(client: &IndexClient) -> TxnBuilder {
    let product = name("market/a");
    client
        .txn(&PeerId::parse("buyer").unwrap())
        .require(Check::exists(&product))
        .require(Check::attr(&product, "price", Comparison::LessOrEqual, 120))
        .then(Change::add(&product, "stock", -3).min(0).under(LeaseToken([1; 16])))
        .otherwise(Change::set(&name("log/missed"), "why", "price"))
}

#[tokio::test]
async fn a_transaction_is_sent_as_the_contract_says_and_answered_with_names() {
    let fake = index(|_, _| ok(answered()));
    let answer = purchase(&client(&[&fake.url()])).send().await.unwrap();
    assert_eq!((answer.branch, answer.id), (Branch::Then, TxnId { index: 12, position: 3 }));
    let product = name("market/a");
    assert_eq!((answer.integer(&product, "stock"), answer.integer(&product, "unit")), (Some(4), None));
    assert_eq!(answer.attribute(&name("market/b"), "stock"), None);
    let expected = json!({
        "peerId": "buyer",
        "if": [{"name": "market/a", "exists": true},
               {"name": "market/a", "attr": "price", "is": "<=", "value": 120}],
        "then": [{"add": {"name": "market/a", "attr": "stock", "by": -3, "min": 0,
                          "leaseToken": "01010101010101010101010101010101"}}],
        "else": [{"set": {"name": "log/missed", "attr": "why", "value": "price"}}],
    });
    assert_eq!(fake.seen("/txn")[0].body, expected);
}

#[tokio::test]
async fn all_attempts_of_a_transaction_carry_one_key_and_the_same_bytes() {
    let fake = index(|count, _| match count {
        0 => Reply::Cut,
        1 => problem(503, "outcome_unknown", json!({"applied": "unknown"})),
        _ => ok(answered()),
    });
    purchase(&client(&[&fake.url()])).send().await.unwrap();
    let seen = fake.seen("/txn");
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|attempt| attempt.key() == seen[0].key() && attempt.body == seen[0].body));
}

#[tokio::test]
async fn a_prepared_transaction_is_asked_for_again_under_its_key_and_keeps_its_answer() {
    let unknown = || problem(503, "outcome_unknown", json!({"applied": "unknown"}));
    let fake = index(move |count, _| if count == 0 { unknown() } else { ok(answered()) });
    // No time for a second attempt within the call.
    let client = client(&[&fake.url()]).with_deadline(Duration::from_millis(150));
    let txn = purchase(&client).prepare();
    assert!(matches!(txn.send().await, Err(TxnError::Unknown(_))));
    let other = purchase(&client).send().await.unwrap();
    assert_eq!(txn.send().await.unwrap(), other);
    let seen = fake.seen("/txn");
    let keys: Vec<_> = seen.iter().map(Seen::key).collect();
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "{keys:?}");
    let sequence = keys[0].rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(seen[1].header("idempotency-floor"), Some(sequence), "the first answer may not be dropped yet");
    drop(txn);
    purchase(&client).send().await.unwrap();
    let last = fake.seen("/txn").pop().unwrap();
    assert_eq!(last.header("idempotency-floor").unwrap(), last.key().rsplit_once(':').unwrap().1, "now it may");
}

#[tokio::test]
async fn the_callers_own_key_is_used_for_every_sending() {
    let fake = index(|_, _| ok(answered()));
    let txn = purchase(&client(&[&fake.url()]).with_key("order-7")).prepare();
    txn.send().await.unwrap();
    txn.send().await.unwrap();
    let seen = fake.seen("/txn");
    assert_eq!((seen[0].key(), seen[1].key()), ("order-7".into(), "order-7".into()));
    assert_eq!(seen[0].header("idempotency-floor"), None);
}

#[tokio::test]
async fn refusals_are_typed_and_not_repeated() {
    let refused = json!({"applied": "no", "name": "market/a", "attr": "stock", "value": 2});
    let fake = index(move |_, _| problem(409, "out_of_bounds", refused.clone()));
    match purchase(&client(&[&fake.url()])).send().await {
        Err(TxnError::OutOfBounds { name: refused, attr, value, .. }) => {
            assert_eq!((refused, attr.as_str(), value), (name("market/a"), "stock", Some(2)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fake.seen("/txn").len(), 1);
    let leased = json!({"applied": "no", "holder": "somebody", "name": "market/a"});
    let fake = index(move |_, _| problem(403, "lease_required", leased.clone()));
    match purchase(&client(&[&fake.url()])).send().await {
        Err(TxnError::LeaseRequired { holder, .. }) => assert_eq!(holder, PeerId::parse("somebody").ok()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_anything_is_sent() {
    let fake = index(|_, _| ok(answered()));
    let builder =
        purchase(&client(&[&fake.url()])).then(Change::set(&name("a"), "a key", 1)).then(Change::delete(&name("a")));
    assert!(matches!(builder.send().await, Err(TxnError::Invalid(_))));
    assert!(fake.seen("/txn").is_empty());
}

#[tokio::test]
async fn the_outcome_of_a_transaction_is_looked_up_by_its_id() {
    let fake = index(|_, seen| match seen.query.starts_with("id=12.3") {
        true => ok(answered()),
        false => problem(404, "not_found", json!({})),
    });
    let client = client(&[&fake.url()]);
    let found = client.txn_outcome("12.3".parse().unwrap()).await.unwrap().unwrap().value;
    assert_eq!(found.integer(&name("market/a"), "stock"), Some(4));
    assert!(client.txn_outcome("12.4".parse().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_search_repeats_a_filter_for_each_attribute() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/search" => ok(json!([{"fileName": "market/a", "version": null, "size": null, "hash": null, "score": 1.0,
                                "peers": [], "attributes": {"stock": 4}}])),
        _ => no_quorum(),
    });
    let attr = vec!["stock>=3".to_owned(), "unit=kg".to_owned()];
    let query = SearchQuery { records: Some(true), under: Some("market/".into()), attr, ..SearchQuery::default() };
    let hits = client(&[&fake.url()]).search_with(&query).await.unwrap().value;
    assert_eq!(hits[0].attributes.get("stock").and_then(|stock| stock.as_integer()), Some(4));
    let sent = fake.seen("/search").pop().unwrap().query;
    for part in ["records=true", "under=market%2F", "attr=stock%3E%3D3", "attr=unit%3Dkg"] {
        assert!(sent.split('&').any(|pair| pair == part), "{part} in {sent}");
    }
}
