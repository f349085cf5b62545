//! Strangers on the nodes' ports: idle connections, half requests, bodies that never end,
//! garbage, false hellos and hostile names.
//!
//! Invariants: everything is bounded by the constants here; what was opened is closed by healing; honest
//! clients are not touched. That they are still served, and that no node ends, others see; how much
//! memory the flood costs is seen here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Arena, Effect, Environment, Family};
use crate::history::{FaultName, Record};
use crate::observer::rss_kib;
use crate::scenario::Setup;
use crate::workload::{RawClient, RawOutcome};

/// Connections per node that send nothing.
const IDLE: usize = 120;
/// Requests per node whose head never ends.
const HALF_HEADS: usize = 60;
/// Requests per node whose body is sent except for its last byte.
const HELD_BODIES: usize = 10;
/// Bytes of such a body.
const BODY_BYTES: usize = 4 << 20;
/// Connections per node that speak like a node and then send garbage.
const FALSE_NODES: usize = 20;
/// Connections per node that send garbage from the first byte.
const GARBAGE: usize = 20;
/// Bytes of garbage on each.
const GARBAGE_BYTES: usize = 8 << 10;
/// How long one connection may take to be made and written to.
const OPENED_WITHIN: Duration = Duration::from_secs(5);
/// Limit of one request with a hostile name.
const ASKED_WITHIN: Duration = Duration::from_secs(2);
/// Memory that the flood may cost a node: what the product allows for bodies, and as much again for all else.
const GROWTH_MAX_KIB: u64 = 256 << 10;
/// The first bytes of a connection between nodes; fixed by the product's protocol.
const RAFT: &[u8] = b"RSN1";

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodFault {
    /// Strangers flood every node that lives.
    Flood,
}

/// What strangers hold open.
#[derive(Debug, Default)]
pub struct Flood {
    held: Vec<TcpStream>,
}

impl Family for Flood {
    type Fault = FloodFault;

    async fn prepare(_setup: &Setup, _environment: &Environment) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self::default()))
    }

    async fn inject(&mut self, FloodFault::Flood: FloodFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let living = arena.cluster.living();
        let mut before = Vec::new();
        for id in &living {
            before.push(arena.cluster.pid(*id).and_then(rss_kib).context("its memory is not known")?);
        }
        let mut opening = JoinSet::new();
        for id in &living {
            let address = arena.cluster.plan(*id).context("it lives")?.listen.clone();
            let mut rng = StdRng::seed_from_u64(arena.rng.random());
            for (count, greeting) in greetings(&mut rng) {
                let greeting: Arc<[u8]> = greeting.into();
                for _ in 0..count {
                    opening.spawn(open(address.clone(), greeting.clone()));
                }
            }
        }
        let wanted = opening.len();
        while let Some(opened) = opening.join_next().await {
            // A node may close, or not take, what makes no sense.
            self.held.extend(opened?);
        }
        hostile_names(arena).await?;
        let mut grown = Vec::new();
        for (id, before) in living.iter().zip(before) {
            // A node that ended meanwhile is reported elsewhere.
            let Some(now) = arena.cluster.pid(*id).and_then(rss_kib) else { continue };
            let growth = now.saturating_sub(before);
            grown.push(growth >> 10);
            if growth > GROWTH_MAX_KIB {
                let what = format!("the flood cost node {id} {} MiB of memory", growth >> 10);
                arena.recorder.record(Record::Misbehaved { what });
            }
        }
        let words = format!("{} of {wanted} strange connections held, {grown:?} MiB", self.held.len());
        Ok(vec![Effect::installed(FaultName::Flood, None, words)])
    }

    async fn heal(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let gone = std::mem::take(&mut self.held).len();
        let effect = || Effect::installed(FaultName::Heal, None, format!("{gone} strangers gone"));
        Ok((gone > 0).then(effect).into_iter().collect())
    }
}

/// How many connections send what.
fn greetings(rng: &mut StdRng) -> Vec<(usize, Vec<u8>)> {
    let mut held = format!("POST /announce HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_BYTES}\r\n\r\n").into_bytes();
    held.resize(held.len() + BODY_BYTES - 1, b' ');
    let mut garbage = vec![0; GARBAGE_BYTES];
    rng.fill(garbage.as_mut_slice());
    // A frame header that announces the greatest length, with nothing after it.
    let endless = [RAFT, &[u8::MAX; 8]].concat();
    vec![
        (IDLE, Vec::new()),
        (HALF_HEADS, b"GET /file?name=x HTTP/1.1\r\nhost: x\r\nx-half: ".to_vec()),
        (HELD_BODIES, held),
        (FALSE_NODES / 2, [RAFT, garbage.as_slice()].concat()),
        (FALSE_NODES / 2, endless),
        (GARBAGE, garbage),
    ]
}

async fn open(address: String, greeting: Arc<[u8]>) -> Option<TcpStream> {
    let connecting = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&greeting).await.ok()?;
        Some(stream)
    };
    tokio::time::timeout(OPENED_WITHIN, connecting).await.ok().flatten()
}

/// Names that are none (F1), and a name that is too long: each has to be refused.
async fn hostile_names(arena: &Arena<'_>) -> anyhow::Result<()> {
    let raw = RawClient::new(Arc::new(arena.cluster.urls()))?;
    let long = "x".repeat(1_025);
    for name in ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "a\u{0}b", "a\\b", "a\nb", "", &long] {
        let body = json!({"peerId": "stranger", "file": {"name": name, "size": 1, "hash": "0".repeat(64)}});
        for id in arena.cluster.living() {
            let answer = raw.post(arena.cluster.server(id), "/announce", &body, None, ASKED_WITHIN).await;
            if let RawOutcome::Ok(..) = answer {
                let what = format!("node {id} took the name {name:?}");
                arena.recorder.record(Record::Misbehaved { what });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read() {
        assert!(rss_kib(std::process::id()).expect("this process has memory") > 100);
    }

    #[test]
    fn a_held_body_lacks_one_byte() {
        let greetings = greetings(&mut StdRng::seed_from_u64(1));
        let longest = greetings.iter().map(|(_, bytes)| bytes.len()).max().expect("there are some");
        assert!((BODY_BYTES..BODY_BYTES + 100).contains(&longest));
    }
}
