//! Watches the nodes from outside while a run goes on: who leads, and what each process takes; afterwards,
//! what the nodes' logs complain about.
//!
//! Invariant: it only looks; what it cannot see is not written down.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::contract::LeaderInfo;
use raft_store::types::NodeId;

use crate::checker::logs::is_error;
use crate::history::Record;
use crate::recorder::Recorder;

/// Pause between two questions who leads.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Looks at who leads between two samples of resources: one sample every three seconds.
const ASKS_PER_SAMPLE: u32 = 30;
/// Limit of one question.
const ASK_WITHIN: Duration = Duration::from_millis(300);
/// Complaints that are kept per log, and characters of each.
const LINES_MAX: usize = 200;
const LINE_MAX: usize = 1_000;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Observer {
    task: tokio::task::JoinHandle<()>,
}

impl Observer {
    /// Watches the nodes at these base URLs, which are children of this process.
    pub fn start(urls: Vec<String>, recorder: Recorder) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().no_proxy().timeout(ASK_WITHIN).build()?;
        Ok(Self { task: tokio::spawn(watch(http, urls, recorder)) })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(http: reqwest::Client, urls: Vec<String>, recorder: Recorder) {
    let mut known_term = 0;
    for poll in 0_u32.. {
        let asked = urls.iter().map(|url| ask(&http, url));
        let answers = futures::future::join_all(asked).await;
        if let Some(leader) = answers.into_iter().flatten().max_by_key(|leader| leader.term)
            && leader.term > known_term
        {
            known_term = leader.term;
            recorder.record(Record::Leader { node: leader.id, term: leader.term });
        }
        if poll.is_multiple_of(ASKS_PER_SAMPLE) {
            sample(&recorder);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask(http: &reqwest::Client, url: &str) -> Option<LeaderInfo> {
    let answer = http.get(format!("{url}/leader")).send().await.ok()?;
    if answer.status().is_success() { answer.json().await.ok() } else { None }
}

/// Writes down what each node takes now.
pub fn sample(recorder: &Recorder) {
    for Found { node, pid, data } in nodes() {
        if let Some(rss_kib) = rss_kib(pid) {
            recorder.record(Record::Resources { node, rss_kib, data_bytes: size_of(&data) });
        }
    }
}

struct Found {
    node: NodeId,
    pid: u32,
    data: PathBuf,
}

/// The nodes among the children of this process, by their command lines.
fn nodes() -> Vec<Found> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| parent(pid) == Some(own))
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<String> =
                line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let after = |name: &str| words.iter().skip_while(|word| *word != name).nth(1);
            Some(Found { node: after("--id")?.parse().ok()?, pid, data: PathBuf::from(after("--data")?) })
        })
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` after the name, which may have spaces and parentheses: state, parent, …
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(String::from).collect())
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Writes down what the nodes' logs complain about.
pub fn read_logs(directory: &Path, recorder: &Recorder) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let node = name.strip_prefix('n').and_then(|name| name.strip_suffix(".log")?.parse::<NodeId>().ok());
        if let (Some(node), Ok(file)) = (node, fs::File::open(&path)) {
            read_log(node, BufReader::new(file), recorder);
        }
    }
}

fn read_log(node: NodeId, file: impl BufRead, recorder: &Recorder) {
    let (mut lines, mut complaints) = (0, 0);
    for line in file.split(b'\n').map_while(Result::ok) {
        lines += 1;
        let line = String::from_utf8_lossy(&line);
        if is_error(&line) && complaints < LINES_MAX {
            complaints += 1;
            recorder.record(Record::LogLine { node, line: line.chars().take(LINE_MAX).collect() });
        }
    }
    recorder.record(Record::LogRead { node, lines });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RunInfo;

    #[test]
    fn complaints_in_a_log_are_written_down_and_the_rest_counted() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let logs = directory.path().join("logs");
        fs::create_dir(&logs).expect("made");
        fs::write(logs.join("n2.log"), "started\n2026-01-01T00:00:00Z ERROR storage failed\nended\n").expect("written");
        fs::write(logs.join("other.log"), "2026-01-01T00:00:00Z ERROR not a node\n").expect("written");
        let (recorder, writer) = Recorder::create(directory.path(), RunInfo::default()).expect("begins");
        read_logs(&logs, &recorder);
        drop(recorder);
        let records: Vec<Record> = writer.finish().expect("written").into_iter().map(|event| event.record).collect();
        let line = "2026-01-01T00:00:00Z ERROR storage failed".to_owned();
        assert_eq!(records[1..], [Record::LogLine { node: 2, line }, Record::LogRead { node: 2, lines: 3 }]);
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        assert!(rss_kib(std::process::id()).is_some_and(|kib| kib > 0));
        assert!(parent(std::process::id()).is_some());
    }
}
