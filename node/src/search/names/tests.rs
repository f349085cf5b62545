//! The name index by itself, and searches of whole nodes in this process whose index is held back (R1, R2, R3).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;

use futures::FutureExt;
use raft_store::storage::Storage;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::config::{Bootstrap, Config, MemberSpec};
use crate::node::Node;
use crate::start::{Environment, open_options, run_on};
use crate::sys::clock::Monotonic;
use crate::sys::net::SystemNet;

fn published(number: FileNumber, name: &str) -> Event {
    Event::FilePublished {
        file: FileName::parse(name).expect("a valid name"),
        number,
        version: 1,
        hash: raft_store::types::ContentHash([0; 32]),
        peer: raft_store::types::PeerId::parse("p").expect("a valid id"),
        fencing_token: 0,
    }
}

/// An index that is loaded up to `upto`.
fn loaded(upto: u64) -> Names {
    let names = Names::default();
    names.begin(upto);
    names.held.write().load = Load::Settling { upto };
    names.follow(upto, &[]);
    names
}

fn found(names: &Names, q: &str) -> (usize, u64) {
    let opened = names.open(q, Mode::Substring).expect("loaded");
    (opened.finish(10, |_| true).total, opened.followed)
}

fn deleted(number: FileNumber, name: &str) -> Event {
    Event::FileDeleted {
        file: FileName::parse(name).expect("a valid name"),
        number,
        version: 2,
        peer: raft_store::types::PeerId::parse("p").expect("a valid id"),
    }
}

fn attributes_changed(number: FileNumber, name: &str, is_left: bool) -> Event {
    Event::AttributesChanged {
        file: FileName::parse(name).expect("a valid name"),
        number,
        peer: raft_store::types::PeerId::parse("p").expect("a valid id"),
        txn: raft_store::types::TxnId { index: 1, position: 0 },
        changed: raft_store::types::Attributes::new(),
        removed: Vec::new(),
        is_left,
    }
}

#[test]
fn a_name_is_in_the_index_while_it_has_a_version_or_an_attribute() {
    let names = loaded(1);
    let steps = [
        (attributes_changed(3, "doc", true), 1),
        (published(3, "doc"), 1),
        (attributes_changed(3, "doc", false), 1),
        (attributes_changed(3, "doc", true), 1),
        (deleted(3, "doc"), 1),
        (attributes_changed(3, "doc", false), 0),
        // Another name takes the number of a record that ended.
        (attributes_changed(4, "doc", true), 1),
        (attributes_changed(4, "doc", false), 0),
        (published(4, "other"), 0),
    ];
    for (log_index, (event, total)) in (2..).zip(steps) {
        let what = format!("{event:?}");
        names.follow(log_index, &[event]);
        assert_eq!(found(&names, "doc"), (total, log_index), "{what}");
    }
    assert_eq!(found(&names, "other").0, 1);
}

#[tokio::test]
async fn searches_wait_their_turn_and_no_more_than_a_limit_of_them() {
    let names = Names::default();
    let mut running = Vec::new();
    while names.running.available_permits() > 0 {
        running.push(names.turn().await.expect("a free turn"));
    }
    let waiting = names.turn();
    futures::pin_mut!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    running.pop();
    assert!(waiting.await.is_some());
    names.waiting.forget_permits(SEARCHES_WAITING_MAX);
    assert!(names.turn().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_index_that_loads_answers_nothing_and_has_no_position() {
    let names = Names::default();
    assert!(names.open("", Mode::Fuzzy).is_err());
    assert!(matches!(names.reach(0, Duration::from_secs(2)).await, Err(NotYet::Loading(_))));
    let names = loaded(7);
    assert_eq!((names.reach(7, Duration::ZERO).await, names.loading()), (Ok(()), None));
    assert_eq!(names.reach(8, Duration::from_secs(2)).await, Err(NotYet::At(7)));
    // A snapshot took the catalog's place.
    names.begin(20);
    assert!(names.loading().is_some() && names.open("", Mode::Fuzzy).is_err());
    assert!(matches!(names.reach(20, Duration::from_secs(2)).await, Err(NotYet::Loading(_))));
}

#[tokio::test]
async fn an_index_is_loaded_once_the_events_reach_what_was_loaded() {
    let names = Names::default();
    names.begin(3);
    // The last step looked at a state that was further than the events.
    names.held.write().load = Load::Settling { upto: 5 };
    names.follow(4, &[published(0, "a")]);
    assert!(names.loading().is_some() && names.reach(4, Duration::ZERO).await.is_err());
    names.follow(5, &[]);
    assert_eq!((found(&names, "a"), names.reach(5, Duration::ZERO).await), ((1, 5), Ok(())));
}

#[tokio::test]
async fn an_entry_that_changes_no_name_moves_the_position_and_nothing_moves_it_back() {
    let names = loaded(1);
    names.follow(2, &[published(0, "a")]);
    names.follow(3, &[]);
    assert_eq!(found(&names, "a"), (1, 3));
    names.follow(2, &[]);
    assert_eq!(names.followed(), 3);
    assert_eq!(names.reach(3, Duration::ZERO).await, Ok(()));
}

#[tokio::test]
async fn names_get_in_while_a_search_is_open() {
    let names = loaded(1);
    names.follow(2, &[published(0, "a")]);
    let opened = names.open("", Mode::Fuzzy).expect("loaded");
    // It would never return if a search kept the lock.
    names.follow(3, &[published(1, "b")]);
    assert_eq!((opened.finish(10, |_| true).total, opened.followed), (1, 2));
    assert_eq!(found(&names, ""), (2, 3));
}

/// A node in this process.
struct Running {
    node: Arc<Node>,
    address: String,
    http: reqwest::Client,
    _stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(id: u64, listener: TcpListener, members: Vec<MemberSpec>, data: &Path) -> Self {
        let bound = listener.local_addr().expect("a bound address");
        let config = config(id, bound, members, data);
        let storage = Storage::open(data, &open_options(&config)).expect("a fresh directory opens");
        let net = Arc::new(SystemNet::new().expect("a network"));
        let environment = Environment { listener, bound, net, storage, clock: Monotonic::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, node) = oneshot::channel();
        tokio::spawn(async move {
            let running = run_on(environment, config, |node| drop(started.send(node.clone())), stopped.map(drop));
            running.await.expect("the node runs until it is stopped");
        });
        let node = node.await.expect("the node starts");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { node, address: bound.to_string(), http, _stop: stop }
    }

    async fn ready(&self) {
        while self.get("/readyz").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    }

    /// Status, applied index and body.
    async fn get(&self, path: &str) -> (u16, u64, Value) {
        let answer = self.http.get(format!("http://{}{path}", self.address)).send().await.expect("an answer");
        let applied = answer.headers().get("raftshare-applied").and_then(|value| value.to_str().ok()?.parse().ok());
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole answer");
        (status, applied.unwrap_or(0), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The log index of the write.
    async fn post(&self, path: &str, body: Value) -> u64 {
        let request = self.http.post(format!("http://{}{path}", self.address)).body(body.to_string());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let index = answer.headers().get("raftshare-index").and_then(|value| value.to_str().ok()?.parse().ok());
        index.expect("a write names its index")
    }

    async fn register(&self) {
        self.post("/register", json!({"peerId": "p", "address": "http://127.0.0.1:1", "files": []})).await;
    }

    async fn announce(&self, name: &str) -> u64 {
        let file = json!({"name": name, "size": 1, "hash": "ab".repeat(32)});
        self.post("/announce", json!({"peerId": "p", "file": file})).await
    }

    /// Keeps the name index from following until what this returns is dropped.
    #[expect(clippy::disallowed_methods, reason = "holds one message")]
    async fn hold(&self) -> impl Drop + use<> {
        let (release, released) = mpsc::channel::<()>();
        let (held, holds) = oneshot::channel();
        let node = self.node.clone();
        std::thread::spawn(move || {
            let _guard = node.names.held.write();
            let _ = held.send(());
            let _ = released.recv();
        });
        holds.await.expect("it is held");
        Hold(release)
    }
}

struct Hold(mpsc::Sender<()>);

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn config(id: u64, listen: SocketAddr, members: Vec<MemberSpec>, data: &Path) -> Config {
    Config {
        id,
        listen,
        advertise: None,
        data: data.to_owned(),
        bootstrap: Bootstrap::Found { members },
        replicas: 2,
        lease_ttl: Duration::from_secs(60),
        peer_ttl: Duration::from_secs(45),
        grace: Duration::from_secs(1),
        heartbeat: Duration::from_millis(100),
        election: (Duration::from_millis(300), Duration::from_millis(600)),
        snapshot_every: None,
        reject_writes_on_followers: false,
        insecure: true,
    }
}

async fn cluster(count: u64) -> (Vec<Running>, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    }
    let member = |(id, listener): (u64, &TcpListener)| MemberSpec {
        id,
        address: listener.local_addr().expect("a bound address").to_string(),
    };
    let members: Vec<_> = (1..).zip(&listeners).map(member).collect();
    let mut nodes = Vec::new();
    for (id, listener) in (1..).zip(listeners) {
        nodes.push(Running::start(id, listener, members.clone(), &directory.path().join(id.to_string())).await);
    }
    for node in &nodes {
        node.ready().await;
    }
    (nodes, directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_search_waits_until_the_index_has_the_write_that_was_acknowledged_before_it() {
    let (nodes, _directory) = cluster(1).await;
    let node = &nodes[0];
    node.register().await;
    let levels = ["", "&consistency=leader", "&consistency=linearizable", "&consistency=stale&min_index=INDEX"];
    for (n, level) in levels.into_iter().enumerate() {
        let hold = node.hold().await;
        let index = node.announce(&format!("held-{n}.txt")).await;
        let path = format!("/search?mode=prefix&q=held-{n}{}", level.replace("INDEX", &index.to_string()));
        let search = node.get(&path);
        futures::pin_mut!(search);
        while node.node.names.reached.receiver_count() == 0 {
            assert!(
                futures::poll!(search.as_mut()).is_pending(),
                "{level}: answered before the index could know (R1, R3)"
            );
            tokio::task::yield_now().await;
        }
        drop(hold);
        let (status, applied, hits) = search.await;
        assert_eq!((status, &hits[0]["fileName"]), (200, &json!(format!("held-{n}.txt"))), "{level}");
        assert!(applied >= index, "{level}: position {applied} of the write at {index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_node_that_loads_says_so_and_asks_the_leader_where_it_may() {
    let (nodes, _directory) = cluster(3).await;
    let leads = nodes.iter().position(|node| node.node.leads()).expect("one leads");
    let (leader, loading) = (&nodes[leads], &nodes[(leads + 1) % 3]);
    leader.register().await;
    let index = leader.announce("a.txt").await;
    // It lacks events that never come, so that it does not finish.
    {
        let mut held = loading.node.names.held.write();
        held.load = Load::Settling { upto: u64::MAX };
        loading.node.names.reached.send_replace(None);
    }
    for level in ["stale", "linearizable"] {
        let (status, _, problem) = loading.get(&format!("/search?q=a&consistency={level}")).await;
        assert_eq!((status, &problem["code"]), (503, &json!("loading")), "{level}: {problem}");
        assert!(problem["progress"].as_f64().is_some_and(|progress| (0.0..1.0).contains(&progress)), "{problem}");
    }
    let (status, _, hits) = loading.get("/search?q=a").await;
    assert_eq!((status, &hits[0]["fileName"]), (200, &json!("a.txt")), "the leader answers a search without a level");
    let (status, _, problem) = loading.get("/readyz").await;
    assert_eq!((status, &problem["code"]), (503, &json!("loading")), "{problem}");
    let file = format!("/file?name=a.txt&consistency=stale&min_index={index}");
    assert_eq!(loading.get(&file).await.0, 200, "other reads go on");
    let (_, _, seen) = leader.get("/cluster").await;
    let loads = |member: &&Value| member["loading"].as_f64().is_some();
    let loaders: Vec<_> = seen["nodes"].as_array().into_iter().flatten().filter(loads).collect();
    assert_eq!(loaders.len(), 1, "{seen}");
    assert_eq!(loaders[0]["id"], json!(loading.node.config.id));
    // Loading anew ends, and what was there before is there still.
    loading.node.names.begin(loading.node.names.followed());
    loading.ready().await;
    let (status, applied, hits) = loading.get(&format!("/search?q=a&consistency=stale&min_index={index}")).await;
    assert_eq!((status, &hits[0]["fileName"]), (200, &json!("a.txt")));
    assert!(applied >= index);
}
