//! What the clients of a run do, and how every answer is written down.
//!
//! Invariant: an operation is recorded as refused only if its answer proves that it was not applied;
//! everything that is not understood is unknown.

pub(crate) mod bank;
pub(crate) mod keyed;
mod lease;
pub(crate) mod library;
mod loyal;
mod raw;
mod reader;
mod seeker;
pub(crate) mod txn;
pub(crate) mod write;
mod zombie;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::cluster::Error;
use parking_lot::Mutex;
use raft_store::types::{ContentHash, FileName, NodeId};
use rand::Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{Answer, Op, OpId, Record, Seen};
use crate::recorder::Recorder;
use crate::scenario::Workload;

pub(crate) use lease::PATIENT_PREFIX;
pub(crate) use raw::{Heard, outcome_of, write_answer};
pub use raw::{RawClient, RawOutcome};
pub(crate) use reader::{file_answer, found_answer, level_text};

/// How far back a repeated publish is looked for, in publishes of that file.
const REPEATS_WITHIN: usize = 64;

/// Everything a client needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where operations are written down.
    pub recorder: Recorder,
    /// Base URLs of all nodes.
    pub servers: Arc<Vec<String>>,
    /// How many of them, the first ones, are there from the beginning.
    pub founders: usize,
    /// Clients that publish and search. Where real peers are they would be asked for copies of files that nobody has.
    pub seekers: usize,
    /// Clients that change attributes.
    pub tellers: usize,
    /// What to do.
    pub workload: Workload,
    /// Counts lease updates as they are sent; faults wait for it.
    pub updates: watch::Sender<u64>,
    /// Turns true when the clients should end.
    pub stop: watch::Receiver<bool>,
    /// Contents that were published, or tried to be: per file, in the order they were sent.
    pub published: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    /// Names whose attributes transactions may have changed.
    pub attributed: Arc<Mutex<BTreeSet<String>>>,
    /// Log index of the newest acknowledged write per file, where the answer named it.
    pub indexes: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What a raw request came to, once it is written down.
#[derive(Debug)]
pub enum Settled {
    /// It was answered: the answer as the history words it, the whole body, and who answered.
    Answered(Answer, Value, Option<Seen>),
    /// It was refused, with this code.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// A client that cannot even be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The library refused its options.
    #[error("cannot make a client of the cluster: {0}")]
    Client(#[from] Error),
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] raft_store::types::InvalidValue),
}

/// Starts `count` clients, those that search, those that change attributes, two readers for each node, and for each
/// that is there from the beginning a client that writes through it alone; they run until `stop` turns true.
pub fn start(context: &Context, count: usize, seed: u64) -> Result<JoinSet<()>, WorkloadError> {
    let mut clients = JoinSet::new();
    let every = context.workload.zombie_one_in.max(1);
    for number in 0..count {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
        // Not the first ones: a run with few clients needs some that use the library.
        if number % every == every - 1 {
            clients.spawn(zombie::Zombie::new(context.clone(), number, seed)?.run());
        } else {
            clients.spawn(lease::LeaseClient::new(context.clone(), number, seed)?.run());
        }
    }
    for server in 0..context.founders {
        clients.spawn(loyal::Loyal::new(context.clone(), server, seed)?.run());
    }
    for number in 0..context.seekers {
        clients.spawn(seeker::Seeker::new(context.clone(), number, seed)?.run());
    }
    for number in 0..context.tellers {
        clients.spawn(bank::start(context.clone(), number, seed)?);
    }
    for server in 0..context.servers.len() {
        for stale in [true, false] {
            clients.spawn(reader::Reader::new(context.clone(), server, stale, seed)?.run());
        }
    }
    Ok(clients)
}

impl Context {
    /// Whether the clients should end.
    pub fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// Sleeps, or returns early when the run is over.
    pub async fn pause(&self, duration: std::time::Duration) {
        let mut stop = self.stop.clone();
        // An error means that the runner is gone: the run is over as well.
        let _ = tokio::time::timeout(duration, stop.wait_for(|over| *over)).await;
    }

    /// Writes down the invocation of an operation that goes through the library, which chooses the node.
    pub fn invoke(&self, client: &str, op: Op) -> OpId {
        self.invoke_at(client, op, None, None)
    }

    /// Writes down an invocation; lease updates are announced to whoever waits for one.
    pub fn invoke_at(&self, client: &str, op: Op, key: Option<String>, to: Option<NodeId>) -> OpId {
        let is_update = matches!(op, Op::Acquire { .. } | Op::Renew { .. } | Op::Release { .. } | Op::Publish { .. });
        if let Op::Publish { file, hash, .. } = &op {
            let mut published = self.published.lock();
            let hashes = published.entry(file.clone()).or_default();
            // A repeat comes after its first request, which is near the end.
            if !hashes.iter().rev().take(REPEATS_WITHIN).any(|known| known == hash) {
                hashes.push(hash.clone());
            }
        }
        if let Op::Txn(txn) = &op {
            self.attributed.lock().extend(txn.names().into_iter().map(str::to_owned));
        }
        let id = self.recorder.invoke(client, op, key, to);
        if is_update {
            self.updates.send_modify(|count| *count += 1);
        }
        id
    }

    /// Writes down a success.
    pub fn ok(&self, id: OpId, answer: Answer, seen: Option<Seen>) {
        self.recorder.record(Record::Ok { id, answer, seen });
    }

    /// Log index of the newest acknowledged write of this file, if one is known.
    pub fn written_index(&self, file: &str) -> Option<u64> {
        self.indexes.lock().get(file).copied()
    }

    /// Remembers the log index of an acknowledged write, for reads that must include it (R3).
    pub fn written(&self, file: &str, index: u64) {
        let mut indexes = self.indexes.lock();
        let known = indexes.entry(file.to_owned()).or_default();
        *known = (*known).max(index);
    }

    /// Writes down what a raw request came to. An answer that `read` does not understand is unknown.
    pub fn settle(&self, id: OpId, outcome: RawOutcome, read: impl FnOnce(&Value) -> Option<Answer>) -> Settled {
        let (record, settled) = settled(id, outcome, read);
        self.recorder.record(record);
        settled
    }

    /// One of the files that all clients fight for.
    pub fn shared_file(&self, rng: &mut impl Rng) -> Result<FileName, WorkloadError> {
        Ok(FileName::parse(format!("shared/{}.txt", rng.random_range(0..self.workload.shared_files)))?)
    }

    /// A lease duration in milliseconds.
    pub fn ttl_ms(&self, rng: &mut impl Rng) -> u64 {
        let ttls = self.workload.ttls_ms;
        ttls.get(rng.random_range(0..ttls.len().max(1))).copied().unwrap_or(1_000)
    }
}

/// What a raw request came to, for the history and for its client. An answer that `read` does not understand is
/// unknown.
pub(crate) fn settled(id: OpId, outcome: RawOutcome, read: impl FnOnce(&Value) -> Option<Answer>) -> (Record, Settled) {
    match outcome {
        RawOutcome::Ok(value, seen) => match read(&value) {
            Some(answer) => {
                (Record::Ok { id, answer: answer.clone(), seen: seen.clone() }, Settled::Answered(answer, value, seen))
            }
            None => {
                let reason = format!("an answer that is none: {value}");
                (Record::Unknown { id, reason }, Settled::Unknown)
            }
        },
        RawOutcome::Refused(code, detail) => {
            (Record::Refused { id, code: code.clone(), detail }, Settled::Refused(code))
        }
        RawOutcome::Unknown(reason) => (Record::Unknown { id, reason }, Settled::Unknown),
    }
}

/// The contract's spelling of a code.
pub fn code_text(code: client::contract::ErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(text)) => text,
        _ => format!("{code:?}"),
    }
}

/// A hash that no other publish has.
pub fn fresh_hash(rng: &mut impl Rng) -> ContentHash {
    let mut bytes = [0_u8; 32];
    rng.fill(&mut bytes);
    ContentHash(Sha256::digest(bytes).into())
}
