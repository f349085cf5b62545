//! Which servers a client asks: a dead one costs one delay, one that is back is found, names and members are looked up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::cluster::{Consistency, IndexClient, Options, ReadOptions, Resolver, SearchMode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen, leader, no_quorum, ok};

/// The hedging delay of these tests.
const HEDGE: Duration = Duration::from_secs(1);
/// Longest wait for something that is certain to come.
const PATIENCE: Duration = Duration::from_secs(20);

fn stale(client: &IndexClient) -> IndexClient {
    client.with_reading(ReadOptions { consistency: Consistency::Stale, ..ReadOptions::default() })
}

fn connect(servers: &[String]) -> IndexClient {
    IndexClient::new(Options { hedge_after: HEDGE, ..Options::new(servers.iter().cloned()) }).unwrap()
}

async fn search(client: &IndexClient) {
    client.search("", SearchMode::Prefix, 5).await.unwrap();
}

/// Answers searches, and everything else as a node without a majority does.
fn answering(seen: &Seen) -> Reply {
    if seen.path == "/search" { ok(json!([])) } else { no_quorum() }
}

/// A server that says nothing at all while the switch is off.
fn switched(on: bool) -> (Fake, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(on));
    let is_on = Arc::clone(&switch);
    let fake = Fake::start(move |seen| if is_on.load(Ordering::SeqCst) { answering(seen) } else { Reply::Never });
    (fake, switch)
}

#[tokio::test]
async fn a_dead_node_costs_one_delay_and_not_one_for_each_read() {
    let ((dead, _), alive) = (switched(false), Fake::start(answering));
    let client = stale(&connect(&[dead.url(), alive.url()]));
    for _ in 0..30 {
        search(&client).await;
    }
    assert_eq!(alive.seen("/search").len(), 30);
    assert_eq!(dead.seen("/search").len(), 1, "the others go elsewhere at once");
}

#[tokio::test]
async fn a_node_that_is_back_is_found_by_a_probe_and_no_request_pays_for_it() {
    let ((away, switch), alive) = (switched(false), Fake::start(answering));
    let client = stale(&connect(&[away.url(), alive.url()]));
    for _ in 0..5 {
        search(&client).await;
    }
    let before = away.seen("/search").len();
    switch.store(true, Ordering::SeqCst);
    let started = std::time::Instant::now();
    while away.seen("/search").len() == before {
        assert!(started.elapsed() < PATIENCE, "it is not found again");
        search(&client).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!away.seen("/leader").is_empty(), "a probe asked it first");
}

#[tokio::test]
async fn with_every_node_dead_all_are_asked_until_one_is_back() {
    let ((first, switch), (second, _)) = (switched(false), switched(false));
    let client = stale(&connect(&[first.url(), second.url()])).with_deadline(PATIENCE);
    let reading = tokio::spawn(async move { client.search("", SearchMode::Prefix, 5).await });
    while first.seen("/search").is_empty() || second.seen("/search").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    switch.store(true, Ordering::SeqCst);
    reading.await.unwrap().unwrap();
}

/// A resolver that knows one name.
fn knows(name: &str, addresses: &Arc<Mutex<Vec<SocketAddr>>>) -> Resolver {
    let (name, addresses) = (name.to_owned(), Arc::clone(addresses));
    Resolver::new(move |asked| {
        let found = if asked == name { Ok(addresses.lock().clone()) } else { Err(std::io::Error::other("unknown")) };
        Box::pin(async move { found })
    })
}

#[tokio::test]
async fn a_name_with_several_addresses_is_as_many_servers() {
    let (mut first, second) = (Fake::start(answering), Fake::start(answering));
    let addresses = Arc::new(Mutex::new(vec![first.address, second.address]));
    let resolver = knows("index.test:80", &addresses);
    let options = Options { hedge_after: HEDGE, resolver, ..Options::new(["http://index.test"]) };
    let client = stale(&IndexClient::new(options).unwrap());
    for _ in 0..4 {
        search(&client).await;
    }
    assert_eq!((first.seen("/search").len(), second.seen("/search").len()), (2, 2));
    assert_eq!(first.seen("/search")[0].header("host").as_deref(), Some("index.test:80"));
    first.stop();
    for _ in 0..4 {
        search(&client).await;
    }
    assert_eq!(second.seen("/search").len(), 6);
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_reported_by_the_request() {
    let resolver = knows("other.test:80", &Arc::default());
    let options = Options { resolver, ..Options::new(["http://index.invalid"]) };
    let client = IndexClient::new(options).unwrap().with_deadline(Duration::from_millis(200));
    let error = client.search("", SearchMode::Prefix, 5).await.unwrap_err().to_string();
    assert!(error.contains("http://index.invalid:80"), "{error}");
}

pub fn cluster_of(addresses: &[SocketAddr]) -> Value {
    let node = |(id, address): (u64, &SocketAddr)| {
        json!({"id": id, "address": address.to_string(), "role": "follower", "lastContactMs": 5, "appliedIndex": 9,
               "lag": 0, "alive": true, "version": "0.1.0"})
    };
    let nodes: Vec<_> = (1..).zip(addresses).map(node).collect();
    json!({"clusterId": "c", "leader": 1, "term": 3, "nodes": nodes, "quorum": {"size": 2, "healthy": 2}})
}

#[tokio::test]
async fn any_server_names_the_members_and_they_are_used_when_it_is_gone() {
    let other = Fake::start(answering);
    let address = other.address;
    let mut first = Fake::start(move |seen| match seen.path.as_str() {
        "/cluster" => ok(cluster_of(&[address])),
        _ => answering(seen),
    });
    let client = connect(&[first.url()]);
    assert_eq!(client.known_servers(), [first.url()]);
    assert_eq!(client.discover().await.unwrap(), [first.url(), other.url()]);
    first.stop();
    search(&stale(&client)).await;
    assert_eq!(other.seen("/search").len(), 1);
    let alone = IndexClient::new(Options::new([first.url()])).unwrap();
    assert!(alone.discover().await.is_err(), "nobody answers");
}

#[tokio::test]
async fn a_client_that_discovers_learns_the_members_by_itself() {
    let other = Fake::start(answering);
    let address = other.address;
    let first = Fake::start(move |seen| match seen.path.as_str() {
        "/cluster" => ok(cluster_of(&[address])),
        _ => answering(seen),
    });
    let client = IndexClient::new(Options { discover: true, ..Options::new([first.url()]) }).unwrap();
    let started = std::time::Instant::now();
    while client.known_servers().len() < 2 {
        assert!(started.elapsed() < PATIENCE, "{:?}", client.known_servers());
        search(&stale(&client)).await;
    }
    for _ in 0..10 {
        search(&stale(&client)).await;
    }
    assert_eq!(first.seen("/cluster").len() + other.seen("/cluster").len(), 1, "once in a while, not for each read");
}

#[tokio::test]
async fn the_leader_of_a_newer_term_is_written_to_although_it_was_away() {
    let term = Arc::new(Mutex::new(1_u64));
    let ((leading, switch), known) = (switched(true), Arc::clone(&term));
    let address = leading.address.to_string();
    let follower = Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => ok(leader(1, &address, *known.lock())),
        _ => no_quorum(),
    });
    let client = connect(&[follower.url(), leading.url()]).with_deadline(Duration::from_secs(1));
    let leave = serde_json::from_value(json!({"peerId": "p", "fileName": "f"})).unwrap();
    switch.store(false, Ordering::SeqCst);
    assert!(client.leave(&leave).await.is_err(), "it is silent");
    let before = leading.seen("/lease/leave").len();
    switch.store(true, Ordering::SeqCst);
    *term.lock() = 2;
    assert!(client.leave(&leave).await.is_err(), "it has no majority, and says so");
    assert!(leading.seen("/lease/leave").len() > before, "it was asked in spite of its pause");
}
