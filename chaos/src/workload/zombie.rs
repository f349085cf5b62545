//! A client without the library's care: raw requests to any node with deadlines far too short, repeated under the
//! same key to other nodes and long after they were answered, and publishes under leases that are long over.
//!
//! Invariant: a request is repeated only while the index has to remember its key.

use std::time::Duration;

use raft_store::types::{NodeId, limits};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::keyed::{Habits, Keyed, Request, Wire};
use super::raw::Heard;
use super::write::{Lease, Write};
use super::{Context, RawClient, RawOutcome, WorkloadError};
use crate::history::{Answer, Op, OpId, Record, Seen};

/// Deadlines of single attempts, in milliseconds; most are shorter than a failover.
const ATTEMPT_MS: std::ops::Range<u64> = 5..400;
/// Newer keys after which a request is not repeated any more: opaque keys are remembered for 1,024 newer ones (X2), and
/// past that the index may rightly take a repeat for a new request.
const NEWER_KEYS_MAX: u64 = limits::OPAQUE_KEYS_PER_PEER as u64 * 3 / 4;
/// Requests that are kept to be repeated later.
const OLD_MAX: usize = 64;

/// Real nodes, without the library between.
pub(super) struct RawWire {
    context: Context,
    raw: RawClient,
}

impl RawWire {
    pub(super) fn new(context: Context) -> Result<Self, WorkloadError> {
        let raw = RawClient::new(context.servers.clone())?;
        Ok(Self { context, raw })
    }
}

impl Wire for RawWire {
    fn nodes(&self) -> u64 {
        self.context.servers.len().max(1) as u64
    }

    fn is_over(&self) -> bool {
        self.context.is_over()
    }

    fn invoke(&self, client: &str, op: Op, key: Option<String>, to: NodeId) -> OpId {
        self.context.invoke_at(client, op, key, Some(to))
    }

    fn record(&self, record: Record) {
        self.context.recorder.record(record);
    }

    fn acknowledged(&self, op: &Op, seen: Option<&Seen>) {
        if let (Op::Publish { file, .. }, Some(index)) = (op, seen.and_then(|seen| seen.index)) {
            self.context.written(file, index);
        }
    }

    async fn post(&mut self, node: NodeId, request: &Request, limit: Duration) -> RawOutcome {
        self.raw.write(node as usize - 1, &request.write, Some(&request.key), limit).await
    }

    async fn get(&mut self, node: NodeId, path: &str, query: &[(&str, &str)], limit: Duration) -> Heard {
        self.raw.ask(node as usize - 1, path, query, limit).await
    }
}

pub(super) struct Zombie(Keyed<RawWire>);

impl Zombie {
    pub(super) fn new(context: Context, number: usize, seed: u64) -> Result<Self, WorkloadError> {
        let habits = Habits { attempt_ms: ATTEMPT_MS, repeats: 0.3, pause_ms: None, session: false };
        let (wire, rng) = (RawWire::new(context)?, StdRng::seed_from_u64(seed));
        Ok(Self(Keyed { wire, name: format!("zombie-{number}"), rng, keys: 0, habits }))
    }

    pub(super) async fn run(mut self) {
        let context = self.0.wire.context.clone();
        let register = self.0.request(Write::register(&self.0.name, false));
        while !context.is_over() && !matches!(self.0.insist(&register).await, Some((Answer::Done, _))) {}
        let mut old: Vec<Request> = Vec::new();
        while !context.is_over() {
            let Ok(file) = context.shared_file(&mut self.0.rng) else { return };
            old.extend(self.lease_cycle(file.as_str(), &context).await);
            let newest = self.0.keys;
            old.retain(|request| newest - request.number < NEWER_KEYS_MAX);
            // Long after its answer: a repeat must get the same answer again (X1).
            if !old.is_empty() && self.0.rng.random_bool(0.3) {
                let request = old.swap_remove(self.0.rng.random_range(0..old.len()));
                self.0.attempt(&request).await;
            }
            old.truncate(OLD_MAX);
            let pause = self.0.rng.random_range(0..=context.workload.pause_ms * 2);
            context.pause(Duration::from_millis(pause)).await;
        }
    }

    /// Takes a lease, maybe sleeps past its end, and publishes under it in any case. Returns what it sent.
    async fn lease_cycle(&mut self, file: &str, context: &Context) -> Vec<Request> {
        let client = &mut self.0;
        let ttl_ms = context.ttl_ms(&mut client.rng);
        let acquire = client.request(Write::acquire(&client.name, file, ttl_ms, false));
        let Some((answer, value)) = client.insist(&acquire).await else { return vec![acquire] };
        let Some(lease) = Lease::granted(&acquire.write, &answer, &value) else { return vec![acquire] };
        if client.rng.random_bool(0.3) {
            let late = Duration::from_millis(client.rng.random_range(0..300));
            context.pause(lease.ttl() + late).await;
        }
        let keep = client.rng.random_bool(0.5);
        let publish = lease.publish(&mut client.rng, keep);
        let publish = client.request(publish);
        client.insist(&publish).await;
        vec![acquire, publish]
    }
}
