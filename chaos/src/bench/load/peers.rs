//! Peers of a load: who they are, and how each of their operations is asked for.
//!
//! Invariants:
//! - every peer has an id, idempotency keys and names of its own, and its keys are sent as the library sends them;
//! - a peer has a bounded number of names: after the last one it states the first again with the same bytes, a logged
//!   write that adds nothing to the catalog, so that a long run does not grow it without bound.

use std::fmt::Write as _;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use super::connection::Connection;
use super::drive::{Completed, Worker};
use super::mix::{Mix, OperationKind};
use super::wire::Wire;

/// Files of one batch.
pub const BATCH: u64 = 100;
/// Files that a peer states when it registers, at most; reads are about these.
pub const LISTED_MAX: u64 = 10;
/// Hits that a search asks for.
const HITS: u64 = 10;

/// What all peers of a load have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// Part of every name, so that loads on one cluster do not meet.
    pub run: String,
    /// What they do.
    pub mix: Mix,
    /// How many there are.
    pub peers: u64,
    /// Names that each announces.
    pub files: u64,
    /// Whether they count as serving their files; names without a serving holder are not found.
    pub serving: bool,
    /// What is added to the query of every read, such as `&consistency=stale`.
    pub reading: String,
    /// In which format they ask.
    pub wire: Wire,
}

impl Common {
    /// Files that a peer states when it registers.
    fn listed(&self) -> u64 {
        self.files.min(LISTED_MAX)
    }
}

/// One peer.
#[derive(Debug)]
struct Peer {
    number: u64,
    /// Of the last idempotency key.
    sequence: u64,
    /// Files announced so far, first and repeated ones.
    announced: u64,
}

/// A client: its connections and the peers that it acts for, in turn.
#[derive(Debug)]
pub struct LoadClient {
    common: Arc<Common>,
    write: Link,
    /// Absent if it reads where it writes.
    read: Option<Link>,
    peers: Vec<Peer>,
    turn: usize,
    rng: StdRng,
    path: String,
    headers: String,
    body: String,
    name: String,
    hash: String,
}

#[derive(Debug)]
struct Link {
    host: String,
    connection: Option<Connection>,
}

impl Link {
    /// One request; the body of its answer if it is 2xx, else why not.
    async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Result<&[u8], String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.host).await.map_err(|error| format!("connect: {}", error.kind()))?,
        };
        let status = connection.send(method, path, headers, body).await;
        // Put back only after a whole answer: what is left of a broken one would be taken for the next.
        let status = status.map_err(|error| format!("connection: {}", error.kind()))?;
        let connection = self.connection.insert(connection);
        if (200..300).contains(&status) { Ok(connection.body()) } else { Err(refusal(status, connection.body())) }
    }
}

/// Status and code of an error answer; other systems' answers have words in `error` instead of a code.
pub(crate) fn refusal(status: u16, body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let code = text_field(text, "code").or_else(|| text_field(text, "error"));
    code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
}

/// A text field of a JSON object, found without reading all of it; for names and tokens, which have no escapes.
pub(crate) fn text_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
    rest.trim_start().strip_prefix('"')?.split('"').next()
}

impl LoadClient {
    /// A client that acts for the peers with these numbers. It writes at `write` and reads at `read`, both `host:port`.
    pub fn new(common: Arc<Common>, write: &str, read: &str, peers: impl Iterator<Item = u64>, rng: StdRng) -> Self {
        let link = |host: &str| Link { host: host.to_owned(), connection: None };
        Self {
            common,
            write: link(write),
            read: (read != write).then(|| link(read)),
            peers: peers.map(|number| Peer { number, sequence: 0, announced: 0 }).collect(),
            turn: 0,
            rng,
            path: String::new(),
            headers: String::new(),
            body: String::new(),
            name: String::new(),
            hash: String::new(),
        }
    }

    /// Registers all its peers.
    pub async fn prepare(&mut self) -> Result<(), String> {
        for turn in 0..self.peers.len() {
            self.turn = turn;
            self.register().await?;
            self.peers[turn].announced = self.common.listed();
        }
        Ok(())
    }

    async fn act(&mut self, kind: OperationKind) -> Result<u64, String> {
        match kind {
            OperationKind::Announce => self.announce().await,
            OperationKind::Register => self.register().await,
            OperationKind::Batch => self.batch().await,
            OperationKind::Cycle => self.cycle().await,
            OperationKind::Txn => self.txn().await,
            OperationKind::Heartbeat => self.heartbeat().await,
            OperationKind::Search => self.read("search?q=", &format!("&limit={HITS}")).await,
            OperationKind::Peers => self.read("peers?file=", "").await,
            OperationKind::File => self.read("file?name=", "").await,
        }
    }

    async fn announce(&mut self) -> Result<u64, String> {
        self.begin_peer(false);
        self.body.push_str(",\"file\":");
        self.next_file();
        self.body.push('}');
        self.write("/announce").await.map(|_| 1)
    }

    async fn batch(&mut self) -> Result<u64, String> {
        self.begin_body();
        self.body.push_str(",\"files\":[");
        for number in 0..BATCH {
            if number > 0 {
                self.body.push(',');
            }
            self.next_file();
        }
        self.body.push_str("]}");
        let answer = self.write("/announce").await?;
        if answer.starts_with(b"{\"ok\":true") { Ok(BATCH) } else { Err("a file of a batch was refused".into()) }
    }

    async fn register(&mut self) -> Result<u64, String> {
        self.begin_peer(true);
        self.body.push_str(",\"files\":[");
        let peer = self.peers[self.turn].number;
        for file in 0..self.common.listed() {
            if file > 0 {
                self.body.push(',');
            }
            self.file(peer, file);
        }
        self.body.push_str("]}");
        self.write("/register").await.map(|_| 1)
    }

    async fn cycle(&mut self) -> Result<u64, String> {
        let name = format!("load/{}-{}/cycle", self.common.run, self.peers[self.turn].number);
        self.begin_body();
        let _ = write!(self.body, ",\"fileName\":\"{name}\"}}");
        let answer = std::str::from_utf8(self.write("/lease").await?).map_err(|error| error.to_string())?;
        let token = text_field(answer, "leaseToken").map(str::to_owned);
        if !answer.contains("\"granted\":true") {
            return Err("the lease was denied".into());
        }
        self.begin_peer(false);
        self.body.push_str(",\"file\":");
        let sequence = self.peers[self.turn].sequence;
        // The original's versions are any growing numbers.
        self.common.wire.file(&mut self.body, &name, sequence, &format!("c{sequence:063x}"));
        if let Some(token) = token {
            let _ = write!(self.body, ",\"leaseToken\":\"{token}\"");
        }
        self.body.push('}');
        self.write("/announce").await.map(|_| 1)
    }

    /// Sells one piece of a product that never runs out, as a shop would.
    async fn txn(&mut self) -> Result<u64, String> {
        self.begin_txn();
        self.write("/txn").await.map(|_| 1)
    }

    fn begin_txn(&mut self) {
        self.begin_body();
        let product = format_args!("\"name\":\"load/{}-{}/product\"", self.common.run, self.peers[self.turn].number);
        let condition = format_args!("{{{product},\"attr\":\"sold\",\"is\":\"!=\",\"value\":-1}}");
        let operation = format_args!("{{\"add\":{{{product},\"attr\":\"sold\",\"by\":1,\"min\":0}}}}");
        let _ = write!(self.body, ",\"if\":[{condition}],\"then\":[{operation}]}}");
    }

    async fn heartbeat(&mut self) -> Result<u64, String> {
        self.begin_body();
        self.body.push('}');
        // Not a logged write, so without a key.
        let path = format!("{}/heartbeat", self.common.wire.prefix());
        let answer = self.write.send("POST", &path, "", &self.body).await?;
        if answer.starts_with(b"{\"ok\":true") { Ok(1) } else { Err("the peer is unknown".into()) }
    }

    async fn read(&mut self, path: &str, more: &str) -> Result<u64, String> {
        let peer = self.rng.random_range(0..self.common.peers.max(1));
        let file = self.rng.random_range(0..self.common.listed().max(1));
        self.path.clear();
        let Common { run, reading, wire, .. } = &*self.common;
        let _ = write!(self.path, "{}/{path}load/{run}-{peer}/{file}", wire.prefix());
        if *wire == Wire::Native {
            let _ = write!(self.path, "{more}{reading}");
        }
        let link = self.read.as_mut().unwrap_or(&mut self.write);
        let answer = link.send("GET", &self.path, "", "").await?;
        if wire.is_found(answer) { Ok(1) } else { Err("nothing was found".into()) }
    }

    fn begin_body(&mut self) {
        self.body.clear();
        let _ = write!(self.body, "{{\"peerId\":\"load-{}-{}\"", self.common.run, self.peers[self.turn].number);
    }

    /// Begins a registration, or an announcement.
    fn begin_peer(&mut self, register: bool) {
        self.body.clear();
        self.name.clear();
        let Common { run, wire, serving, .. } = &*self.common;
        let _ = write!(self.name, "load-{run}-{}", self.peers[self.turn].number);
        wire.peer(&mut self.body, &self.name, *serving, register);
    }

    /// The acting peer's next file, from the first again after the last.
    fn next_file(&mut self) {
        let peer = &mut self.peers[self.turn];
        let (number, file) = (peer.number, peer.announced % self.common.files.max(1));
        peer.announced += 1;
        self.file(number, file);
    }

    /// A file has the same bytes whenever it is stated.
    fn file(&mut self, peer: u64, file: u64) {
        let hash = u128::from(peer) << 64 | u128::from(file);
        let Common { run, wire, .. } = &*self.common;
        self.name.clear();
        self.hash.clear();
        let _ = write!(self.name, "load/{run}-{peer}/{file}");
        let _ = write!(self.hash, "{hash:064x}");
        wire.file(&mut self.body, &self.name, 1, &self.hash);
    }

    /// A write of the acting peer, under its next key.
    async fn write(&mut self, path: &str) -> Result<&[u8], String> {
        let peer = &mut self.peers[self.turn];
        peer.sequence += 1;
        let (run, number, sequence) = (&self.common.run, peer.number, peer.sequence);
        self.headers.clear();
        if self.common.wire.has_keys() {
            let key = format_args!("idempotency-key: load{run}-{number}:{sequence}");
            let _ = write!(self.headers, "{key}\r\nidempotency-floor: {sequence}\r\n");
        }
        self.path.clear();
        self.path.push_str(self.common.wire.prefix());
        self.path.push_str(path);
        self.write.send("POST", &self.path, &self.headers, &self.body).await
    }
}

impl Worker for LoadClient {
    async fn once(&mut self) -> Completed {
        let kind = self.common.mix.draw(&mut self.rng);
        let result = self.act(kind).await;
        self.turn = (self.turn + 1) % self.peers.len().max(1);
        Completed { kind: kind.name(), result }
    }

    fn reset(&mut self) {
        self.write.connection = None;
        if let Some(read) = &mut self.read {
            read.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use client::contract::{AnnounceRequest, RegisterRequest};
    use rand::SeedableRng;

    use super::*;

    fn client(files: u64) -> LoadClient {
        let common = Common {
            run: "t".into(),
            mix: Mix::of(OperationKind::Announce),
            peers: 4,
            files,
            serving: true,
            reading: String::new(),
            wire: Wire::Native,
        };
        LoadClient::new(Arc::new(common), "a:1", "b:2", [1, 3].into_iter(), StdRng::seed_from_u64(1))
    }

    #[test]
    fn the_bodies_are_those_of_the_contract() {
        let mut client = client(2);
        client.begin_peer(false);
        client.body.push_str(",\"file\":");
        client.next_file();
        client.body.push('}');
        let request: AnnounceRequest = serde_json::from_str(&client.body).expect("valid");
        let first = request.file.expect("a file");
        assert_eq!((request.peer_id.as_str(), first.name.as_str()), ("load-t-1", "load/t-1/0"));
        client.begin_peer(true);
        client.body.push_str(",\"files\":[");
        client.file(1, 0);
        client.body.push_str("]}");
        let request: RegisterRequest = serde_json::from_str(&client.body).expect("valid");
        assert_eq!(request.files, Some(vec![first]), "a file always has the same bytes");
    }

    #[test]
    fn names_begin_again_after_the_last() {
        let mut client = client(3);
        let mut names = Vec::new();
        for _ in 0..4 {
            client.body.clear();
            client.next_file();
            names.push(text_field(&client.body, "name").expect("a name").to_owned());
        }
        assert_eq!(names, ["load/t-1/0", "load/t-1/1", "load/t-1/2", "load/t-1/0"]);
    }

    #[test]
    fn refusals_are_named_by_status_and_code() {
        assert_eq!(refusal(409, br#"{"status":409,"code":"unknown_peer"}"#), "409 unknown_peer");
        assert_eq!(refusal(502, b"<html>"), "502");
        assert_eq!(refusal(404, br#"{"error":"lease not found","code":5}"#), "404 lease not found");
    }

    #[test]
    fn reads_elsewhere_have_a_connection_of_their_own() {
        assert!(client(1).read.is_some());
        let client = client(1);
        let same = LoadClient::new(client.common, "a:1", "a:1", [0].into_iter(), StdRng::seed_from_u64(1));
        assert!(same.read.is_none());
    }
}
