//! Real node processes on free ports with their own directories, killed when the test ends.
#![allow(dead_code, reason = "shared by several test programs")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and measure")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub use node::testbed::Signal;
use node::testbed::{Process, Spec};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest time anything in these tests may take to come true.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// One node process.
pub struct NodeProcess {
    pub id: u64,
    pub address: String,
    pub data: PathBuf,
    extra: Vec<String>,
    child: Option<Process>,
}

impl NodeProcess {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn set_flags(&mut self, flags: &[&str]) {
        self.extra = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    pub fn flags(&self) -> &[String] {
        &self.extra
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare-node"));
        command.args(["start", "--id", &self.id.to_string(), "--listen", &self.address]).arg("--data").arg(&self.data);
        command.args(&self.extra).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        self.spawn(self.command());
    }

    /// The same with so many file descriptors.
    pub fn start_with_descriptors(&mut self, limit: u32) {
        let command = self.command();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
        limited.arg(command.get_program()).args(command.get_args());
        self.spawn(limited);
    }

    /// Runs a command as this node, with a log of its own.
    fn spawn(&mut self, command: Command) {
        let log = self.data.with_extension("log");
        std::fs::write(&log, "").unwrap();
        let arguments = command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect();
        let environment = vec![("RUST_BACKTRACE".to_owned(), "0".to_owned())];
        let spec = Spec { program: command.get_program().into(), arguments, environment, log };
        self.child = Some(Process::start(spec).unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        node::testbed::signal(self.child.as_ref().unwrap().id().unwrap(), signal).unwrap();
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }
}

/// A cluster of node processes.
pub struct Cluster {
    pub nodes: Vec<NodeProcess>,
    pub http: reqwest::Client,
    pub dir: TempDir,
}

/// Ports that were free a moment ago.
pub fn free_addresses(count: usize) -> Vec<String> {
    node::testbed::free_ports(count).unwrap().iter().map(|port| format!("127.0.0.1:{port}")).collect()
}

impl Cluster {
    /// Nodes that found a cluster together; waits until all are ready.
    pub async fn start(count: usize) -> Self {
        let cluster = Self::start_with(count, &[]).await;
        cluster.ready().await;
        cluster
    }

    /// The same with further flags, not waiting.
    pub async fn start_with(count: usize, flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let addresses = free_addresses(count);
        let members: Vec<_> = (1..).zip(&addresses).map(|(id, address)| format!("{id}={address}")).collect();
        let bootstrap = ["--bootstrap-expect", &count.to_string(), "--members", &members.join(",")];
        let extra: Vec<_> = bootstrap.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        let nodes = (1..).zip(addresses).map(|(id, address)| NodeProcess {
            id,
            address,
            data: dir.path().join(format!("node{id}")),
            extra: extra.clone(),
            child: None,
        });
        let mut nodes: Vec<_> = nodes.collect();
        nodes.iter_mut().for_each(NodeProcess::start);
        let http = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().unwrap();
        Self { nodes, http, dir }
    }

    /// A node of its own, not started.
    pub fn extra_node(&self, id: u64, flags: &[String]) -> NodeProcess {
        NodeProcess {
            id,
            address: free_addresses(1).remove(0),
            data: self.dir.path().join(format!("node{id}")),
            extra: flags.to_vec(),
            child: None,
        }
    }

    /// Waits until every running node can serve writes.
    pub async fn ready(&self) {
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            let url = node.url("/readyz");
            eventually("the node is ready", async || {
                self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
            })
            .await;
        }
    }

    /// Place of the leader in `nodes`, as a running node tells.
    pub async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for node in self.nodes.iter().filter(|node| node.child.is_some()) {
                if let Ok(answer) = self.http.get(node.url("/leader")).send().await
                    && answer.status() == 200
                {
                    let id = answer.json::<Value>().await.unwrap()["id"].as_u64().unwrap();
                    let place = self.nodes.iter().position(|node| node.id == id).unwrap();
                    if self.nodes[place].child.is_some() {
                        return place;
                    }
                }
            }
            assert!(start.elapsed() < DEADLINE, "no leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn get(&self, node: usize, path: &str) -> Answer {
        Answer::of(self.http.get(self.nodes[node].url(path)).send().await.unwrap()).await
    }

    pub async fn post(&self, node: usize, path: &str, body: Value) -> Answer {
        self.post_with(node, path, body, &[]).await
    }

    pub async fn post_with(&self, node: usize, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        self.post_text(node, path, body.to_string(), headers).await
    }

    pub async fn post_text(&self, node: usize, path: &str, body: String, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(self.nodes[node].url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn register(&self, peer: &str) -> Answer {
        let body = json!({"peerId": peer, "address": format!("http://127.0.0.1:1/{peer}"), "files": []});
        let answer = self.post(0, "/register", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    pub async fn announce(&self, peer: &str, name: &str, version: u64, bytes: &str) -> Answer {
        self.post(0, "/announce", json!({"peerId": peer, "file": file(name, version, bytes)})).await
    }

    /// Waits until all running nodes have the same state.
    pub async fn equal_digests(&self) {
        eventually("all nodes have the same state", async || {
            let mut digests = Vec::new();
            for node in self.nodes.iter().filter(|node| node.child.is_some()) {
                let answer = self.http.get(node.url("/cluster/digest")).send().await.unwrap();
                let json = answer.json::<Value>().await.unwrap();
                digests.push((json["appliedIndex"].clone(), json["digest"].clone()));
            }
            digests.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}

/// An answer taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    pub async fn of(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or("")
    }

    pub fn index(&self) -> u64 {
        self.header("raftshare-index").parse().unwrap()
    }
}

/// Waits until a condition holds, [`DEADLINE`] at most.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// SHA-256 of a text.
pub fn hash(bytes: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of a request.
pub fn file(name: &str, version: u64, bytes: &str) -> Value {
    json!({"name": name, "version": version, "size": bytes.len(), "hash": hash(bytes)})
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raftshare-node")).args(args).env("RUST_BACKTRACE", "0").output().unwrap()
}
