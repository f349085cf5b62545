//! What one client sees: a lease-and-publish cycle, a read while the leader is dead, and a failover.
//!
//! Invariant: the client is the library's, with its own search for the leader and its own repeats; nothing is asked of
//! a node that the library would not ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use client::cluster::{Consistency, IndexClient, Options, ReadOptions};
use raft_store::types::{FileName, limits};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::samples::Samples;
use super::{Bench, Figure, original};
use crate::cluster::READY_WITHIN;
use crate::history::Answer;
use crate::workload::library::call;
use crate::workload::write::{Lease, Write};
use crate::workload::{RawClient, RawOutcome};

/// The client's peer.
const PEER: &str = "bench";
/// Limit of one probing write after a kill, and the pause between two.
const PROBE_WITHIN: Duration = Duration::from_millis(250);
const PROBE_PAUSE: Duration = Duration::from_millis(2);
/// How long a failover may take before the measurement is given up.
const FAILOVER_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn library(bench: &Bench) -> anyhow::Result<IndexClient> {
    Ok(IndexClient::new(Options::new(bench.cluster.urls()))?)
}

/// One write through the library, which has to be acknowledged.
async fn write(index: &IndexClient, write: &Write) -> anyhow::Result<(Answer, Value)> {
    Ok(call(index, write, None, || 0).await?)
}

/// Lease, then announce the next version under it.
pub(super) async fn cycle(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let (index, mut rng) = (library(bench)?, StdRng::from_os_rng());
    write(&index, &Write::register(PEER, false)).await?;
    let mut samples = Samples::default();
    for _ in 0..if bench.quick { 100 } else { 1_000 } {
        let sent = Instant::now();
        let acquire = Write::acquire(PEER, "bench/cycle.txt", limits::LEASE_TTL_MS_DEFAULT, false);
        let (answer, value) = write(&index, &acquire).await?;
        let lease = Lease::granted(&acquire, &answer, &value).context("the lease was denied")?;
        write(&index, &lease.publish(&mut rng, false)).await?;
        samples.add(sent.elapsed());
    }
    let figure = Figure::median("cycle", "lease + announce, one client (median)", &samples);
    Ok(vec![figure.with_original(original::CYCLE_MS).with_target("< 8.8")])
}

/// Waits until every node shows a file that was just announced: a follower may be asked for it next.
async fn everybody_has(bench: &Bench, file: &FileName) -> anyhow::Result<()> {
    let raw = RawClient::new(Arc::new(bench.cluster.urls()))?;
    let until = Instant::now() + READY_WITHIN;
    for server in bench.cluster.ids().into_iter().map(|id| bench.cluster.server(id)) {
        let query = [("name", file.as_str()), ("consistency", "stale")];
        while !matches!(raw.get(server, "/file", &query, PROBE_WITHIN).await, RawOutcome::Ok(..)) {
            if Instant::now() > until {
                bail!("a follower did not get to know {file}");
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
    Ok(())
}

/// Kills the leader and reads at once, until an answer comes; it may be a follower's and is marked as such.
pub(super) async fn read_leader_dead(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let index = library(bench)?.with_reading(ReadOptions { consistency: Consistency::Auto, ..ReadOptions::default() });
    let file = FileName::parse("bench/read.txt")?;
    write(&index, &Write::register(PEER, false)).await?;
    write(&index, &Write::create(PEER, file.as_str(), None, &mut StdRng::from_os_rng())).await?;
    everybody_has(bench, &file).await?;
    let mut samples = Samples::default();
    for _ in 0..if bench.quick { 5 } else { 20 } {
        index.file(&file).await?;
        let leader = bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
        bench.cluster.kill(leader.id)?;
        let sent = Instant::now();
        let read = index.file(&file).await?;
        samples.add(sent.elapsed());
        if read.freshness.node == Some(leader.id) {
            bail!("the killed leader answered");
        }
        bench.cluster.restart_dead()?;
        bench.cluster.wait_ready(READY_WITHIN).await?;
    }
    let figure = Figure::median("read-leader-dead", "read with the leader just killed (median)", &samples);
    Ok(vec![figure.with_original(original::FAILOVER_MS).with_target("< 10")])
}

/// Kills the leader and writes through the others until a write is acknowledged.
pub(super) async fn failover(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let raw = RawClient::new(Arc::new(bench.cluster.urls()))?;
    let probe = Write::register("probe", false);
    let mut samples = Samples::default();
    for _ in 0..if bench.quick { 5 } else { 20 } {
        let leader = bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
        let killed = Instant::now();
        bench.cluster.kill(leader.id)?;
        let probes = bench.cluster.living().into_iter().map(|node| {
            let (raw, probe, server) = (&raw, &probe, node.saturating_sub(1) as usize);
            Box::pin(async move {
                while !matches!(raw.write(server, probe, None, PROBE_WITHIN).await, RawOutcome::Ok(..)) {
                    tokio::time::sleep(PROBE_PAUSE).await;
                }
            })
        });
        let first = futures::future::select_all(probes);
        tokio::time::timeout(FAILOVER_WITHIN, first).await.context("no write was acknowledged after the kill")?;
        samples.add(killed.elapsed());
        bench.cluster.restart_dead()?;
        bench.cluster.wait_ready(READY_WITHIN).await?;
    }
    let figure = Figure::median("failover", "kill -9 of the leader until a write is acked (median)", &samples);
    Ok(vec![figure.with_target("≤ 500, p99 ≤ 1000")])
}
