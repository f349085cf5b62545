//! For how long nothing can be written after the leader was killed, for ours and for etcd in the same way.
//!
//! Invariant: probes begin at every survivor at fixed distances, whether or not earlier ones have been answered, so
//! that a probe that hangs in a member without a leader does not lengthen the gap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::client::base64;
use super::etcd::Etcd;
use crate::bench::samples::Samples;
use crate::cluster::{Cluster, READY_WITHIN};
use crate::workload::write::Write;
use crate::workload::{RawClient, RawOutcome};

/// Distance of two probes at a survivor.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// Limit of one probe.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// How long a gap may be before the measurement is given up.
const GAP_WITHIN: Duration = Duration::from_secs(30);

/// Kills our leader `kills` times.
pub async fn ours(cluster: &mut Cluster, kills: usize) -> anyhow::Result<Samples> {
    let raw = RawClient::new(Arc::new(cluster.urls()))?;
    let Write { path, body, .. } = Write::register("probe", false);
    let mut samples = Samples::default();
    for _ in 0..kills {
        let leader = cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
        let killed = Instant::now();
        cluster.kill(leader.id)?;
        let survivors: Vec<usize> = cluster.living().into_iter().map(|id| cluster.server(id)).collect();
        samples.add(first_write(&raw, &survivors, path, &body, killed).await?);
        cluster.restart_dead()?;
        cluster.wait_ready(READY_WITHIN).await?;
    }
    Ok(samples)
}

/// Kills etcd's leader `kills` times.
pub async fn etcd(etcd: &mut Etcd, kills: usize) -> anyhow::Result<Samples> {
    let urls: Vec<String> = etcd.hosts().iter().map(|host| format!("http://{host}")).collect();
    let members = urls.len();
    let raw = RawClient::new(Arc::new(urls))?;
    let body = json!({"key": base64(b"probe"), "value": base64(b"probe")});
    let mut samples = Samples::default();
    for _ in 0..kills {
        let leader = etcd.leader().await?;
        let killed = Instant::now();
        etcd.kill(leader);
        let survivors: Vec<usize> = (0..members).filter(|member| *member != leader).collect();
        samples.add(first_write(&raw, &survivors, "/v3/kv/put", &body, killed).await?);
        etcd.restart_dead().await?;
    }
    Ok(samples)
}

/// Time from `killed` until the first write is acknowledged.
async fn first_write(
    raw: &RawClient,
    servers: &[usize],
    path: &str,
    body: &Value,
    killed: Instant,
) -> anyhow::Result<Duration> {
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    let mut probes = FuturesUnordered::new();
    while killed.elapsed() < GAP_WITHIN {
        tokio::select! {
            _ = ticks.tick() => {
                probes.extend(servers.iter().map(|server| raw.post(*server, path, body, None, PROBE_WITHIN)));
            }
            Some(outcome) = probes.next(), if !probes.is_empty() => {
                if matches!(outcome, RawOutcome::Ok(..)) {
                    return Ok(killed.elapsed());
                }
            }
        }
    }
    bail!("no write was acknowledged within {} s after the kill", GAP_WITHIN.as_secs())
}
