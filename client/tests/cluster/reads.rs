//! Reads: the leader first, a follower when it does not answer, and an answer that says which it was (R1–R4).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use client::cluster::{Consistency, Error, Options, ReadOptions, SearchMode};
use client::cluster::{IndexClient, Read};
use raft_store::types::FileName;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen, client, dead_url, leader, no_quorum, ok, problem};

fn empty_from(node: u64, role: &str) -> Reply {
    let headers = vec![
        ("raftshare-node", node.to_string()),
        ("raftshare-role", role.to_owned()),
        ("raftshare-term", "4".into()),
        ("raftshare-applied", "77".into()),
        ("raftshare-staleness-ms", "812".into()),
        ("raftshare-total", "0".into()),
    ];
    Reply::Json(200, json!([]), headers)
}

/// A leader that answers searches by `script`, and a follower that serves stale reads only.
fn pair(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Fake) {
    let address: Arc<OnceLock<String>> = Arc::default();
    let named = |address: &Arc<OnceLock<String>>| {
        let address = Arc::clone(address);
        move || ok(leader(1, address.get().unwrap(), 4))
    };
    let (own, other) = (named(&address), named(&address));
    let first = Fake::start(move |seen| if seen.path == "/leader" { own() } else { script(seen) });
    let second = Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => other(),
        _ if seen.query.contains("consistency=stale") => empty_from(2, "follower"),
        _ => problem(500, "internal", json!({})),
    });
    address.set(first.address.to_string()).unwrap();
    (first, second)
}

async fn search(client: &IndexClient) -> Read<usize> {
    client.search("x y", SearchMode::Fuzzy, 5).await.unwrap().map(|hits| hits.len())
}

#[tokio::test]
async fn the_leaders_answer_is_not_stale() {
    let (first, second) = pair(|_| empty_from(1, "leader"));
    let answer = search(&client(&[&second.url(), &first.url()])).await;
    assert!(!answer.freshness.stale);
    assert_eq!((answer.freshness.node, answer.freshness.applied, answer.total), (Some(1), 77, Some(0)));
    assert_eq!(
        first.seen("/search")[0].query,
        "q=x+y&limit=5",
        "the node's default: the leader's answer, or a stale one at once"
    );
    assert!(second.seen("/search").is_empty());
}

#[tokio::test]
async fn an_answer_from_a_server_that_no_longer_leads_is_marked() {
    let (first, _second) = pair(|_| empty_from(1, "follower"));
    let answer = search(&client(&[&first.url()])).await;
    assert!(answer.freshness.stale, "it led when it was asked who leads, and answered as a follower");
}

#[tokio::test]
async fn a_dead_leaders_reads_are_answered_by_a_follower_and_marked() {
    let (mut first, second) = pair(|_| empty_from(1, "leader"));
    let client = client(&[&first.url(), &second.url()]);
    search(&client).await;
    first.stop();
    let answer = search(&client).await;
    assert!(answer.freshness.stale);
    assert_eq!((answer.freshness.node, answer.freshness.staleness_ms), (Some(2), 812));
    assert_eq!(answer.freshness.role, "follower");
}

#[tokio::test]
async fn a_silent_leaders_reads_are_hedged() {
    let (first, second) = pair(|_| Reply::Never);
    let answer = search(&client(&[&first.url(), &second.url()])).await;
    assert!(answer.freshness.stale);
    assert_eq!(first.seen("/search").len(), 1);
}

#[tokio::test]
async fn a_leader_without_a_majority_is_passed_over_at_once() {
    let (first, second) = pair(|_| no_quorum());
    // The hedging delay is beyond the deadline: only the refusal can have moved the read on.
    let options = Options { hedge_after: Duration::from_secs(60), ..Options::new([first.url(), second.url()]) };
    let answer = search(&IndexClient::new(options).unwrap()).await;
    assert!(answer.freshness.stale);
}

#[tokio::test]
async fn the_last_living_node_answers_even_if_nobody_leads() {
    let fake = Fake::start(|seen| match seen.query.contains("consistency=stale") {
        true => empty_from(3, "candidate"),
        false => no_quorum(),
    });
    let answer = search(&client(&[&dead_url(), &fake.url(), &dead_url()])).await;
    assert!(answer.freshness.stale);
}

#[tokio::test]
async fn strong_reads_never_fall_back() {
    let (first, second) = pair(|_| no_quorum());
    for consistency in [Consistency::Leader, Consistency::Linearizable] {
        let options = ReadOptions { consistency, ..ReadOptions::default() };
        let strong = client(&[&first.url()]).with_reading(options).with_deadline(Duration::from_secs(1));
        let error = strong.search("", SearchMode::Prefix, 5).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{consistency:?}: {error:?}");
    }
    assert!(first.seen("/search").iter().all(|seen| !seen.query.contains("stale")));
    assert!(second.seen("/search").is_empty());
}

#[tokio::test]
async fn a_bound_on_staleness_that_nobody_meets_is_too_stale() {
    let fake = Fake::start(|_| problem(503, "too_stale", json!({})));
    let reading = ReadOptions {
        consistency: Consistency::Stale,
        max_staleness: Some(Duration::from_millis(50)),
        min_index: Some(12),
    };
    let client = client(&[&fake.url()]).with_reading(reading).with_deadline(Duration::from_millis(100));
    let error = client.stats().await.unwrap_err();
    assert!(matches!(error, Error::TooStale(_)), "{error:?}");
    assert_eq!(fake.seen("/stats")[0].query, "consistency=stale&max_staleness_ms=50&min_index=12");
}

#[tokio::test]
async fn own_writes_are_read_back_or_reported_missing() {
    let written = |seen: &Seen| match seen.path.as_str() {
        "/lease/leave" => Reply::Json(204, Value::Null, vec![("raftshare-index", "80".into())]),
        _ => empty_from(1, "leader"),
    };
    let (mut first, second) = pair(written);
    let client = client(&[&first.url(), &second.url()]);
    let leave = serde_json::from_value(json!({"peerId": "p", "fileName": "f"})).unwrap();
    client.leave(&leave).await.unwrap();
    assert_eq!(client.last_index(), 80);
    let strict = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    search(&client.clone().with_reading(strict)).await;
    assert!(first.seen("/search")[0].query.ends_with("min_index=80"));
    first.stop();
    let answer = search(&client).await;
    assert!(answer.freshness.misses_own_writes, "the follower has applied 77 only");
}

/// The word of a node in this role that something does not exist.
fn not_found_by(role: &str) -> Reply {
    let Reply::Json(status, body, mut headers) = problem(404, "not_found", json!({})) else { unreachable!() };
    headers.push(("raftshare-role", role.to_owned()));
    Reply::Json(status, body, headers)
}

/// A follower that was started a moment ago and has nothing applied yet.
fn started_a_moment_ago() -> Fake {
    Fake::start(|seen| if seen.path == "/leader" { no_quorum() } else { not_found_by("follower") })
}

#[tokio::test]
async fn what_one_follower_does_not_know_another_one_may() {
    let (mut first, second) = pair(|_| empty_from(1, "leader"));
    let fresh = started_a_moment_ago();
    for urls in [[first.url(), fresh.url(), second.url()], [first.url(), second.url(), fresh.url()]] {
        let client = client(&[&urls[0], &urls[1], &urls[2]]);
        search(&client).await;
        first.stop();
        let answer = search(&client).await;
        assert_eq!((answer.freshness.node, answer.freshness.stale), (Some(2), true));
    }
    assert!(!fresh.seen("/search").is_empty(), "it was asked before the one who knew");
}

#[tokio::test]
async fn what_nobody_knows_is_not_waited_for() {
    let first = Fake::start(|_| Reply::Never);
    let second = started_a_moment_ago();
    // Far beyond what the test may take: only the answers that came can have ended it.
    let client = client(&[&first.url(), &second.url()]).with_deadline(Duration::from_secs(60));
    let file = FileName::parse("f").unwrap();
    assert!(matches!(client.file(&file).await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn the_leaders_word_that_a_file_does_not_exist_is_final() {
    let (first, second) = pair(|_| not_found_by("leader"));
    let client = client(&[&first.url(), &second.url()]);
    assert!(matches!(client.file(&FileName::parse("f").unwrap()).await, Err(Error::Refused(_))));
    assert!(second.seen("/file").is_empty());
}

#[tokio::test]
async fn nobody_holding_a_lease_is_no_error() {
    let (first, _second) = pair(|_| problem(404, "not_found", json!({})));
    let client = client(&[&first.url()]);
    let file = FileName::parse("f").unwrap();
    assert!(client.lease_status(&file).await.unwrap().is_none());
    assert!(matches!(client.file(&file).await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn only_one_server_is_asked_when_the_caller_says_so() {
    let (first, second) = pair(|_| empty_from(1, "leader"));
    let client = client(&[&first.url()]).only(&second.url()).unwrap();
    assert_eq!(search(&client).await.freshness.node, Some(2));
    assert!(first.seen("/search").is_empty());
}

#[test]
fn server_addresses_are_checked() {
    for good in ["127.0.0.1:8080", "http://h:1", "http://h:1/", "http://h", "http://[::1]:8080"] {
        assert!(IndexClient::new(Options::new([good])).is_ok(), "{good}");
    }
    for bad in ["", "http://", "https://h:1", "::1", "ftp://h:1", "http://h:1/path", "http://h:1/?q"] {
        let error = IndexClient::new(Options::new([bad])).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::BadServer { .. }), "{bad}: {error:?}");
    }
    assert!(IndexClient::connect(" , ").is_err());
}
