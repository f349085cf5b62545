//! A client that publishes a file and searches for it at once, at every level and from any node.
//!
//! Invariants: its peer serves, or no search would find the file (P5), and is registered again before each publish, so
//! that it has not expired by the time of the searches. A peer whose registration may still come is not used again: it
//! would take the file away.

use std::time::Duration;

use raft_store::types::NodeId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::raw::write_answer;
use super::reader::{found_answer, level_text};
use super::write::{Lease, Write};
use super::{Context, RawClient, Settled, WorkloadError};
use crate::history::{Answer, Level, Op, Seen};

/// Limit of one request; longer than a node waits for a log index (2 s).
const WITHIN: Duration = Duration::from_millis(2_500);
/// Duration of its leases in milliseconds.
const TTL_MS: u64 = 300;
/// Longest pause between two publishes, in milliseconds: every publish costs three writes.
const PAUSE_MS: u64 = 250;
/// Most searches after one publish.
const SEARCHES_MAX: u32 = 3;

pub(super) struct Seeker {
    context: Context,
    raw: RawClient,
    name: String,
    /// Counts the peers it has used.
    peers: u64,
    keys: u64,
    rng: StdRng,
}

impl Seeker {
    pub(super) fn new(context: Context, number: usize, seed: u64) -> Result<Self, WorkloadError> {
        let raw = RawClient::new(context.servers.clone())?;
        let rng = StdRng::seed_from_u64(!seed.wrapping_mul(1_000_037).wrapping_add(number as u64));
        Ok(Self { context, raw, name: format!("seeker-{number}"), peers: 0, keys: 0, rng })
    }

    pub(super) async fn run(mut self) {
        while !self.context.is_over() {
            if let Some(index) = self.publish().await {
                for _ in 0..self.rng.random_range(1..=SEARCHES_MAX) {
                    self.search(index).await;
                }
            }
            let pause = self.rng.random_range(0..=PAUSE_MS);
            self.context.pause(Duration::from_millis(pause)).await;
        }
    }

    fn file(&self) -> String {
        format!("found/{}.txt", self.name)
    }

    /// Publishes the next version; returns its log index if it was acknowledged.
    async fn publish(&mut self) -> Option<u64> {
        let (peer, file) = (format!("{}-{}", self.name, self.peers), self.file());
        if self.send(&Write::register(&peer, true)).await.is_none() {
            self.peers += 1;
            return None;
        }
        let acquire = Write::acquire(&peer, &file, TTL_MS, false);
        let (answer, value, _) = self.send(&acquire).await?;
        let publish = Lease::granted(&acquire, &answer, &value)?.publish(&mut self.rng, false);
        self.send(&publish).await?.2?.index
    }

    /// Sends a write once; returns the answer if it was acknowledged.
    async fn send(&mut self, write: &Write) -> Option<(Answer, Value, Option<Seen>)> {
        self.keys += 1;
        let key = format!("{}-{}", self.name, self.keys);
        let server = self.server();
        let id = self.context.invoke_at(&self.name, write.op.clone(), Some(key.clone()), Some(node_of(server)));
        let outcome = self.raw.write(server, write, Some(&key), WITHIN).await;
        match self.context.settle(id, outcome, write_answer) {
            Settled::Answered(answer, value, seen) => Some((answer, value, seen)),
            Settled::Refused(_) | Settled::Unknown => None,
        }
    }

    async fn search(&mut self, written: u64) {
        let level = match self.rng.random_range(0..5) {
            0 => None,
            1 => Some(Level::Leader),
            2 => Some(Level::Linearizable),
            _ => Some(Level::Stale),
        };
        let min_index = self.rng.random_bool(0.5).then_some(written);
        let (server, file) = (self.server(), self.file());
        let op = Op::Search { file: file.clone(), level, node: node_of(server), min_index };
        let id = self.context.invoke(&self.name, op);
        let index = min_index.map(|index| index.to_string());
        let mut query = vec![("q", file.as_str()), ("mode", "prefix")];
        query.extend(level.map(|level| ("consistency", level_text(level))));
        query.extend(index.as_deref().map(|index| ("min_index", index)));
        let outcome = self.raw.get(server, "/search", &query, WITHIN).await;
        self.context.settle(id, outcome, |value| found_answer(value, &file));
    }

    fn server(&mut self) -> usize {
        self.rng.random_range(0..self.context.servers.len().max(1))
    }
}

fn node_of(server: usize) -> NodeId {
    server as NodeId + 1
}
