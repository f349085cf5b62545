//! What the scenarios ask with: plain HTTP, the peer's own program, and waiting for what has to become true.
//!
//! Invariant: whatever is waited for has a limit, and what never came is told as such instead of ending the evaluation.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use client::cluster::IndexClient;
use client::contract::{FileEntry, RegisterRequest};
use raft_store::types::{ContentHash, FileName, PeerId};
use serde_json::Value;

use crate::bench::Bench;
use node::testbed::find_binary;

/// How long anything may take that has no time of its own.
pub(super) const WITHIN: Duration = Duration::from_secs(20);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one request of [`Http`] may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// The address of a peer that nobody fetches from.
pub(super) const ADDRESS: &str = "http://127.0.0.1:9";

/// Plain requests to chosen nodes, as any program would send them.
#[derive(Debug, Clone)]
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(reqwest::Client::builder().no_proxy().timeout(REQUEST_WITHIN).build()?))
    }

    /// Status and body of the answer to a GET; text that is no JSON is a text.
    pub(super) async fn get(&self, url: &str) -> anyhow::Result<(u16, Value)> {
        answer(self.0.get(url).send().await.with_context(|| format!("GET {url}"))?).await
    }

    /// Status and body of the answer to a POST.
    pub(super) async fn post(&self, url: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        answer(self.0.post(url).json(body).send().await.with_context(|| format!("POST {url}"))?).await
    }
}

async fn answer(response: reqwest::Response) -> anyhow::Result<(u16, Value)> {
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// Polls until there is something, and how long that took; nothing if it does not come in time.
pub(super) async fn until<T>(
    within: Duration,
    mut poll: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<(T, Duration)>> {
    let began = Instant::now();
    loop {
        if let Some(found) = poll().await? {
            return Ok(Some((found, began.elapsed())));
        }
        if began.elapsed() > within {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The folder of a peer that [`crate::bench::convergence::start_peer`] starts, with these bytes in a file.
pub(super) fn put(bench: &Bench, peer: &str, file: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = folder(bench, peer);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(file), bytes)?)
}

/// A file in the folder of a peer.
pub(super) fn bytes(bench: &Bench, peer: &str, file: &str) -> Option<Vec<u8>> {
    std::fs::read(folder(bench, peer).join(file)).ok()
}

fn folder(bench: &Bench, peer: &str) -> PathBuf {
    bench.directory.join(peer)
}

/// Runs the peer's program once in the folder of a peer; what it printed as JSON, or what it said when it failed.
pub(super) async fn raftshare(bench: &Bench, peer: &str, arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
    let mut command = tokio::process::Command::new(find_binary("raftshare", bench.bin_dir.as_deref())?);
    command.args(arguments).args(["-q", "-o", "json", "--server", &bench.cluster.urls().join(",")]);
    command.arg("--dir").arg(folder(bench, peer)).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN, command.output()).await.context("the program did not end in time")??;
    if !output.status.success() {
        return Ok(Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(Ok(serde_json::from_slice(&output.stdout).context("the program did not print JSON")?))
}

/// The current live holders of a file, by name; none if nobody knows the file.
pub(super) async fn holders(index: &IndexClient, file: &FileName) -> anyhow::Result<Vec<String>> {
    let holders = match index.file_peers(file).await {
        Ok(holders) => holders.value,
        Err(error) if error.code() == Some(client::contract::ErrorCode::NotFound) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<String> =
        holders.iter().filter(|holder| holder.current).map(|holder| holder.id.to_string()).collect();
    names.sort();
    Ok(names)
}

/// The registration of a peer that nobody fetches from, with these files.
pub(super) fn registration(peer: &PeerId, files: Vec<FileEntry>) -> RegisterRequest {
    RegisterRequest::whole(peer.clone(), ADDRESS.into(), files)
}

/// A file of one byte for such a peer.
pub(super) fn entry(name: &FileName, version: Option<u64>, byte: u8) -> FileEntry {
    FileEntry { name: name.clone(), version, size: Some(1), hash: ContentHash([byte; 32]) }
}

/// Status and code with which the index refused something, or what came instead.
pub(super) fn refusal<T>(outcome: &Result<T, client::cluster::Error>) -> String {
    match outcome {
        Ok(_) => "accepted".into(),
        Err(error) => {
            error.code().map_or_else(|| error.to_string(), |code| format!("{} {}", code.status(), code.name()))
        }
    }
}

/// Seconds, for people.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_told_and_what_comes_has_its_time() {
        let never = until(Duration::ZERO, async || anyhow::Ok(None::<u8>)).await.expect("no error");
        assert!(never.is_none());
        let mut polls = 0;
        let third = until(WITHIN, async || {
            polls += 1;
            anyhow::Ok((polls == 3).then_some(polls))
        });
        assert_eq!(third.await.expect("no error").map(|(found, _)| found), Some(3));
    }
}
