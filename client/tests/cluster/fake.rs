//! A scripted index server: a closure answers each request, and every request is kept to be looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, Uri};
use client::cluster::{IndexClient, Options};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    pub fn key(&self) -> String {
        self.header("idempotency-key").expect("the write has a key")
    }
}

/// What the script wants done with a request.
pub enum Reply {
    /// Status, body, extra headers.
    Json(u16, Value, Vec<(&'static str, String)>),
    /// Cut the connection in the middle of the answer.
    Cut,
    /// Never answer.
    Never,
}

pub fn ok(body: Value) -> Reply {
    Reply::Json(200, body, Vec::new())
}

pub fn problem(status: u16, code: &str, extra: Value) -> Reply {
    let mut body = json!({"type": "about:blank", "title": code, "status": status, "detail": format!("about {code}"),
                          "code": code});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    Reply::Json(status, body, Vec::new())
}

pub fn leader(id: u64, address: &str, term: u64) -> Value {
    json!({"id": id, "address": address, "term": term})
}

pub fn no_quorum() -> Reply {
    problem(503, "no_quorum", json!({"applied": "no"}))
}

pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

pub fn grant(ttl_ms: u64, fencing_token: u64) -> Value {
    json!({"granted": true, "expiration": 1, "leaseToken": TOKEN, "fencingToken": fencing_token, "ttlMs": ttl_ms,
           "version": 3})
}

pub fn denied(position: Option<u64>) -> Value {
    let mut body = json!({"granted": false, "holder": "somebody", "expiration": 1, "remainingMs": 30_000});
    if let Some(position) = position {
        body["position"] = json!(position);
    }
    body
}

/// A running fake. It runs on a runtime of its own, so that stopping it also ends the connections it has.
pub struct Fake {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Fake {
    /// Starts a server on a free port that answers by `script`.
    pub fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, script) = (Arc::clone(&seen), Arc::new(script));
        let app = axum::Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let request = Seen {
                path: uri.path().to_owned(),
                query: uri.query().unwrap_or_default().to_owned(),
                headers,
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            };
            log.lock().push(request.clone());
            let script = Arc::clone(&script);
            async move { respond(script(&request)).await }
        });
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    /// Ends the server and its connections, as a killed process would.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be waited for from within another one.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            ended.join().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests to `path` so far.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn respond(reply: Reply) -> Response<Body> {
    match reply {
        Reply::Json(status, body, headers) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = if status == 204 { Body::empty() } else { Body::from(body.to_string()) };
            response.body(body).unwrap()
        }
        Reply::Cut => {
            let broken =
                futures::stream::iter([Ok(Bytes::from_static(b"{\"ok\":")), Err(std::io::Error::other("cut"))]);
            Response::new(Body::from_stream(broken))
        }
        Reply::Never => std::future::pending().await,
    }
}

/// A free port nobody listens at.
pub fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn client(servers: &[&str]) -> IndexClient {
    IndexClient::new(Options::new(servers.iter().copied())).unwrap()
}
