//! Data directories that are copied: an older copy put back in the place of its original, a copy started beside its
//! original, and one started instead of it.
//!
//! Invariants: a directory is copied while its node is down; at the end of each fault one process runs on one
//! directory, as a whole member. C3 to C5 say what the product has to do: an older copy says what it is and
//! does not take part until `replace N N`, and of two processes with one directory the second one ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use raft_store::types::NodeId;
use serde_json::Value;

use super::{Arena, DECIDES_WITHIN, Effect, PAUSE, REPLACED_WITHIN};
use crate::fault::members::metric;
use crate::history::{FaultName, Record};
use crate::scenario::Target;
use crate::workload::{RawClient, RawOutcome};
use node::testbed::Process;
use node::testbed::free_ports;

/// Entries by which a copy is older than its original.
const OLDER_BY: u64 = 50;
/// How long writing them may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);
/// How long a node at another address may take to serve (C4).
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// Limit of one poll at the members.
const POLL_WITHIN: Duration = Duration::from_secs(1);
/// The metric that says how far a node's state goes.
const APPLIED: &str = "raftshare_raft_applied_index ";

/// An older copy is put in the place of a follower's directory.
pub(super) async fn older(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
    let Some((id, data, copy)) = copied(target, arena)? else {
        return Ok(vec![Effect::skipped(FaultName::StaleCopy, "nobody to hit")]);
    };
    arena.cluster.restart(id)?;
    arena.cluster.wait_node_ready(id, DECIDES_WITHIN).await.map_err(|error| anyhow!(error))?;
    run_on(id, arena).await?;
    arena.cluster.kill(id)?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&copy, &data)?;
    arena.cluster.restart(id)?;
    let mut effects = vec![Effect::installed(FaultName::StaleCopy, Some(id), format!("older copy of n{id} put back"))];
    effects.push(taken_in_again(id, arena).await?);
    Ok(effects)
}

/// A copy is started while its original runs.
pub(super) async fn beside(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
    let Some((id, _, copy)) = copied(target, arena)? else {
        return Ok(vec![Effect::skipped(FaultName::Clone, "nobody to hit")]);
    };
    arena.cluster.restart(id)?;
    arena.cluster.wait_node_ready(id, DECIDES_WITHIN).await.map_err(|error| anyhow!(error))?;
    let (mut clone, url) = stray(id, &copy, arena)?;
    let until = Instant::now() + DECIDES_WITHIN;
    // It ends with the reason, or says that it is the older one of the two and does not take part.
    let wrong = loop {
        if let Some(status) = clone.ended() {
            break status.success().then_some("ended as if nothing were wrong");
        }
        match readiness(&url).await {
            Readiness::OlderCopy => break None,
            Readiness::Serves => break Some("serves"),
            Readiness::Other if Instant::now() > until => break Some("neither ended nor said what it is"),
            Readiness::Other => tokio::time::sleep(PAUSE).await,
        }
    };
    if let Some(wrong) = wrong {
        let what = format!("a copy of node {id} that was started beside it {wrong}");
        arena.recorder.record(Record::Misbehaved { what });
    }
    clone.kill();
    std::fs::remove_dir_all(&copy)?;
    if arena.cluster.wait_node_ready(id, DECIDES_WITHIN).await.is_err() {
        let what = format!("node {id} does not serve any more since a copy of it was started beside it");
        arena.recorder.record(Record::Misbehaved { what });
    }
    Ok(vec![Effect::installed(FaultName::Clone, Some(id), format!("copy of n{id} started beside it"))])
}

/// A copy is started at another address while its original is down, and then the original.
pub(super) async fn instead(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
    let Some((id, _, copy)) = copied(target, arena)? else {
        return Ok(vec![Effect::skipped(FaultName::Clone, "nobody to hit")]);
    };
    let (mut clone, url) = stray(id, &copy, arena)?;
    let until = Instant::now() + FOUND_WITHIN;
    while !matches!(readiness(&url).await, Readiness::Serves) {
        if Instant::now() > until {
            let what = format!("node {id} at another address does not serve within {FOUND_WITHIN:?}");
            arena.recorder.record(Record::Misbehaved { what });
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    run_on(id, arena).await?;
    clone.kill();
    arena.cluster.restart(id)?;
    let mut effects = vec![Effect::installed(FaultName::Clone, Some(id), format!("copy of n{id} ran instead of it"))];
    effects.push(taken_in_again(id, arena).await?);
    std::fs::remove_dir_all(&copy)?;
    Ok(effects)
}

/// Kills a node and copies its directory; returns both directories.
fn copied(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Option<(NodeId, PathBuf, PathBuf)>> {
    let Some(id) = arena.aim(target).first().copied() else { return Ok(None) };
    let data = arena.cluster.plan(id).context("a node that lives has a plan")?.data.clone();
    let copy = data.with_extension("copy");
    arena.cluster.kill(id)?;
    copy_directory(&data, &copy)?;
    Ok(Some((id, data, copy)))
}

/// Starts a process on a copy, as the node that it is a copy of.
fn stray(id: NodeId, copy: &Path, arena: &Arena<'_>) -> anyhow::Result<(Process, String)> {
    let port = free_ports(1)?.first().copied().context("no port for a copy")?;
    let listen = format!("127.0.0.1:{port}");
    let process = arena.cluster.stray(id, listen.clone(), copy.to_path_buf())?;
    Ok((process, format!("http://{listen}")))
}

/// Waits until the others have acknowledged what a copy made before lacks.
async fn run_on(id: NodeId, arena: &Arena<'_>) -> anyhow::Result<()> {
    let until = Instant::now() + WRITTEN_WITHIN;
    let others: Vec<NodeId> = arena.cluster.living().into_iter().filter(|other| *other != id).collect();
    let other = others.first().copied().context("a cluster of one has no others")?;
    let before = metric(arena, other, APPLIED).await?;
    while metric(arena, other, APPLIED).await.unwrap_or(before) < before + OLDER_BY {
        ensure!(Instant::now() < until, "the clients did not write {OLDER_BY} entries within {WRITTEN_WITHIN:?}");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// An older copy is recognised, does not serve, and comes back by `replace N N`.
async fn taken_in_again(id: NodeId, arena: &mut Arena<'_>) -> anyhow::Result<Effect> {
    let since = Instant::now();
    let mut last = None;
    loop {
        if arena.cluster.is_ready(id).await {
            let what = format!("node {id} serves from an older copy of its directory");
            arena.recorder.record(Record::Misbehaved { what });
            return Ok(Effect::installed(FaultName::OlderCopy, Some(id), format!("n{id} SERVES")));
        }
        last = condition(id, arena).await.or(last);
        if last.as_deref() == Some("older copy") {
            break;
        }
        if since.elapsed() > DECIDES_WITHIN {
            let what = format!("/cluster says of node {id}, an older copy, {last:?} after {DECIDES_WITHIN:?}");
            arena.recorder.record(Record::Misbehaved { what });
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let address = arena.cluster.plan(id).context("it runs")?.address().to_owned();
    let arguments = ["replace", &id.to_string(), &id.to_string(), "--addr", &address].map(String::from);
    loop {
        match arena.cluster.command(&arguments).await? {
            Ok(_) => break,
            Err(why) if since.elapsed() > REPLACED_WITHIN => {
                let what = format!("node {id}, an older copy, could not be replaced by itself: {why}");
                arena.recorder.record(Record::Misbehaved { what });
                break;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    arena.cluster.wait_node_ready(id, REPLACED_WITHIN).await.map_err(|error| anyhow!(error))?;
    let words = format!("n{id} recognised as an older copy, and back after {:.2} s", since.elapsed().as_secs_f64());
    Ok(Effect::installed(FaultName::OlderCopy, Some(id), words))
}

/// What another member's `/cluster` says about a node.
async fn condition(id: NodeId, arena: &Arena<'_>) -> Option<String> {
    let raw = RawClient::new(std::sync::Arc::new(arena.cluster.urls())).ok()?;
    let other = arena.cluster.living().into_iter().find(|other| *other != id)?;
    let RawOutcome::Ok(answer, _) = raw.get(arena.cluster.server(other), "/cluster", &[], POLL_WITHIN).await else {
        return None;
    };
    let nodes = answer.get("nodes")?.as_array()?;
    let node = nodes.iter().find(|node| node.get("id").and_then(Value::as_u64) == Some(id))?;
    Some(node.get("condition")?.as_str()?.to_owned())
}

/// What a node says about itself.
enum Readiness {
    Serves,
    OlderCopy,
    Other,
}

async fn readiness(url: &str) -> Readiness {
    let client = reqwest::Client::builder().no_proxy().timeout(POLL_WITHIN).build();
    let Ok(client) = client else { return Readiness::Other };
    let Ok(answer) = client.get(format!("{url}/readyz")).send().await else { return Readiness::Other };
    if answer.status().is_success() {
        return Readiness::Serves;
    }
    let says = answer.text().await.unwrap_or_default();
    if says.contains("older copy") { Readiness::OlderCopy } else { Readiness::Other }
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
