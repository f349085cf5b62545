//! A client that sends its writes under keys to any node, and repeats them under the same key to others.
//!
//! Invariants: a repeat carries the very body of the first request; the client draws in the same order whatever the
//! network is, so a simulated run replays.

use std::ops::Range;
use std::time::Duration;

use raft_store::types::NodeId;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::raw::{Heard, RawOutcome, UNREACHABLE, write_answer};
use super::write::Write;
use super::{Settled, settled};
use crate::history::{Answer, Op, OpId, Record, Seen};

/// Attempts under one key.
const ATTEMPTS_MAX: u32 = 4;

/// How a client reaches the nodes, and where it writes down what it does: the real network or a simulated one.
pub(crate) trait Wire {
    /// Nodes, numbered from 1.
    fn nodes(&self) -> u64;
    /// Whether the client should end.
    fn is_over(&self) -> bool;
    /// Writes down that a request is about to be sent.
    fn invoke(&self, client: &str, op: Op, key: Option<String>, to: NodeId) -> OpId;
    /// Writes down what became of it.
    fn record(&self, record: Record);
    /// A write was acknowledged.
    fn acknowledged(&self, _op: &Op, _seen: Option<&Seen>) {}
    /// An answered write is sent once more.
    fn repeats(&self) {}
    /// Sends a request to a node.
    async fn post(&mut self, node: NodeId, request: &Request, limit: Duration) -> RawOutcome;
    /// Asks a node for something.
    async fn get(&mut self, node: NodeId, path: &str, query: &[(&str, &str)], limit: Duration) -> Heard;
}

/// What a client is like.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// Deadlines of single attempts, in milliseconds; many are shorter than a failover.
    pub(crate) attempt_ms: Range<u64>,
    /// How often an answered write is sent once more.
    pub(crate) repeats: f64,
    /// Longest pause before a write is tried again, in milliseconds; a client without one asks again at once, even when
    /// it was refused.
    pub(crate) pause_ms: Option<u64>,
    /// Its keys have the library's form, with a floor (X2).
    pub(crate) session: bool,
}

/// A write that may be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) write: Write,
    pub(crate) key: String,
    /// Counts the client's keys.
    pub(crate) number: u64,
    pub(crate) floor: Option<u64>,
}

/// The client.
pub(crate) struct Keyed<W> {
    pub(crate) wire: W,
    pub(crate) name: String,
    pub(crate) rng: StdRng,
    pub(crate) keys: u64,
    pub(crate) habits: Habits,
}

impl<W: Wire> Keyed<W> {
    /// Gives a write its key.
    pub(crate) fn request(&mut self, write: Write) -> Request {
        self.keys += 1;
        let (key, floor) = match self.habits.session {
            true => (format!("{}:{}", self.name, self.keys), Some(self.keys)),
            false => (format!("{}-{}", self.name, self.keys), None),
        };
        Request { write, key, number: self.keys, floor }
    }

    /// Repeats under the same key until an answer decides, and sometimes once more.
    pub(crate) async fn insist(&mut self, request: &Request) -> Option<(Answer, Value)> {
        for _ in 0..ATTEMPTS_MAX {
            match (self.attempt(request).await, self.habits.pause_ms) {
                (Settled::Answered(answer, value, _), _) => {
                    if self.rng.random_bool(self.habits.repeats) {
                        self.wire.repeats();
                        self.attempt(request).await;
                    }
                    return Some((answer, value));
                }
                // A rule of the catalog: a repeat would get the same answer.
                (Settled::Refused(code), Some(_)) if !is_temporary(&code) => return None,
                (_, Some(pause)) => self.pause(pause).await,
                (_, None) => {}
            }
            if self.wire.is_over() {
                break;
            }
        }
        None
    }

    /// Sends a write once and writes down what it came to.
    pub(crate) async fn attempt(&mut self, request: &Request) -> Settled {
        if self.wire.is_over() {
            return Settled::Unknown;
        }
        let limit = Duration::from_millis(self.rng.random_range(self.habits.attempt_ms.clone()));
        let node = self.node();
        let id = self.wire.invoke(&self.name, request.write.op.clone(), Some(request.key.clone()), node);
        let outcome = self.wire.post(node, request, limit).await;
        let (record, settled) = settled(id, outcome, write_answer);
        self.wire.record(record);
        if let Settled::Answered(_, _, seen) = &settled {
            self.wire.acknowledged(&request.write.op, seen.as_ref());
        }
        settled
    }

    /// Any node.
    pub(crate) fn node(&mut self) -> NodeId {
        self.rng.random_range(1..=self.wire.nodes())
    }

    /// Sleeps for up to this many milliseconds.
    pub(crate) async fn pause(&mut self, most_ms: u64) {
        let ms = self.rng.random_range(0..=most_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn is_temporary(code: &str) -> bool {
    matches!(code, "no_quorum" | UNREACHABLE | "overloaded")
}
