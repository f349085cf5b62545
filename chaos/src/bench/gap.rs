//! How long nobody's writes are acknowledged when the leader is paused (SIGSTOP) or stops in order (SIGTERM).
//!
//! Invariant: every node is asked all the time, the old leader included, without waiting for earlier answers; the gap
//! is the longest time without an acknowledgement of anybody's write that ends after the signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::samples::Samples;
use super::{Bench, Figure};
use crate::cluster::READY_WITHIN;
use crate::workload::write::Write;
use crate::workload::{RawClient, RawOutcome};

/// Limit of one probing write, and the pause between two to one node.
const PROBE_WITHIN: Duration = Duration::from_millis(500);
const PROBE_PAUSE: Duration = Duration::from_millis(10);
/// Writes go on for this long before the signal, and after the first that is acknowledged behind it.
const AROUND: Duration = Duration::from_millis(1_000);
/// How long a node may take to end, and writes to be acknowledged again, before the measurement is given up.
const WITHIN: Duration = Duration::from_secs(30);

/// How the leader is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Stop,
    Terminate,
}

impl Signal {
    fn target(self) -> &'static str {
        match self {
            Self::Stop => "≤ 500, p99 ≤ 1000",
            Self::Terminate => "≤ 50",
        }
    }
}

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (signal, name) in [(Signal::Stop, "SIGSTOP"), (Signal::Terminate, "SIGTERM")] {
        let mut samples = Samples::default();
        for _ in 0..if bench.quick { 5 } else { 20 } {
            samples.add(one(bench, signal).await.with_context(|| format!("after {name}"))?);
        }
        let what = format!("longest time without an acked write, {name} of the leader (median)");
        figures.push(Figure::median("gap", what, &samples).with_target(signal.target()));
    }
    Ok(figures)
}

async fn one(bench: &mut Bench, signal: Signal) -> anyhow::Result<Duration> {
    let leader = bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
    let acked = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    let raw = Arc::new(RawClient::new(Arc::new(bench.cluster.urls()))?);
    for server in bench.cluster.ids().into_iter().map(|id| bench.cluster.server(id)) {
        writers.spawn(write(raw.clone(), server, acked.clone(), over.clone()));
    }
    tokio::time::sleep(AROUND).await;
    let signalled = Instant::now();
    match signal {
        Signal::Stop => bench.cluster.stop(leader.id)?,
        Signal::Terminate => {
            bench.cluster.terminate(leader.id, WITHIN).await?;
        }
    }
    // The first acknowledgement may be of the time before a leader that stops in order has handed over.
    let settled = |moment: &Instant| *moment > signalled + PROBE_PAUSE;
    while !acked.lock().last().is_some_and(settled) {
        if signalled.elapsed() > WITHIN {
            bail!("no write was acknowledged within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    tokio::time::sleep(AROUND).await;
    over.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    bench.cluster.resume_all()?;
    bench.cluster.restart_dead()?;
    bench.cluster.wait_ready(READY_WITHIN).await?;
    let mut moments = std::mem::take(&mut *acked.lock());
    moments.sort_unstable();
    Ok(longest_gap(&moments, signalled))
}

/// Sends a write every few milliseconds, whatever became of the ones before: one that hangs
/// must not hide that others pass.
async fn write(raw: Arc<RawClient>, server: usize, acked: Arc<Mutex<Vec<Instant>>>, over: Arc<AtomicBool>) {
    let write = Write::register(&format!("gap-{server}"), false);
    let mut probes = JoinSet::new();
    while !over.load(Ordering::Relaxed) {
        let (raw, write, acked) = (raw.clone(), write.clone(), acked.clone());
        probes.spawn(async move {
            if let RawOutcome::Ok(..) = raw.write(server, &write, None, PROBE_WITHIN).await {
                acked.lock().push(Instant::now());
            }
        });
        while probes.try_join_next().is_some() {}
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    while probes.join_next().await.is_some() {}
}

/// The longest time between two acknowledgements of which the later one came after the signal.
fn longest_gap(moments: &[Instant], signalled: Instant) -> Duration {
    let pairs = moments.windows(2).filter(|pair| pair[1] > signalled);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gaps_that_the_signal_may_have_made_count() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let moments = [at(0), at(900), at(1_000), at(1_010), at(1_300), at(1_310)];
        assert_eq!(longest_gap(&moments, at(1_005)), Duration::from_millis(290));
        assert_eq!(longest_gap(&moments, at(1_305)), Duration::from_millis(10));
        assert_eq!(longest_gap(&[], at(0)), Duration::ZERO);
    }
}
