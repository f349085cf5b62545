//! A client of the simulated cluster: takes leases, some in line, renews, publishes, keeps, releases,
//! registers again, reads and searches at every level, repeats requests under their keys to other nodes, and
//! publishes under leases that are over.
//!
//! Invariants: a repeat carries the very body of the first request; an operation is recorded as refused only if its
//! answer proves that it was not applied.

use std::time::Duration;

use client::contract::headers;
use hyper::Request;
use raft_store::types::NodeId;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::http::{ask, call, post_request};
use super::journal::{Journal, now};
use super::net::address;
use super::plan::Plan;
use crate::history::{Answer, Level, Op, OpId, Record};
use crate::workload::bank::Bank;
use crate::workload::keyed::{self, Habits, Keyed, Wire};
use crate::workload::write::{Lease, LeaseHolder, Write};
use crate::workload::{Heard, RawOutcome, file_answer, found_answer, level_text, settled, write_answer};

/// Deadlines of single attempts in milliseconds; many are shorter than a failover.
const ATTEMPT_MS: std::ops::Range<u64> = 40..1_500;
/// Longest pause of a client that changes attributes, in milliseconds.
const BANK_PAUSE_MS: u64 = 120;
/// Lease durations in milliseconds.
const TTLS_MS: [u64; 3] = [300, 1_000, 3_000];

/// The simulated network, and the journal of a run.
struct SimWire {
    journal: Journal,
    founders: u64,
    /// The newest log index it knows of (R3).
    newest_index: u64,
}

impl Wire for SimWire {
    fn nodes(&self) -> u64 {
        self.founders
    }

    fn is_over(&self) -> bool {
        self.journal.is_over()
    }

    fn invoke(&self, client: &str, op: Op, key: Option<String>, _to: NodeId) -> OpId {
        self.journal.invoke(client, op, key)
    }

    fn record(&self, record: Record) {
        self.journal.record(record);
    }

    fn repeats(&self) {
        self.journal.count("repeats of answered writes");
    }

    async fn post(&mut self, node: NodeId, request: &keyed::Request, limit: Duration) -> RawOutcome {
        let Write { path, body, .. } = &request.write;
        let mut post = post_request(node, path).header(headers::IDEMPOTENCY_KEY, &request.key);
        if let Some(floor) = request.floor {
            post = post.header(headers::IDEMPOTENCY_FLOOR, floor.to_string());
        }
        let outcome = call(post, body.to_string(), limit, &mut self.newest_index).await;
        match &outcome {
            RawOutcome::Unknown(_) => self.journal.count("unknown outcomes"),
            RawOutcome::Ok(..) if *path == "/txn" => self.journal.count("transactions"),
            RawOutcome::Refused(code, _) if code == "out_of_bounds" => self.journal.count("transactions out of bounds"),
            RawOutcome::Refused(code, _) if code == "key_reused" => self.journal.count("keys used twice"),
            RawOutcome::Ok(..) | RawOutcome::Refused(..) => {}
        }
        outcome
    }

    async fn get(&mut self, node: NodeId, path: &str, query: &[(&str, &str)], limit: Duration) -> Heard {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::get(format!("http://{}{path}?{}", address(node), query.join("&")));
        ask(request, String::new(), limit, &mut 0).await
    }
}

/// A client that changes attributes; it works until the phase ends.
pub(super) async fn bank(number: usize, plan: Plan, journal: Journal) {
    let mut rng = plan.rng(7_000 + number as u64);
    let session = rng.random_bool(0.5);
    let habits = Habits { attempt_ms: ATTEMPT_MS, repeats: 0.2, pause_ms: Some(100), session };
    let wire = SimWire { journal, founders: plan.founders, newest_index: 0 };
    let mut bank = Bank::new(wire, number, rng, habits, BANK_PAUSE_MS);
    wait_for_the_cluster(&mut bank.client).await;
    bank.run().await;
}

/// Before a cluster is founded there is nothing to ask for.
async fn wait_for_the_cluster(client: &mut Keyed<SimWire>) {
    while !client.wire.journal.is_over() {
        let node = client.rng.random_range(1..=client.wire.founders);
        let request = Request::get(format!("http://{}/leader", address(node)));
        if let RawOutcome::Ok(..) = call(request, String::new(), Duration::from_secs(1), &mut 0).await {
            return;
        }
        client.pause(50).await;
    }
}

/// A client.
pub(super) struct Actor {
    client: Keyed<SimWire>,
    files: usize,
    /// Counts the peers whose files it searches for.
    seekers: u64,
}

impl Actor {
    /// Client number `number` of a plan.
    pub(super) fn new(number: usize, plan: &Plan, journal: Journal) -> Self {
        let mut rng = plan.rng(1_000 + number as u64);
        let session = rng.random_bool(0.5);
        let habits = Habits { attempt_ms: ATTEMPT_MS, repeats: 0.2, pause_ms: Some(100), session };
        let wire = SimWire { journal, founders: plan.founders, newest_index: 0 };
        let client = Keyed { wire, name: format!("peer-{number}"), rng, keys: 0, habits };
        Self { client, files: plan.files, seekers: 0 }
    }

    /// Works until the phase ends.
    pub(super) async fn run(mut self) {
        wait_for_the_cluster(&mut self.client).await;
        while !self.client.wire.journal.is_over() && !self.register().await {
            self.client.pause(50).await;
        }
        while !self.client.wire.journal.is_over() {
            match self.client.rng.random_range(0..100) {
                0..30 => self.read().await,
                30..34 => {
                    self.register().await;
                }
                34..38 => self.create().await,
                38..46 => self.publish_and_search().await,
                _ => self.lease_cycle().await,
            }
            self.client.pause(30).await;
        }
    }

    fn file(&mut self) -> String {
        format!("shared/{}.txt", self.client.rng.random_range(0..self.files))
    }

    /// Carries out a write under a new key; returns the answer if it was acknowledged.
    async fn insist(&mut self, write: Write) -> Option<(Answer, Value)> {
        let request = self.client.request(write);
        self.client.insist(&request).await
    }

    async fn register(&mut self) -> bool {
        self.insist(Write::register(&self.client.name, false)).await.is_some()
    }

    /// Creates a new name without a lease (F3).
    async fn create(&mut self) {
        let Keyed { name, keys, rng, .. } = &mut self.client;
        let write = Write::create(name, &format!("private/{name}-{keys}.txt"), None, rng);
        self.insist(write).await;
    }

    /// Creates a file held by a serving peer of its own and at once searches for it at several nodes.
    async fn publish_and_search(&mut self) {
        let peer = format!("{}-seeker-{}", self.client.name, self.seekers);
        // If this is not told to have been done, it may be done later and take the file away
        // again: not this peer any more.
        self.seekers += 1;
        if self.insist(Write::register(&peer, true)).await.is_none() {
            return;
        }
        self.seekers -= 1;
        let Keyed { name, keys, rng, .. } = &mut self.client;
        let file = format!("found/{name}-{keys}.txt");
        let write = Write::create(&peer, &file, None, rng);
        if self.insist(write).await.is_none() {
            return;
        }
        for _ in 0..self.client.rng.random_range(1..4) {
            self.search(&file).await;
        }
    }

    async fn search(&mut self, file: &str) {
        let level = match self.client.rng.random_range(0..5) {
            0 => None,
            1 => Some(Level::Leader),
            2 => Some(Level::Linearizable),
            _ => Some(Level::Stale),
        };
        let node = self.client.rng.random_range(1..=self.client.wire.founders);
        let mut path = format!("http://{}/search?mode=prefix&q={file}", address(node));
        if let Some(level) = level {
            path.push_str(&format!("&consistency={}", level_text(level)));
        }
        let min_index = self.client.rng.random_bool(0.4).then_some(self.client.wire.newest_index);
        if let Some(index) = min_index {
            path.push_str(&format!("&min_index={index}"));
        }
        let op = Op::Search { file: file.to_owned(), level, node, min_index };
        self.ask(op, path, |value| found_answer(value, file)).await;
    }

    /// Sends a read and writes down what it came to.
    async fn ask(&mut self, op: Op, path: String, read: impl FnOnce(&Value) -> Option<Answer>) {
        let journal = &self.client.wire.journal;
        let reads_file = matches!(op, Op::Read { .. });
        let id = journal.invoke(&self.client.name, op, None);
        let outcome = call(Request::get(path), String::new(), Duration::from_secs(2), &mut 0).await;
        let record = match outcome {
            RawOutcome::Refused(code, _) if code == "not_found" && reads_file => {
                Record::Ok { id, answer: Answer::File { version: 0, hash: String::new() }, seen: None }
            }
            outcome => settled(id, outcome, read).0,
        };
        journal.record(record);
    }

    async fn lease_cycle(&mut self) {
        let file = self.file();
        let lease =
            if self.client.rng.random_bool(0.4) { self.wait_in_line(&file).await } else { self.acquire(&file).await };
        if let Some(lease) = lease {
            self.work_under(&lease).await;
        }
    }

    fn acquisition(&mut self, file: &str, wait: bool) -> Write {
        let ttl_ms = TTLS_MS[self.client.rng.random_range(0..TTLS_MS.len())];
        let mut write = Write::acquire(&self.client.name, file, ttl_ms, wait);
        if wait {
            write.body["wait"] = json!(true);
            write.body["waitMs"] = json!(self.client.rng.random_range(0..800));
        }
        write
    }

    async fn acquire(&mut self, file: &str) -> Option<Lease> {
        let write = self.acquisition(file, false);
        let (answer, value) = self.insist(write.clone()).await?;
        Lease::granted(&write, &answer, &value)
    }

    /// One operation under one key, polled until it is granted or patience ends (L5).
    async fn wait_in_line(&mut self, file: &str) -> Option<Lease> {
        let write = self.acquisition(file, true);
        let request = self.client.request(write);
        let journal = self.client.wire.journal.clone();
        let id = journal.invoke(&self.client.name, request.write.op.clone(), None);
        let patience = now() + self.client.rng.random_range(500_000..3_000_000);
        let mut last: Result<_, String>;
        loop {
            let sent = now();
            let node = self.client.node();
            match self.client.wire.post(node, &request, Duration::from_millis(1_500)).await {
                RawOutcome::Ok(value, seen) => match write_answer(&value) {
                    Some(Answer::Granted { fence, ttl_ms, version, .. }) => {
                        let answer = Answer::Granted { fence, ttl_ms, version, sent: Some(sent) };
                        journal.count("claims");
                        let lease = Lease::granted(&request.write, &answer, &value);
                        journal.record(Record::Ok { id, answer, seen });
                        return lease;
                    }
                    Some(answer) => last = Ok((answer, seen)),
                    None => last = Err(format!("an answer that is none: {value}")),
                },
                RawOutcome::Refused(reason, _) | RawOutcome::Unknown(reason) => last = Err(reason),
            }
            if now() > patience || journal.is_over() {
                break;
            }
            self.client.pause(60).await;
        }
        journal.record(match last {
            Ok((answer, seen)) => Record::Ok { id, answer, seen },
            // An earlier attempt may have been granted.
            Err(reason) => Record::Unknown { id, reason },
        });
        self.insist(Write::leave(&self.client.name, file)).await;
        None
    }

    async fn read(&mut self) {
        let file = self.file();
        let level = match self.client.rng.random_range(0..3) {
            0 => Level::Linearizable,
            1 => Level::Leader,
            _ => Level::Stale,
        };
        let node = self.client.rng.random_range(1..=self.client.wire.founders);
        let mut path = format!("http://{}/file?name={file}&consistency={}", address(node), level_text(level));
        let min_index = self.client.rng.random_bool(0.3).then_some(self.client.wire.newest_index);
        if let Some(index) = min_index {
            path.push_str(&format!("&min_index={index}"));
        }
        let op = Op::Read { file, level, node: Some(node), min_index };
        self.ask(op, path, file_answer).await;
    }
}

impl LeaseHolder for Actor {
    fn rng(&mut self) -> &mut StdRng {
        &mut self.client.rng
    }

    async fn carry_out(&mut self, write: Write) -> bool {
        self.insist(write).await.is_some()
    }

    async fn sleep(&mut self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
