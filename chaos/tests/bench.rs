//! Loads on real nodes: every kind of operation, a closed and an open loop, more peers than connections.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const CHAOS: &str = env!("CARGO_BIN_EXE_raftshare-chaos");

fn bench(arguments: &[&str]) -> Output {
    Command::new(CHAOS).arg("bench").args(arguments).output().expect("the program starts")
}

/// The nodes' binary; `None` where it was not built.
fn node() -> Option<PathBuf> {
    let node = Path::new(CHAOS).parent()?.join("raftshare-node");
    if !node.is_file() {
        eprintln!("skipped: {} was not built (cargo build -p node)", node.display());
        return None;
    }
    Some(node)
}

/// Runs a short load; its only point. `None` where the nodes' binary was not built.
fn point(arguments: &[&str]) -> Option<Value> {
    node()?;
    let report = tempfile::tempdir().expect("a temporary directory");
    let directory = report.path().display().to_string();
    let output = bench(&[arguments, &["--duration", "400ms", "--warm-up", "100ms", "--report", &directory]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["bench.csv", "throughput.svg", "latency.svg", "p99.svg", "errors.svg"] {
        assert!(report.path().join(file).is_file(), "{file}");
    }
    let json = std::fs::read(report.path().join("bench.json")).expect("written");
    let mut json: Value = serde_json::from_slice(&json).expect("JSON");
    Some(json["points"][0].take())
}

#[test]
fn no_operation_of_any_kind_fails() {
    let mix = "announce,register,batch,cycle,heartbeat,search,peers,file";
    let arguments = ["--peers", "9", "--connections", "4", "--files", "50", "--at", "all", "--mix", mix];
    let Some(point) = point(&arguments) else { return };
    assert_eq!(point["failures"], serde_json::json!({}));
    assert_eq!((&point["peers"], &point["connections"]), (&9.into(), &4.into()));
    // How many of each there were is the machine's business; that none failed is not.
    let by_kind = point["byKind"].as_object().expect("an object");
    assert!(by_kind.keys().all(|kind| mix.split(',').any(|name| name == kind)), "{point}");
    assert!(point["total"]["done"].as_u64().is_some_and(|done| done > 0), "{point}");
    assert!(point["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|node| node["rssKib"].is_u64())));
}

#[test]
fn an_open_loop_asks_for_what_it_was_told() {
    let Some(point) = point(&["--clients", "3", "--rate", "100/s"]) else { return };
    let total = &point["total"];
    let asked = total["done"].as_u64().zip(total["failed"].as_u64()).map(|(done, failed)| done + failed);
    assert_eq!(asked, Some(40), "{point}");
}

#[test]
fn a_point_of_two_runs_says_so_and_counts_both() {
    let Some(point) = point(&["--clients", "2", "--rate", "50/s", "--repeat", "2"]) else { return };
    let number = |value: &Value| value.as_f64().expect("a number");
    let done = number(&point["total"]["done"]) + number(&point["total"]["failed"]);
    assert_eq!((point["runs"].as_u64(), done), (Some(2), 40.0), "{point}");
    let (lowest, median, highest) = (&point["lowest"], &point["perSecond"], &point["highest"]);
    assert!(number(lowest) <= number(median) && number(median) <= number(highest), "{point}");
}

#[test]
fn one_measurement_that_fails_leaves_the_others_and_the_end_is_a_failure() {
    let Some(node) = node() else { return };
    // Without the peers' binary nothing can converge.
    let (binaries, report) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    std::os::unix::fs::symlink(node, binaries.path().join("raftshare-node")).expect("a link");
    let (from, to) = (binaries.path().display().to_string(), report.path().display().to_string());
    let output = bench(&["--quick", "--only", "convergence,cycle", "--bin-dir", &from, "--report", &to]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.lines().any(|line| line.starts_with("error: a measurement failed: convergence: ")), "{told}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("lease + announce"), "{told}");
    let json = std::fs::read(report.path().join("bench.json")).expect("written");
    let figures: Vec<Value> = serde_json::from_slice(&json).expect("JSON");
    assert!(figures.iter().all(|figure| figure["name"] == "cycle") && !figures.is_empty(), "{figures:?}");
}

#[test]
fn nonsense_ends_with_the_code_of_wrong_usage() {
    let output = bench(&["--mix", "speed"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no operation"));
}

/// Runs parts of the report's evaluation on the smallest load; its output and its page. `None` where a binary is
/// missing.
fn paper(parts: &str, peers: &str) -> Option<(Output, String)> {
    let node = node()?;
    if !node.with_file_name("raftshare").is_file() {
        eprintln!("skipped: raftshare was not built (cargo build -p client --all-features)");
        return None;
    }
    let report = tempfile::tempdir().expect("a temporary directory");
    let page = report.path().join("paper/page.html");
    let out = page.display().to_string();
    let short = ["--quick", "--peers", peers, "--duration", "300ms", "--warm-up", "50ms"];
    let output = bench(&[&["paper", "--out", &out, "--only", parts], &short[..]].concat());
    Some((output, std::fs::read_to_string(page).expect("the page was written")))
}

#[test]
fn the_reports_evaluation_passes_and_is_one_page() {
    let Some((output, page)) = paper("core,leases,replication,policy,crash,scalability", "10,20") else { return };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for scenario in ["core flows", "leases", "replication logic", "follower policy", "crash recovery", "scalability"] {
        assert!(page.contains(&format!("<th>{scenario}</th>")) && told.contains(scenario), "{scenario}");
    }
    // Four charts for each wire format that the nodes serve, with the published points in three of them.
    let wires = 1 + usize::from(page.contains("<th>scalability over /v0</th>"));
    assert_eq!(page.contains("do not serve /v0"), wires == 1);
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 4 * wires);
    assert_eq!(page.matches("polyline class=\"other\"").count(), 3 * wires);
    for words in ["banner pass", "233 /s", "Where the columns come from", "workstation"] {
        assert!(page.contains(words), "{words}");
    }
    for elsewhere in ["<script", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(told.contains("20 peers, half of their requests registrations"), "{told}");
}

#[test]
fn silent_peers_are_pruned_and_their_files_copied_and_found_again() {
    let Some((output, page)) = paper("pruning", "1") else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("6 of 6 checks pass"), "{page}");
}

#[test]
fn the_reports_core_figures_are_measured() {
    let Some((output, page)) = paper("figures", "1") else { return };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    // How they compare is the machine's business; that each is there, beside the published one, is not.
    for published in ["14.53 ms", "9.59 ms", "8.8 ms", "&lt; 10 ms"] {
        assert!(page.contains(&format!("<td class=\"n\">{published}</td>")), "{published}");
    }
    assert!(told.contains("of 4 figures"), "{told}");
}
