//! `GET /metrics` of real nodes: what it says keeps to Prometheus' conventions, counts what happened, and is in
//! `docs/operations.md`.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]
#![allow(clippy::print_stdout, reason = "says why a check is left out")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use client::contract::ROUTES;
use serde_json::json;
use support::{Cluster, eventually, file};

/// What all names begin with.
const PREFIX: &str = "raftshare_";
/// The longest duration in seconds that a test could see, and more than any in another unit would be.
const SECONDS_MAX: f64 = 600.0;

type Labels = BTreeMap<String, String>;

/// One metric: its help, its type, and its samples by the suffix that their names have.
#[derive(Debug, Default)]
struct Metric {
    help: String,
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

/// Takes the text apart, and panics where it is not in the format.
fn parsed(text: &str) -> BTreeMap<String, Metric> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut metrics = BTreeMap::<String, Metric>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            name.clone_into(&mut current);
            let metric = Metric { help: help.to_owned(), ..Metric::default() };
            assert!(metrics.insert(current.clone(), metric).is_none(), "{name} is defined twice");
            continue;
        }
        let metric = metrics.get_mut(&current).unwrap_or_else(|| panic!("nothing defines {line}"));
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind = rest.strip_prefix(&current).and_then(|rest| rest.strip_prefix(' '));
            kind.unwrap_or_else(|| panic!("the type of another metric: {line}")).clone_into(&mut metric.kind);
            continue;
        }
        assert!(!metric.kind.is_empty(), "no type before {line}");
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, labels) = match series.split_once('{') {
            None => (series, Labels::new()),
            Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').unwrap())),
        };
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("a sample of another metric: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        metric.samples.push((suffix.to_owned(), labels, value));
    }
    metrics
}

/// No label of ours contains a comma or a quote.
fn labels_of(text: &str) -> Labels {
    let label = |label: &str| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned())
    };
    text.split(',').map(label).collect()
}

impl Metric {
    /// The sample with this suffix and these labels; 0 if there is none.
    fn value(&self, suffix: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = self.samples.iter().find(|(of, labels, _)| of == suffix && *labels == wanted);
        found.map_or(0.0, |(_, _, value)| *value)
    }

    fn count(&self, labels: &[(&str, &str)]) -> f64 {
        self.value("_count", labels)
    }
}

async fn scrape(cluster: &Cluster, node: usize) -> BTreeMap<String, Metric> {
    parsed(&cluster.get(node, "/metrics").await.text)
}

/// A metric by its name without the prefix.
fn metric<'a>(metrics: &'a BTreeMap<String, Metric>, name: &str) -> &'a Metric {
    metrics.get(&format!("{PREFIX}{name}")).unwrap_or_else(|| panic!("no {name}"))
}

fn check_conventions(name: &str, metric: &Metric) {
    let Metric { help, kind, samples } = metric;
    assert!(name.starts_with(PREFIX) && !samples.is_empty(), "{name}");
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
    assert!(help.ends_with('.') && !help.ends_with("..") && help.len() > 5, "{name}: {help}");
    assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    for part in name.split('_') {
        let other_units =
            ["ms", "us", "ns", "milliseconds", "microseconds", "minutes", "kb", "mb", "kilobytes", "percent"];
        assert!(!other_units.contains(&part), "{name} is not in a base unit");
    }
    match kind.as_str() {
        "counter" | "gauge" => {
            let labels: BTreeSet<_> = samples.iter().map(|(_, labels, _)| labels).collect();
            assert_eq!(labels.len(), samples.len(), "{name} tells a value twice");
            assert!(
                samples.iter().all(|(suffix, _, value)| suffix.is_empty() && (value.is_nan() || *value >= 0.0)),
                "{name}"
            );
        }
        "histogram" => check_histogram(name, metric),
        kind => panic!("{name} is a {kind}"),
    }
}

fn check_histogram(name: &str, metric: &Metric) {
    let mut series = BTreeMap::<Labels, Vec<(f64, f64)>>::new();
    for (suffix, labels, value) in &metric.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        assert_eq!(suffix == "_bucket", bound.is_some(), "{name}{suffix}");
        match suffix.as_str() {
            "_bucket" => series.entry(labels).or_default().push((bound.unwrap().parse().unwrap(), *value)),
            "_sum" | "_count" => assert!(series.contains_key(&labels), "{name}{suffix} after its buckets"),
            suffix => panic!("{name}{suffix}"),
        }
    }
    for (labels, buckets) in series {
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert!(buckets.is_sorted_by(|one, two| one.0 < two.0 && one.1 <= two.1), "{name}{labels:?}: {buckets:?}");
        let (bound, all) = *buckets.last().unwrap();
        assert_eq!((bound, all), (f64::INFINITY, metric.count(&pairs)), "{name}{labels:?}");
        let sum = metric.value("_sum", &pairs);
        assert!(sum >= 0.0 && (all > 0.0 || sum == 0.0), "{name}{labels:?}: {sum}");
        if name.ends_with("_seconds") {
            assert!(sum <= all * SECONDS_MAX, "{name}{labels:?}: {sum} s in {all}");
            assert!(buckets[0].0 < 0.1, "{name}{labels:?} begins at {} s", buckets[0].0);
        }
    }
}

/// The names in the table of `docs/operations.md`.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n### Metrics\n").nth(1).unwrap().split("\n#").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`').filter(|part| part.len() > 2));
    names.map(|name| name.split('{').next().unwrap().to_owned()).collect()
}

/// `promtool check metrics`, where it is installed.
fn check_with_promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match spawned {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return println!("promtool is not installed: its check is left out");
        }
        Err(error) => panic!("{error}"),
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stderr), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_keep_to_the_conventions_and_count_what_happened() {
    let cluster = Cluster::start(1).await;
    cluster.register("p").await;
    for name in ["a", "b", "c"] {
        assert_eq!(cluster.announce("p", name, 1, name).await.status, 200);
    }
    assert_eq!(cluster.post(0, "/announce", json!({"peerId": "nobody", "file": file("d", 1, "d")})).await.status, 409);
    assert_eq!(cluster.get(0, "/search?q=a").await.status, 200);
    for path in ["/nowhere", "/metrics/%0A", "/announce/a"] {
        assert_eq!(cluster.get(0, path).await.status, 404);
    }
    assert_eq!(cluster.post(0, "/cluster/snapshot", json!({})).await.status, 200);
    eventually("the snapshot is counted", async || {
        metric(&scrape(&cluster, 0).await, "raft_snapshot_duration_seconds").count(&[("operation", "build")]) > 0.0
    })
    .await;

    let answer = cluster.get(0, "/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    let metrics = parsed(&answer.text);
    metrics.iter().for_each(|(name, metric)| check_conventions(name, metric));
    check_with_promtool(&answer.text);

    let requests = metric(&metrics, "http_requests_total");
    let seconds = metric(&metrics, "http_request_duration_seconds");
    let paths: BTreeSet<&str> = ROUTES.iter().map(|route| route.path).chain(["other"]).collect();
    for (_, labels, _) in requests.samples.iter().chain(&seconds.samples) {
        assert!(paths.contains(labels["route"].as_str()), "{labels:?}");
    }
    assert_eq!(requests.value("", &[("route", "/announce"), ("code", "200")]), 3.0);
    assert_eq!(seconds.count(&[("route", "/announce"), ("status", "2xx")]), 3.0);
    assert_eq!(seconds.count(&[("route", "/announce"), ("status", "4xx")]), 1.0);
    assert_eq!(seconds.count(&[("route", "/search"), ("status", "2xx")]), 1.0);
    assert_eq!(seconds.count(&[("route", "other"), ("status", "4xx")]), 3.0);
    assert!(seconds.value("_sum", &[("route", "/announce"), ("status", "2xx")]) > 0.0);

    let flushes = metric(&metrics, "raft_log_flushes_total").value("", &[]);
    let entries = metric(&metrics, "raft_log_flushed_entries_total").value("", &[]);
    assert!(flushes >= 4.0, "each write was awaited: {flushes}");
    for name in ["raft_log_append_duration_seconds", "raft_log_fsync_duration_seconds"] {
        let flushed = metric(&metrics, name);
        // One may have come while they were read.
        assert!((flushed.count(&[]) - flushes).abs() <= 1.0, "{name}");
        assert!(flushed.value("_sum", &[]) > 0.0, "{name}");
    }
    assert_eq!(metric(&metrics, "raft_log_flush_entries").value("_sum", &[]), entries);
    let commands = metric(&metrics, "raft_log_flush_commands").value("_sum", &[]);
    assert!(commands >= 5.0, "a registration and four announces: {commands}");
    let size = metric(&metrics, "raft_snapshot_size_bytes").value("_sum", &[("operation", "build")]);
    assert!(size >= metric(&metrics, "raft_snapshot_bytes").value("", &[]) && size > 0.0, "{size}");

    let told: BTreeSet<String> =
        metrics.keys().filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_owned())).collect();
    assert_eq!(told, documented(), "docs/operations.md has the metrics of a leader");
}

/// A snapshot that a node sends to another is counted by both of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_transferred_snapshot_is_counted_at_both_ends() {
    let mut cluster = Cluster::start_with(1, &["--snapshot-every", "10"]).await;
    cluster.ready().await;
    cluster.register("p").await;
    for name in 0..40 {
        assert_eq!(cluster.announce("p", &format!("f{name}"), 1, "a").await.status, 200);
    }
    eventually("the log is shorter than its history", async || {
        let metrics = scrape(&cluster, 0).await;
        let value = |name| metric(&metrics, name).value("", &[]);
        value("raft_log_entries") < value("raft_applied_index") / 2.0
    })
    .await;
    let join = ["--join".to_owned(), cluster.nodes[0].url(""), "--learner".to_owned()];
    let mut learner = cluster.extra_node(2, &join);
    learner.start();
    cluster.nodes.push(learner);
    cluster.ready().await;
    eventually("both ends have counted it", async || {
        let (sender, receiver) = (scrape(&cluster, 0).await, scrape(&cluster, 1).await);
        let count = |metrics, name, label| metric(metrics, name).count(&[label]);
        let counts = [
            count(&sender, "snapshot_transfer_duration_seconds", ("direction", "sent")),
            count(&sender, "snapshot_transfer_size_bytes", ("direction", "sent")),
            count(&receiver, "snapshot_transfer_duration_seconds", ("direction", "received")),
            count(&receiver, "snapshot_transfer_size_bytes", ("direction", "received")),
            count(&receiver, "raft_snapshot_duration_seconds", ("operation", "install")),
        ];
        counts.iter().all(|count| *count >= 1.0)
    })
    .await;
}
