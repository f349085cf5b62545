//! A client of the simulated cluster: takes leases, some in line, renews, publishes, keeps, releases,
//! registers again, reads and searches at every level, repeats requests under their keys to other nodes, and
//! publishes under leases that are over.
//!
//! Invariants: a repeat carries the very body of the first request; an operation is recorded as refused only if its
//! answer proves that it was not applied.

use std::time::Duration;

use client::api::headers;
use hyper::Request;
use hyper::body::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::journal::{Journal, now};
use super::net::{address, exchange};
use super::plan::Plan;
use crate::history::{Answer, Level, Op, Seen};
use crate::workload::{RawOutcome, file_answer, found_answer, fresh_hash, level_text, outcome_of, write_answer};

/// Deadlines of single attempts in milliseconds; many are shorter than a failover.
const ATTEMPT_MS: std::ops::Range<u64> = 40..1_500;
/// Attempts under one key.
const ATTEMPTS_MAX: u32 = 4;
/// Lease durations in milliseconds.
const TTLS_MS: [u64; 3] = [300, 1_000, 3_000];

/// A client.
pub(super) struct Actor {
    name: String,
    journal: Journal,
    rng: StdRng,
    founders: u64,
    files: usize,
    keys: u64,
    /// Keys of the library's form, with a floor (X2).
    session: bool,
    /// The newest log index it knows of (R3).
    newest_index: u64,
    /// Counts the peers whose files it searches for.
    seekers: u64,
}

/// A lease this client believes to have.
struct Held {
    file: String,
    token: Value,
    fence: u64,
    ttl_ms: u64,
    version: u64,
}

/// A write that may be sent again.
struct Write {
    path: &'static str,
    body: Value,
    op: Op,
    key: String,
    floor: Option<u64>,
}

impl Actor {
    /// Client number `number` of a plan.
    pub(super) fn new(number: usize, plan: &Plan, journal: Journal) -> Self {
        let mut rng = plan.rng(1_000 + number as u64);
        Self {
            name: format!("peer-{number}"),
            journal,
            founders: plan.founders,
            files: plan.files,
            keys: 0,
            session: rng.random_bool(0.5),
            newest_index: 0,
            seekers: 0,
            rng,
        }
    }

    /// Works until the phase ends.
    pub(super) async fn run(mut self) {
        self.wait_for_the_cluster().await;
        while !self.journal.is_over() && !self.register().await {
            self.pause(50).await;
        }
        while !self.journal.is_over() {
            match self.rng.random_range(0..100) {
                0..30 => self.read().await,
                30..34 => {
                    self.register().await;
                }
                34..38 => self.create().await,
                38..46 => self.publish_and_search().await,
                _ => self.lease_cycle().await,
            }
            self.pause(30).await;
        }
    }

    /// Before a cluster is founded there is nothing to ask for.
    async fn wait_for_the_cluster(&mut self) {
        while !self.journal.is_over() {
            let node = self.rng.random_range(1..=self.founders);
            let request = Request::get(format!("http://{}/leader", address(node)));
            if let RawOutcome::Ok(..) = call(request, String::new(), Duration::from_secs(1), &mut 0).await {
                return;
            }
            self.pause(50).await;
        }
    }

    async fn pause(&mut self, most_ms: u64) {
        let ms = self.rng.random_range(0..=most_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn file(&mut self) -> String {
        format!("shared/{}.txt", self.rng.random_range(0..self.files))
    }

    async fn register(&mut self) -> bool {
        let body = json!({"peerId": self.name, "address": "http://127.0.0.1:9", "serving": false, "files": []});
        let write = self.write("/register", body, Op::Register { peer: self.name.clone() });
        self.insist(&write).await.is_some()
    }

    /// Creates a name of its own without a lease (F3).
    async fn create(&mut self) {
        let hash = fresh_hash(&mut self.rng).to_string();
        let file = format!("private/{}-{}.txt", self.name, self.keys);
        let body = json!({"peerId": self.name, "file": {"name": file, "size": 1, "hash": hash}});
        let op = Op::Publish { peer: self.name.clone(), file, fence: None, version: None, hash, keep: false };
        let write = self.write("/announce", body, op);
        self.insist(&write).await;
    }

    /// Creates a file that a peer of its own holds, which serves, and searches for it at once at several nodes.
    async fn publish_and_search(&mut self) {
        let peer = format!("{}-seeker-{}", self.name, self.seekers);
        // If this is not told to have been done, it may be done later and take the file away
        // again: not this peer any more.
        self.seekers += 1;
        let body = json!({"peerId": peer, "address": "http://127.0.0.1:9", "files": []});
        let registration = self.write("/register", body, Op::Register { peer: peer.clone() });
        if self.insist(&registration).await.is_none() {
            return;
        }
        self.seekers -= 1;
        let hash = fresh_hash(&mut self.rng).to_string();
        let file = format!("found/{}-{}.txt", self.name, self.keys);
        let body = json!({"peerId": peer, "file": {"name": file, "size": 1, "hash": hash}});
        let op = Op::Publish { peer, file: file.clone(), fence: None, version: None, hash, keep: false };
        let write = self.write("/announce", body, op);
        if self.insist(&write).await.is_none() {
            return;
        }
        for _ in 0..self.rng.random_range(1..4) {
            self.search(&file).await;
        }
    }

    async fn search(&mut self, file: &str) {
        let level = match self.rng.random_range(0..5) {
            0 => None,
            1 => Some(Level::Leader),
            2 => Some(Level::Linearizable),
            _ => Some(Level::Stale),
        };
        let node = self.rng.random_range(1..=self.founders);
        let mut path = format!("http://{}/search?mode=prefix&q={file}", address(node));
        if let Some(level) = level {
            path.push_str(&format!("&consistency={}", level_text(level)));
        }
        let min_index = self.rng.random_bool(0.4).then_some(self.newest_index);
        if let Some(index) = min_index {
            path.push_str(&format!("&min_index={index}"));
        }
        let id = self.journal.invoke(&self.name, Op::Search { file: file.to_owned(), level, node, min_index }, None);
        match call(Request::get(path), String::new(), Duration::from_secs(2), &mut 0).await {
            RawOutcome::Ok(value, seen) => match found_answer(&value, file) {
                Some(answer) => self.journal.ok(id, answer, seen),
                None => self.journal.unknown(id, format!("an answer that is none: {value}")),
            },
            RawOutcome::Refused(code, detail) => self.journal.refused(id, code, detail),
            RawOutcome::Unknown(reason) => self.journal.unknown(id, reason),
        }
    }

    async fn lease_cycle(&mut self) {
        let file = self.file();
        let held = if self.rng.random_bool(0.4) { self.wait_in_line(file).await } else { self.acquire(file).await };
        let Some(held) = held else { return };
        for _ in 0..self.rng.random_range(0..3) {
            let lives =
                if self.rng.random_bool(0.5) { self.renew(&held).await } else { self.publish(&held, true).await };
            if !lives {
                return;
            }
        }
        match self.rng.random_range(0..10) {
            0..6 => {
                self.publish(&held, false).await;
            }
            6..8 => self.release(&held).await,
            8 => {}
            _ => {
                tokio::time::sleep(Duration::from_millis(held.ttl_ms + 100)).await;
                self.publish(&held, false).await;
            }
        }
    }

    fn acquisition(&mut self, file: &str, wait: bool) -> (Write, u64) {
        let ttl_ms = TTLS_MS[self.rng.random_range(0..TTLS_MS.len())];
        let mut body = json!({"peerId": self.name, "fileName": file, "ttlMs": ttl_ms});
        if wait {
            body["wait"] = json!(true);
            body["waitMs"] = json!(self.rng.random_range(0..800));
        }
        let op = Op::Acquire { peer: self.name.clone(), file: file.to_owned(), ttl_ms, wait };
        (self.write("/lease", body, op), ttl_ms)
    }

    async fn acquire(&mut self, file: String) -> Option<Held> {
        let (write, ttl_ms) = self.acquisition(&file, false);
        let (answer, value) = self.insist(&write).await?;
        held(file, ttl_ms, &answer, &value)
    }

    /// One operation under one key, polled until it is granted or patience ends (L5).
    async fn wait_in_line(&mut self, file: String) -> Option<Held> {
        let (write, ttl_ms) = self.acquisition(&file, true);
        let id = self.journal.invoke(&self.name, write.op.clone(), None);
        let patience = now() + self.rng.random_range(500_000..3_000_000);
        let mut last = Err("no attempt was answered".to_owned());
        loop {
            let sent = now();
            match self.send(&write, Duration::from_millis(1_500)).await {
                RawOutcome::Ok(value, seen) => match write_answer(&value) {
                    Some(Answer::Granted { fence, ttl_ms: counted, version, .. }) => {
                        let answer = Answer::Granted { fence, ttl_ms: counted, version, sent: Some(sent) };
                        self.journal.count("claims");
                        self.journal.ok(id, answer.clone(), seen);
                        return held(file, ttl_ms, &answer, &value);
                    }
                    Some(answer) => last = Ok((answer, seen)),
                    None => last = Err(format!("an answer that is none: {value}")),
                },
                RawOutcome::Refused(code, _) if last.is_err() && now() <= patience => last = Err(code),
                RawOutcome::Refused(code, _) => last = Err(code),
                RawOutcome::Unknown(reason) => last = Err(reason),
            }
            if now() > patience || self.journal.is_over() {
                break;
            }
            self.pause(60).await;
        }
        match last {
            Ok((answer, seen)) => self.journal.ok(id, answer, seen),
            // An earlier attempt may have been granted.
            Err(reason) => self.journal.unknown(id, reason),
        }
        let body = json!({"peerId": self.name, "fileName": file});
        let leave = self.write("/lease/leave", body, Op::Leave { peer: self.name.clone(), file });
        self.insist(&leave).await;
        None
    }

    async fn renew(&mut self, held: &Held) -> bool {
        let body = json!({"peerId": self.name, "fileName": held.file, "leaseToken": held.token, "ttlMs": held.ttl_ms});
        let (peer, file) = (self.name.clone(), held.file.clone());
        let op = Op::Renew { peer, file, fence: held.fence, ttl_ms: held.ttl_ms };
        let write = self.write("/lease/renew", body, op);
        self.insist(&write).await.is_some()
    }

    async fn release(&mut self, held: &Held) {
        let body = json!({"peerId": self.name, "fileName": held.file, "leaseToken": held.token});
        let (peer, file) = (self.name.clone(), held.file.clone());
        let write = self.write("/lease/release", body, Op::Release { peer, file, fence: held.fence });
        self.insist(&write).await;
    }

    async fn publish(&mut self, held: &Held, keep: bool) -> bool {
        let hash = fresh_hash(&mut self.rng).to_string();
        // Mostly no version: the index takes the next one, so a repeat that is applied twice would show (F5).
        let version = (self.rng.random_bool(0.1) && !keep).then_some(held.version + 1);
        let mut entry = json!({"name": held.file, "size": 1, "hash": hash});
        if let Some(version) = version {
            entry["version"] = json!(version);
        }
        let body = json!({"peerId": self.name, "file": entry, "leaseToken": held.token, "keepLease": keep});
        let (peer, file) = (self.name.clone(), held.file.clone());
        let op = Op::Publish { peer, file, fence: Some(held.fence), version, hash, keep };
        let write = self.write("/announce", body, op);
        self.insist(&write).await.is_some()
    }

    fn write(&mut self, path: &'static str, body: Value, op: Op) -> Write {
        self.keys += 1;
        let (key, floor) = match self.session {
            true => (format!("{}:{}", self.name, self.keys), Some(self.keys)),
            false => (format!("{}-{}", self.name, self.keys), None),
        };
        Write { path, body, op, key, floor }
    }

    /// Repeats under the same key until an answer decides, and sometimes once more.
    async fn insist(&mut self, write: &Write) -> Option<(Answer, Value)> {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(write).await {
                Some(Ok(answer)) => {
                    if self.rng.random_bool(0.2) {
                        self.journal.count("repeats of answered writes");
                        self.attempt(write).await;
                    }
                    return Some(answer);
                }
                // A rule of the catalog: repeating would only be told the same.
                Some(Err(code)) if !matches!(code.as_str(), "no_quorum" | "unreachable" | "overloaded") => return None,
                Some(Err(_)) | None => self.pause(100).await,
            }
            if self.journal.is_over() {
                break;
            }
        }
        None
    }

    /// `None` if nobody knows what became of it; the inner error is a definite refusal.
    async fn attempt(&mut self, write: &Write) -> Option<Result<(Answer, Value), String>> {
        if self.journal.is_over() {
            return None;
        }
        let limit = Duration::from_millis(self.rng.random_range(ATTEMPT_MS));
        let id = self.journal.invoke(&self.name, write.op.clone(), Some(write.key.clone()));
        match self.send(write, limit).await {
            RawOutcome::Ok(value, seen) => match write_answer(&value) {
                Some(answer) => {
                    self.journal.ok(id, answer.clone(), seen);
                    Some(Ok((answer, value)))
                }
                None => {
                    self.journal.unknown(id, format!("an answer that is none: {value}"));
                    None
                }
            },
            RawOutcome::Refused(code, detail) => {
                self.journal.refused(id, code.clone(), detail);
                Some(Err(code))
            }
            RawOutcome::Unknown(reason) => {
                self.journal.unknown(id, reason);
                None
            }
        }
    }

    async fn send(&mut self, write: &Write, limit: Duration) -> RawOutcome {
        let node = self.rng.random_range(1..=self.founders);
        let mut request = Request::post(format!("http://{}{}", address(node), write.path))
            .header("content-type", "application/json")
            .header(headers::IDEMPOTENCY_KEY, &write.key);
        if let Some(floor) = write.floor {
            request = request.header(headers::IDEMPOTENCY_FLOOR, floor.to_string());
        }
        let outcome = call(request, write.body.to_string(), limit, &mut self.newest_index).await;
        if node != 0 && matches!(outcome, RawOutcome::Unknown(_)) {
            self.journal.count("unknown outcomes");
        }
        outcome
    }

    async fn read(&mut self) {
        let file = self.file();
        let level = match self.rng.random_range(0..3) {
            0 => Level::Linearizable,
            1 => Level::Leader,
            _ => Level::Stale,
        };
        let node = self.rng.random_range(1..=self.founders);
        let mut path = format!("http://{}/file?name={file}&consistency={}", address(node), level_text(level));
        let min_index = self.rng.random_bool(0.3).then_some(self.newest_index);
        if let Some(index) = min_index {
            path.push_str(&format!("&min_index={index}"));
        }
        let op = Op::Read { file, level, node: Some(node), min_index };
        let id = self.journal.invoke(&self.name, op, None);
        match call(Request::get(path), String::new(), Duration::from_secs(2), &mut 0).await {
            RawOutcome::Ok(value, seen) => match file_answer(&value) {
                Some(answer) => self.journal.ok(id, answer, seen),
                None => self.journal.unknown(id, format!("an answer that is none: {value}")),
            },
            RawOutcome::Refused(code, _) if code == "not_found" => {
                self.journal.ok(id, Answer::File { version: 0, hash: String::new() }, None);
            }
            RawOutcome::Refused(code, detail) => self.journal.refused(id, code, detail),
            RawOutcome::Unknown(reason) => self.journal.unknown(id, reason),
        }
    }
}

fn held(file: String, ttl_ms: u64, answer: &Answer, value: &Value) -> Option<Held> {
    let Answer::Granted { fence, version, .. } = answer else { return None };
    let token = value.get("leaseToken").cloned()?;
    Some(Held { file, token, fence: *fence, ttl_ms, version: *version })
}

/// Sends a request and reads what its answer proves; `newest_index` is raised to the log index of a write.
pub(super) async fn call(
    request: hyper::http::request::Builder,
    body: String,
    limit: Duration,
    newest_index: &mut u64,
) -> RawOutcome {
    let request = match request.body(Bytes::from(body)) {
        Ok(request) => request,
        Err(error) => return RawOutcome::Refused("unreachable".into(), error.to_string()),
    };
    match exchange(request, limit).await {
        Ok(response) => {
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
            *newest_index = (*newest_index).max(number(headers::INDEX).unwrap_or(0));
            let seen = (|| {
                let (node, applied) = (number(headers::NODE)?, number(headers::APPLIED)?);
                let boot = text(headers::BOOT)?.to_owned();
                Some(Seen { node, boot, applied, index: number(headers::INDEX) })
            })();
            outcome_of(response.status().is_success(), response.body(), seen)
        }
        Err(node::sys::net::Undelivered::NotSent(reason)) => RawOutcome::Refused("unreachable".into(), reason),
        Err(node::sys::net::Undelivered::Lost(reason)) => RawOutcome::Unknown(reason),
    }
}
