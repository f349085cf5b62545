//! A cluster under as many writes as it takes, for a long time, over names that were all there after the first minute:
//! neither the rate, nor memory, nor disk usage may depend on how long it has been running.
//!
//! Invariant: writes are counted when they are answered; leadership is looked at all the time, and a change is a
//! figure. So is memory, which swings with what is freed and given back: its figures are the means of the run's thirds,
//! so that what fills up and then stays can be told from what grows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::writers::{WriterOptions, Writers};
use super::{Bench, Figure};
use crate::cluster::Cluster;
use crate::observer::rss_kib;

/// Clients, and names of each.
const CLIENTS: usize = 500;
const NAMES: u64 = 100;
/// Default length, and that of the short form.
const DURATION: Duration = Duration::from_secs(600);
const DURATION_QUICK: Duration = Duration::from_secs(10);
/// Time between two polls at the nodes.
const MINUTE: Duration = Duration::from_secs(60);
/// Time between two polls at who leads, and at memory.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Parts of the run after the first minute for which memory is reported.
const THIRDS: usize = 3;

/// What was seen at the end of a minute.
#[derive(Debug)]
struct Seen {
    writes_per_second: f64,
    /// By node: resident memory in the mean of the minute, log and snapshot, in bytes.
    nodes: Vec<(u64, f64, f64, f64)>,
}

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let duration = bench.duration.unwrap_or(if bench.quick { DURATION_QUICK } else { DURATION });
    let minute = MINUTE.min(duration / 5);
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    let (host, names) = (leader.address.clone(), Some(NAMES));
    let writers =
        Writers::start(&WriterOptions { host, run: "saturate".into(), clients: CLIENTS, pace: None, names }).await?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let (began, mut term, mut changes) = (Instant::now(), leader.term, 0);
    let (mut seen, mut counted_at, mut counted) = (Vec::new(), Instant::now(), 0);
    let mut memory = BTreeMap::new();
    while began.elapsed() < duration {
        tokio::time::sleep(POLL_PAUSE).await;
        if let Some(now) = bench.cluster.leader().await.filter(|now| now.term != term) {
            (term, changes) = (now.term, changes + 1);
        }
        for id in bench.cluster.ids() {
            let kib = bench.cluster.pid(id).and_then(rss_kib).context("no resident memory is told")?;
            memory.entry(id).or_insert_with(Vec::new).push(kib as f64 * 1_024.0);
        }
        if counted_at.elapsed() >= minute {
            let count = writers.answered();
            let writes_per_second = (count - counted) as f64 / counted_at.elapsed().as_secs_f64();
            (counted_at, counted) = (Instant::now(), count);
            seen.push(Seen { writes_per_second, nodes: sample(&bench.cluster, &http, &memory).await? });
            memory.clear();
        }
    }
    let done = writers.stop().await?;
    Ok(figures(&seen, duration, changes, done.errors))
}

/// What the nodes are at the end of a minute; `memory` is what they had in it.
async fn sample(
    cluster: &Cluster,
    http: &reqwest::Client,
    memory: &BTreeMap<u64, Vec<f64>>,
) -> anyhow::Result<Vec<(u64, f64, f64, f64)>> {
    let mut nodes = Vec::new();
    for (&id, samples) in memory {
        let url = cluster.url(id).context("no address")?;
        let stats: Value = http.get(format!("{url}/stats")).send().await?.json().await?;
        let bytes = |name: &str| stats[name].as_f64().unwrap_or_default();
        nodes.push((id, mean(samples), bytes("logBytes"), bytes("snapshotBytes")));
    }
    Ok(nodes)
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

fn figures(seen: &[Seen], duration: Duration, changes: u64, errors: u64) -> Vec<Figure> {
    let figure = |what: String, value: f64, unit: &str, target: &str| Figure {
        samples: seen.len(),
        ..Figure::of("saturate", what, value, unit).with_errors(errors).with_target(target)
    };
    // The first minute makes the names.
    let settled = seen.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(seen);
    let (first, last) = (settled.first(), settled.last());
    let rate = |seen: Option<&Seen>| seen.map_or(0.0, |seen| seen.writes_per_second);
    let mut figures = vec![
        figure(format!("changes of leader in {} s", duration.as_secs()), changes as f64, "changes", "0"),
        figure(format!("{CLIENTS} clients, first minute after the warm-up"), rate(first), "writes/s", ""),
        figure(format!("{CLIENTS} clients, last minute"), rate(last), "writes/s", "as the first"),
    ];
    let nodes = last.map_or(0, |seen| seen.nodes.len());
    for index in 0..nodes {
        let memory_in = |third: usize| {
            let (from, to) = (third * settled.len() / THIRDS, (third + 1) * settled.len() / THIRDS);
            let samples = settled.get(from..to.max(from + 1).min(settled.len())).unwrap_or_default();
            let bytes = samples.iter().filter_map(|seen| seen.nodes.get(index)).map(|(_, memory, ..)| *memory);
            mean(&bytes.collect::<Vec<_>>())
        };
        let of = |seen: Option<&Seen>| seen.and_then(|seen| seen.nodes.get(index).copied()).unwrap_or_default();
        let (id, _, log, snapshot) = of(last);
        let mib = |what: &str, bytes: f64, target: &str| {
            figure(format!("node {id}: {what}"), bytes / f64::from(1 << 20), "MiB", target)
        };
        figures.extend([
            mib("memory, first third after the warm-up", memory_in(0), ""),
            mib("memory, second third", memory_in(1), ""),
            mib("memory, last third", memory_in(2), "as the second"),
            mib("log on disk, last minute", log, ""),
            mib("snapshot on disk, last minute", snapshot, ""),
        ]);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(writes_per_second: f64, mib: f64) -> Vec<Figure> {
        let bytes = mib * f64::from(1 << 20);
        let nodes = (1..=3).map(|id| (id, bytes, bytes * 2.0, bytes / 4.0)).collect();
        figures(&[Seen { writes_per_second, nodes }], Duration::from_secs(60), 0, 0)
    }

    #[test]
    fn what_differs_between_two_runs_is_in_figures_and_not_in_their_words() {
        let (one, other) = (run(20_000.0, 100.0), run(30_000.0, 300.0));
        assert_eq!(one.len(), 3 + 3 * 5);
        assert!(one.iter().map(|figure| &figure.what).eq(other.iter().map(|figure| &figure.what)));
        let figure = |what: &str| other.iter().find(|figure| figure.what == what).map(|figure| figure.value);
        assert_eq!(figure("node 2: memory, last third"), Some(300.0));
        assert_eq!(figure("node 3: log on disk, last minute"), Some(600.0));
        assert_eq!(figure("node 3: snapshot on disk, last minute"), Some(75.0));
        assert_eq!((mean(&[300.0, 400.0, 350.0]), mean(&[])), (350.0, 0.0));
    }

    #[test]
    fn memory_is_told_by_thirds_of_what_follows_the_first_minute() {
        let minute = |mib: f64| Seen { writes_per_second: 1.0, nodes: vec![(1, mib * f64::from(1 << 20), 0.0, 0.0)] };
        for (minutes, thirds) in [
            (vec![1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0], [15.0, 35.0, 55.0]),
            (vec![1.0, 10.0, 20.0], [10.0, 10.0, 20.0]),
            (vec![7.0], [7.0, 7.0, 7.0]),
        ] {
            let seen: Vec<Seen> = minutes.into_iter().map(minute).collect();
            let told = figures(&seen, Duration::from_secs(60), 0, 0);
            let memory: Vec<f64> = told.iter().filter(|one| one.what.contains("memory")).map(|one| one.value).collect();
            assert_eq!(memory, thirds);
        }
    }
}
