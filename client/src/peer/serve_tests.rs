//! A serving peer against a small index of the test's own, over real HTTP.
#![expect(clippy::disallowed_methods, reason = "a test may wait")]

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use raft_store::types::{ContentHash, FileName, Version};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::*;
use crate::files::hash_bytes;

/// Longest wait for something that is certain to come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Index {
    files: BTreeMap<String, Vec<String>>,
    holdings: BTreeSet<(String, String)>,
    incarnation: u64,
    tasks: Vec<Value>,
    failed: Vec<Value>,
    working: Vec<Value>,
    bodies: Vec<(&'static str, Value)>,
    heartbeat: Option<Value>,
}

type Shared = Arc<Mutex<Index>>;

impl Index {
    /// F3, F4, F6 without leases: the current version, or what the refusal says.
    fn announce(&mut self, file: &Value) -> Result<u64, Value> {
        let (name, hash) = (file["name"].as_str().expect("a name"), file["hash"].as_str().expect("a hash"));
        let hashes = self.files.entry(name.to_owned()).or_insert_with(|| vec![hash.to_owned()]);
        match hashes.iter().rposition(|known| known == hash) {
            Some(position) => {
                self.holdings.insert((name.to_owned(), hash.to_owned()));
                self.tasks.retain(|task| task["file"] != name || task["hash"] != hash);
                Ok(position as u64 + 1)
            }
            None => Err(json!({"name": name, "currentVersion": hashes.len(), "hash": hashes.last()})),
        }
    }
}

async fn register(State(index): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let mut index = index.lock();
    index.incarnation += 1;
    let incarnation = index.incarnation;
    let mut conflicts = Vec::new();
    let listing = if body["digest"].is_string() {
        let names: Vec<_> =
            index.holdings.iter().map(|(name, _)| FileName::parse(name.clone()).expect("valid")).collect();
        let hashes: Vec<_> = index.holdings.iter().map(|(_, hash)| ContentHash::parse(hash).expect("valid")).collect();
        let digest = crate::peer::digest(names.iter().zip(&hashes)).to_string();
        if body["digest"] == digest { "unchanged" } else { "wanted" }
    } else {
        index.holdings.clear();
        for file in body["files"].as_array().cloned().unwrap_or_default() {
            conflicts.extend(index.announce(&file).err());
        }
        "accepted"
    };
    index.bodies.push(("register", body));
    Json(json!({"ok": true, "incarnation": incarnation, "tasks": [], "listing": listing, "conflicts": conflicts}))
}

async fn announce(State(index): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut index = index.lock();
    index.bodies.push(("announce", body.clone()));
    if let Some(files) = body["files"].as_array() {
        let results: Vec<_> = files
            .iter()
            .map(|file| match index.announce(file) {
                Ok(version) => json!({"name": file["name"], "ok": true, "version": version}),
                Err(refusal) => {
                    let version = &refusal["currentVersion"];
                    json!({"name": file["name"], "ok": false, "code": "hash_conflict", "currentVersion": version})
                }
            })
            .collect();
        return Json(json!({"ok": true, "results": results, "tasks": []})).into_response();
    }
    match index.announce(&body["file"]) {
        Ok(version) => Json(json!({"ok": true, "version": version, "tasks": []})).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn delete(State(index): State<Shared>, Json(body): Json<Value>) -> StatusCode {
    let mut index = index.lock();
    index.holdings.retain(|(name, _)| body["fileName"] != *name);
    index.tasks.retain(|task| task["file"] != body["fileName"] || task["type"] != "REMOVE");
    index.bodies.push(("delete", body));
    StatusCode::NO_CONTENT
}

async fn heartbeat(State(index): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let wait = Duration::from_millis(body["waitMs"].as_u64().unwrap_or(0));
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        {
            let mut index = index.lock();
            index.failed.extend(body["failed"].as_array().cloned().unwrap_or_default());
            index.working.extend(body["working"].as_array().cloned().unwrap_or_default());
            if let Some(answer) = index.heartbeat.clone().or_else(|| {
                let known = body["incarnation"] == index.incarnation;
                (!known).then(|| json!({"ok": false, "tasks": []}))
            }) {
                return Json(answer);
            }
            let failed = index.failed.clone();
            index.tasks.retain(|task| !failed.iter().any(|failed| failed["id"] == task["id"]));
            let working = body["working"].as_array().cloned().unwrap_or_default();
            let news: Vec<_> = index.tasks.iter().filter(|task| !working.contains(&task["id"])).cloned().collect();
            if !news.is_empty() || tokio::time::Instant::now() >= deadline {
                return Json(json!({"ok": true, "tasks": news}));
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Running {
    index: Shared,
    dir: tempfile::TempDir,
    url: String,
    peer_url: String,
    events: Receiver<PeerEvent>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

async fn start_index() -> (Shared, String) {
    let index = Shared::default();
    let app = axum::Router::new()
        .route("/register", post(register))
        .route("/announce", post(announce))
        .route("/delete", post(delete))
        .route("/heartbeat", post(heartbeat))
        .with_state(Arc::clone(&index));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    (index, url)
}

async fn start(prepare: impl FnOnce(&std::path::Path, &mut Index)) -> Running {
    let dir = tempfile::tempdir().expect("temp dir");
    let (index, url) = start_index().await;
    prepare(dir.path(), &mut index.lock());
    start_on(index, url, dir).await
}

async fn start_on(index: Shared, url: String, dir: tempfile::TempDir) -> Running {
    let (shutdown, (events, receiver)) = (CancellationToken::new(), Events::channel());
    let peer = Peer::bind(config(&url, dir.path())).await.expect("binds");
    let peer_url = peer.address().to_owned();
    let task = tokio::spawn(peer.run(shutdown.clone(), events));
    let mut running = Running { index, dir, url, peer_url, events: receiver, shutdown, task };
    running.until(|event| matches!(event, PeerEvent::Registered { .. })).await;
    running
}

fn config(url: &str, dir: &std::path::Path) -> ServeConfig {
    let client = IndexClient::connect(url).expect("a good address");
    let rescan = Duration::from_millis(50);
    ServeConfig { rescan, ..ServeConfig::new(client, dir, "127.0.0.1:0") }
}

impl Running {
    async fn until(&mut self, wanted: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        let find = async {
            loop {
                let event = self.events.recv().await.expect("the peer serves");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("the event comes")
    }

    async fn stop(self) -> (Shared, String, tempfile::TempDir) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it ends");
        ended.expect("no panic").expect("a clean end");
        (self.index, self.url, self.dir)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("write");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("readable")
    }

    fn give(&self, kind: &str, name: &str, version: Version, text: &str, source: &str) {
        let hash = (kind != "REMOVE").then(|| hash_bytes(text.as_bytes()).to_string());
        let mut index = self.index.lock();
        if let Some(hash) = &hash {
            let hashes = index.files.entry(name.to_owned()).or_default();
            if hashes.len() < version as usize {
                hashes.push(hash.clone());
            }
        }
        let id = format!("t{}", rand::random::<u32>());
        let sources = if source.is_empty() { vec![] } else { vec![source] };
        index.tasks.push(json!({
            "id": id, "type": kind, "file": name, "version": version, "size": text.len(), "hash": hash,
            "fencingToken": version, "source": source, "sources": sources,
        }));
    }

    fn bodies(&self, path: &str) -> Vec<Value> {
        self.index.lock().bodies.iter().filter(|(at, _)| *at == path).map(|(_, body)| body.clone()).collect()
    }

    fn holds(&self, name: &str, text: &str) -> bool {
        self.index.lock().holdings.contains(&(name.to_owned(), hash_bytes(text.as_bytes()).to_string()))
    }
}

fn done(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::TaskDone { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_is_shared_and_a_second_start_sends_a_digest() {
    let running = start(|dir, _| {
        std::fs::create_dir(dir.join("d")).expect("folder");
        std::fs::write(dir.join("d/a.txt"), "a").expect("write");
        std::fs::write(dir.join("b.txt"), "b").expect("write");
    })
    .await;
    assert!(running.holds("d/a.txt", "a") && running.holds("b.txt", "b"));
    let got = reqwest::get(format!("{}/files/d/a.txt?version=1", running.peer_url)).await.expect("answers");
    assert_eq!(got.text().await.expect("body"), "a");
    let (index, url, dir) = running.stop().await;
    let again = start_on(index, url, dir).await;
    let registrations = again.bodies("register");
    assert_eq!(registrations.len(), 2);
    assert_eq!(
        (registrations[0]["files"].as_array().map(Vec::len), &registrations[1]["files"]),
        (Some(2), &Value::Null)
    );
    assert_eq!(
        (registrations[1]["count"].as_u64(), registrations[0]["peerId"] == registrations[1]["peerId"]),
        (Some(2), true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_fetched_announced_and_served_on() {
    let source = start(|dir, _| std::fs::write(dir.join("f"), "one").expect("write")).await;
    let mut running = start(|_, _| {}).await;
    running.give("REPLICATE", "f", 1, "one", &source.peer_url);
    running.until(done).await;
    assert!(running.holds("f", "one"));
    assert_eq!(running.read("f"), "one");
    let got = reqwest::get(format!("{}/files/f", running.peer_url)).await.expect("answers");
    assert_eq!(got.text().await.expect("body"), "one");
    running.give("REMOVE", "f", 2, "", "");
    running.until(done).await;
    assert!(!running.dir.path().join("f").exists() && !running.holds("f", "one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_is_reported_with_its_code() {
    let mut running = start(|_, _| {}).await;
    running.give("REPLICATE", "f", 1, "one", "http://127.0.0.1:1");
    let event = running.until(|event| matches!(event, PeerEvent::TaskFailed { .. })).await;
    assert!(matches!(event, PeerEvent::TaskFailed { code, .. } if code == "unreachable"));
    let heard = async {
        while running.index.lock().failed.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the index hears of it");
    assert_eq!(running.index.lock().failed[0]["code"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_changes_are_announced_withdrawn_or_reported() {
    let mut running = start(|dir, _| std::fs::write(dir.join("f"), "one").expect("write")).await;
    running.write("new", "fresh");
    running.until(|event| matches!(event, PeerEvent::FileAnnounced { file, .. } if file.as_str() == "new")).await;
    assert!(running.holds("new", "fresh"));
    running.write("f", "edited");
    let event = running.until(|event| matches!(event, PeerEvent::LocalChange { .. })).await;
    assert!(event.to_string().contains("raftshare update f --from f"), "{event}");
    assert!(!running.holds("f", "one") && !running.holds("f", "edited"));
    std::fs::remove_file(running.dir.path().join("new")).expect("remove");
    running.until(|event| matches!(event, PeerEvent::LocalDelete { .. })).await;
    assert!(!running.holds("new", "fresh"));
    assert_eq!(running.read("f"), "edited");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_bytes_survive_a_conflict_and_an_update() {
    let theirs = hash_bytes(b"theirs").to_string();
    // The source knows its bytes as version 2.
    let source = start(|dir, index| {
        std::fs::write(dir.join("f"), "two").expect("write");
        index.files.insert("f".to_owned(), vec![hash_bytes(b"one").to_string(), hash_bytes(b"two").to_string()]);
    })
    .await;
    let mut running = start(move |dir, index| {
        std::fs::write(dir.join("c"), "mine").expect("write");
        std::fs::write(dir.join("f"), "one").expect("write");
        index.files.insert("c".to_owned(), vec![theirs]);
    })
    .await;
    let copies = |running: &Running, name: &str| -> Vec<String> {
        let folder = Folder::open(running.dir.path(), None).expect("opens");
        let copies = crate::peer::scan::scan(&folder).conflict_copies;
        let of = |copy: &&FileName| copy.as_str().starts_with(&format!("{name}.conflict-"));
        copies.iter().filter(of).map(|copy| running.read(copy.as_str())).collect()
    };
    assert_eq!(copies(&running, "c"), ["mine"]);
    running.write("f", "my edit");
    running.until(|event| matches!(event, PeerEvent::LocalChange { .. })).await;
    running.give("UPDATE", "f", 2, "two", &source.peer_url);
    running.until(done).await;
    assert_eq!((running.read("f").as_str(), copies(&running, "f")), ("two", vec!["my edit".to_owned()]));
    assert!(running.holds("f", "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_peer_registers_again_and_a_replaced_one_stops() {
    let mut running = start(|_, _| {}).await;
    running.index.lock().incarnation += 1;
    running.until(|event| matches!(event, PeerEvent::Registered { incarnation: 3, .. })).await;
    running.index.lock().heartbeat = Some(json!({"ok": false, "reason": "replaced", "tasks": []}));
    let ended = tokio::time::timeout(PATIENCE, running.task).await.expect("it stops").expect("no panic");
    assert!(matches!(ended, Err(ServeError::Replaced { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_serve_and_a_taken_port_are_clear_errors() {
    let running = start(|_, _| {}).await;
    let second = Peer::bind(config(&running.url, running.dir.path())).await.err().expect("one serve a folder");
    assert!(second.to_string().contains("already being served"), "{second}");
    let other = tempfile::tempdir().expect("temp dir");
    let bind = running.peer_url.trim_start_matches("http://").to_owned();
    let taken = Peer::bind(ServeConfig { bind, ..config(&running.url, other.path()) }).await.err().expect("taken");
    assert!(taken.to_string().contains("--bind"), "{taken}");
    let open = ServeConfig { bind: "0.0.0.0:0".to_owned(), ..config(&running.url, other.path()) };
    assert!(matches!(Peer::bind(open).await, Err(ServeError::NotLoopback { .. })));
}
