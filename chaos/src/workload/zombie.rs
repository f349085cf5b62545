//! A client without the library's manners: raw requests to any node with deadlines far too short, repeated under the
//! same key to other nodes and long after they were answered, and publishes under leases that are long over.
//!
//! Invariant: a repeat carries the very body of the first request.

use std::time::Duration;

use raft_store::types::{FileName, limits};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::raw::write_answer;
use super::{Context, RawClient, Settled, WorkloadError, fresh_hash};
use crate::history::{Answer, Op};

/// Deadlines of single attempts, in milliseconds; most are shorter than a failover.
const ATTEMPT_MS: std::ops::Range<u64> = 5..400;
/// Attempts under one key before the client turns to something else.
const ATTEMPTS_MAX: u32 = 4;
/// Newer keys after which a request is not repeated any more: opaque keys are remembered for 1,024 newer ones (X2), and
/// past that the index may rightly take a repeat for a new request.
const NEWER_KEYS_MAX: u64 = limits::OPAQUE_KEYS_PER_PEER as u64 * 3 / 4;
/// Requests that are kept to be repeated later.
const OLD_MAX: usize = 64;

pub(super) struct Zombie {
    context: Context,
    raw: RawClient,
    name: String,
    keys: u64,
    rng: StdRng,
}

/// A request that may be sent again.
#[derive(Clone)]
struct Request {
    path: &'static str,
    body: Value,
    op: Op,
    key: String,
    /// Counts the client's keys.
    number: u64,
}

impl Zombie {
    pub(super) fn new(context: Context, number: usize, seed: u64) -> Result<Self, WorkloadError> {
        let raw = RawClient::new(context.servers.clone())?;
        Ok(Self { context, raw, name: format!("zombie-{number}"), keys: 0, rng: StdRng::seed_from_u64(seed) })
    }

    pub(super) async fn run(mut self) {
        let body = json!({"peerId": self.name, "address": "http://127.0.0.1:9", "files": [], "serving": false});
        let register = self.request("/register", body, Op::Register { peer: self.name.clone() });
        while !self.context.is_over() && !matches!(self.insist(&register).await, Some((Answer::Done, _))) {}
        let mut old: Vec<Request> = Vec::new();
        while !self.context.is_over() {
            let Ok(file) = self.context.shared_file(&mut self.rng) else { return };
            old.extend(self.lease_cycle(&file).await);
            let newest = self.keys;
            old.retain(|request| newest - request.number < NEWER_KEYS_MAX);
            // Long after its answer: a repeat must be told the same again (X1).
            if !old.is_empty() && self.rng.random_bool(0.3) {
                let request = old.swap_remove(self.rng.random_range(0..old.len()));
                self.attempt(&request).await;
            }
            old.truncate(OLD_MAX);
            let pause = self.rng.random_range(0..=self.context.workload.pause_ms * 2);
            self.context.pause(Duration::from_millis(pause)).await;
        }
    }

    /// Takes a lease, maybe sleeps past its end, and publishes under it in any case. Returns what it sent.
    async fn lease_cycle(&mut self, file: &FileName) -> Vec<Request> {
        let ttl_ms = self.context.ttl_ms(&mut self.rng);
        let body = json!({"peerId": self.name, "fileName": file, "ttlMs": ttl_ms});
        let op = Op::Acquire { peer: self.name.clone(), file: file.to_string(), ttl_ms, wait: false };
        let acquire = self.request("/lease", body, op);
        let Some((Answer::Granted { fence, .. }, value)) = self.insist(&acquire).await else { return vec![acquire] };
        let Some(token) = value.get("leaseToken").cloned() else { return vec![acquire] };
        if self.rng.random_bool(0.3) {
            let late = self.rng.random_range(0..300);
            self.context.pause(Duration::from_millis(ttl_ms + late)).await;
        }
        let hash = fresh_hash(&mut self.rng);
        let keep = self.rng.random_bool(0.5);
        let entry = json!({"name": file, "size": 1, "hash": hash});
        let body = json!({"peerId": self.name, "file": entry, "leaseToken": token, "keepLease": keep});
        let (peer, hash) = (self.name.clone(), hash.to_string());
        let op = Op::Publish { peer, file: file.to_string(), fence: Some(fence), version: None, hash, keep };
        let publish = self.request("/announce", body, op);
        self.insist(&publish).await;
        vec![acquire, publish]
    }

    fn request(&mut self, path: &'static str, body: Value, op: Op) -> Request {
        self.keys += 1;
        Request { path, body, op, key: format!("{}-{}", self.name, self.keys), number: self.keys }
    }

    /// Repeats under the same key until an answer decides, and sometimes once more.
    async fn insist(&mut self, request: &Request) -> Option<(Answer, Value)> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(answer) = self.attempt(request).await {
                if self.rng.random_bool(0.3) {
                    self.attempt(request).await;
                }
                return Some(answer);
            }
        }
        None
    }

    async fn attempt(&mut self, request: &Request) -> Option<(Answer, Value)> {
        let server = self.rng.random_range(0..self.context.servers.len().max(1));
        let limit = Duration::from_millis(self.rng.random_range(ATTEMPT_MS));
        let (op, key, to) = (request.op.clone(), Some(request.key.clone()), Some(server as u64 + 1));
        let id = self.context.invoke_at(&self.name, op, key, to);
        let outcome = self.raw.post(server, request.path, &request.body, Some(&request.key), limit).await;
        let Settled::Answered(answer, value, seen) = self.context.settle(id, outcome, write_answer) else {
            return None;
        };
        if let (Op::Publish { file, .. }, Some(index)) = (&request.op, seen.and_then(|seen| seen.index)) {
            self.context.written(file, index);
        }
        Some((answer, value))
    }
}
