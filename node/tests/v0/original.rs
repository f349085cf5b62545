//! A peer of the original implementation: what its client sends, and how its HTTP server serves files.
//!
//! It is written from the original's wire format, and shares no code with the adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{Answer, hash};

/// The zero time of Go.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// The shared folder.
type Files = Arc<Mutex<BTreeMap<String, String>>>;

/// A peer of the original.
pub struct OldPeer {
    pub id: String,
    pub addr: String,
    files: Files,
    http: reqwest::Client,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for OldPeer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl OldPeer {
    /// A peer that serves these files on a free port. Its id is made of its address, as the original's is.
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let files: Files = Arc::new(Mutex::new(files.iter().map(|(n, b)| ((*n).into(), (*b).into())).collect()));
        let app = axum::Router::new().fallback(serve).with_state(files.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { id: format!("peer-{}", host.replace(':', "-")), addr: format!("http://{host}"), files, http, server }
    }

    pub fn as_peer(&self) -> Value {
        json!({"id": self.id, "addr": self.addr, "lastSeen": ZERO_TIME})
    }

    pub fn content(&self, name: &str) -> Option<String> {
        self.files.lock().get(name).cloned()
    }

    pub fn write(&self, name: &str, content: &str) {
        self.files.lock().insert(name.to_owned(), content.to_owned());
    }

    /// What its registration says: each file with its hash, and without a version.
    pub fn registration(&self) -> Value {
        let file = |(name, content): (&String, &String)| json!({"name": name, "size": content.len(), "hash": hash(content), "version": 0});
        let files: Vec<Value> = self.files.lock().iter().map(file).collect();
        // A folder without files is a nil slice in Go.
        let files = if files.is_empty() { Value::Null } else { files.into() };
        json!({"peer": self.as_peer(), "files": files})
    }

    pub async fn post(&self, server: &str, path: &str, body: &Value) -> Answer {
        Answer::of(self.http.post(format!("{server}{path}")).json(body).send().await.unwrap()).await
    }

    pub async fn get(&self, server: &str, path: &str) -> Answer {
        Answer::of(self.http.get(format!("{server}{path}")).send().await.unwrap()).await
    }

    /// Registers, and does the tasks of the answer.
    pub async fn register(&self, server: &str) -> Vec<Value> {
        let answer = self.post(server, "/register", &self.registration()).await;
        assert_eq!((answer.status, &answer.json["ok"]), (200, &json!(true)), "{answer:?}");
        self.work(server, &answer.json["tasks"]).await
    }

    /// Sends a sign of life, and does the tasks of the answer.
    pub async fn heartbeat(&self, server: &str) -> Vec<Value> {
        let answer = self.post(server, "/heartbeat", &json!({"peerId": self.id})).await;
        assert_eq!((answer.status, &answer.json["ok"]), (200, &json!(true)), "{answer:?}");
        self.work(server, &answer.json["tasks"]).await
    }

    async fn work(&self, server: &str, tasks: &Value) -> Vec<Value> {
        let tasks = tasks.as_array().unwrap().clone();
        for task in &tasks {
            let (file, source) = (&task["file"], &task["sourcePeer"]);
            // A peer may not serve yet what the index has just learnt; the original's client logs that and goes on.
            if !self.pull(source["addr"].as_str().unwrap(), file).await {
                continue;
            }
            let announced = self.post(server, "/announce", &json!({"peer": self.as_peer(), "file": file})).await;
            assert_eq!(announced.status, 204, "{file}: {announced:?}");
        }
        tasks
    }

    /// Fetches a file from a peer and compares its hash, if it knows one; false if the peer does not serve it.
    async fn pull(&self, base: &str, file: &Value) -> bool {
        let name = file["name"].as_str().unwrap();
        // Go's `url.PathEscape` encodes the slash too.
        let url = format!("{base}/files/{}", name.replace(' ', "%20").replace('/', "%2F"));
        let answer = self.http.get(&url).send().await.unwrap();
        if answer.status() != 200 {
            return false;
        }
        let content = answer.text().await.unwrap();
        let expected = file["hash"].as_str().unwrap();
        assert!(expected.is_empty() || expected == hash(&content), "hash mismatch for {name}");
        self.write(name, &content);
        true
    }

    /// Looks a file up, fetches it from the first peer and announces it.
    pub async fn fetch(&self, server: &str, name: &str) {
        let found = self.get(server, &format!("/peers?file={name}")).await;
        assert_eq!(found.status, 200, "{found:?}");
        assert!(self.pull(found.json["peers"][0]["addr"].as_str().unwrap(), &found.json["file"]).await);
        let body = json!({"peer": self.as_peer(), "file": found.json["file"]});
        assert_eq!(self.post(server, "/announce", &body).await.status, 204);
    }

    /// Takes the lease, changes the file and announces it under a number of its own.
    pub async fn update(&self, server: &str, name: &str, content: &str, version: i64) -> Answer {
        let lease = self.post(server, "/lease", &json!({"peerId": self.id, "fileName": name})).await;
        assert_eq!(lease.json["granted"], true, "{lease:?}");
        self.write(name, content);
        let file = json!({"name": name, "size": content.len(), "hash": hash(content), "version": version});
        self.post(server, "/announce", &json!({"peer": self.as_peer(), "file": file})).await
    }
}

/// What Go's `http.ServeContent` does for a handler that sets no entity tag.
async fn serve(State(files): State<Files>, request: Request) -> Response {
    let name = request.uri().path().strip_prefix("/files/").unwrap_or_default().replace("%20", " ");
    let Some(content) = files.lock().get(&name).cloned() else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let text = |headers: &HeaderMap, name| headers.get(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
    if request.headers().contains_key(header::IF_MATCH) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    let now = (header::LAST_MODIFIED, "Sun, 30 Nov 2025 20:00:00 GMT");
    let Some(range) = text(request.headers(), header::RANGE) else {
        return ([(header::ACCEPT_RANGES, "bytes"), now], content).into_response();
    };
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let last = last.min(content.len() - 1);
    let answered = format!("bytes {first}-{last}/{}", content.len());
    let part = content[first..=last].to_owned();
    (StatusCode::PARTIAL_CONTENT, [now], [(header::CONTENT_RANGE, answered)], part).into_response()
}
