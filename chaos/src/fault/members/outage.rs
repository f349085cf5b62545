//! A follower that is away until the others' logs do not reach back to it any more, and comes back through a snapshot.
//!
//! Invariant: it is started again only when a snapshot is the only way; what it was killed before and after is seen in
//! its snapshot directory, not guessed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use raft_store::types::NodeId;
use tokio::task::JoinSet;

use super::{POLL_WITHIN, metric};
use crate::cluster::READY_WITHIN;
use crate::fault::{Arena, Effect};
use crate::history::{FaultName, FaultOutcome};
use crate::scenario::Target;
use crate::workload::RawClient;
use crate::workload::write::Write;

/// How long writing more than the logs keep may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// Clients that write meanwhile, besides the workload.
const WRITERS: usize = 6;
/// How long a snapshot may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two polls at a directory.
const POLL_PAUSE: Duration = Duration::from_micros(300);

/// Kills the node and writes until the leader's log begins after everything that the node can have.
pub async fn begin(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<(Option<NodeId>, Vec<Effect>)> {
    let (Some(id), Some(leader)) = (arena.aim(target).first().copied(), arena.leader.as_ref().map(|found| found.id))
    else {
        return Ok((None, vec![Effect::skipped(FaultName::Outage, "nobody to hit")]));
    };
    arena.cluster.kill(id)?;
    let had = metric(arena, leader, "raftshare_raft_applied_index ").await?;
    let raw = RawClient::new(std::sync::Arc::new(arena.cluster.urls()))?;
    let server = arena.cluster.server(leader);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let raw = raw.clone();
        writers.spawn(async move {
            let peer = format!("writer-{number}");
            let write = Write::register(&peer, false);
            loop {
                raw.write(server, &write, None, POLL_WITHIN).await;
            }
        });
    }
    let until = Instant::now() + WRITTEN_WITHIN;
    let mut begins = 0;
    // A few entries more may have been under way to it.
    while begins <= had + 64 {
        ensure!(Instant::now() < until, "the leader's log still begins at {begins}, the node had up to {had}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (Ok(applied), Ok(kept)) = (
            metric(arena, leader, "raftshare_raft_applied_index ").await,
            metric(arena, leader, "raftshare_raft_log_entries ").await,
        ) else {
            continue;
        };
        begins = applied.saturating_sub(kept);
    }
    writers.shutdown().await;
    let words = format!("n{id} away since entry {had}, the leader's log begins at about {begins}");
    Ok((Some(id), vec![Effect::installed(FaultName::Outage, Some(id), words)]))
}

/// Starts the node and kills it while the snapshot is written, starts it again and kills it when the snapshot is there,
/// and starts it for good.
pub async fn end(id: NodeId, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
    let directory = arena.cluster.plan(id).context("no such node")?.data.join("snap");
    let mut effects = Vec::new();
    for (fault, words, extension) in [
        (FaultName::KillBeforeInstall, "killed while it wrote the snapshot", "tmp"),
        (FaultName::KillAfterInstall, "killed when it had the snapshot", "snap"),
    ] {
        let known = files(&directory);
        arena.cluster.restart(id)?;
        let seen = wait_for(&directory, &known, extension).await;
        arena.cluster.kill(id)?;
        effects.push(if seen {
            Effect::installed(fault, Some(id), format!("n{id} {words}"))
        } else {
            let why = format!("no new {extension} file was seen");
            let words = format!("{fault}: {why}");
            Effect { fault, node: Some(id), words, outcome: FaultOutcome::Indeterminate(why) }
        });
    }
    arena.cluster.restart(id)?;
    arena.cluster.wait_node_ready(id, READY_WITHIN).await?;
    effects.push(Effect::installed(FaultName::SnapshotInstall, Some(id), format!("n{id} serves again")));
    Ok(effects)
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[expect(clippy::disallowed_methods, reason = "inside of spawn_blocking")]
async fn wait_for(directory: &Path, known: &BTreeSet<PathBuf>, extension: &'static str) -> bool {
    let (directory, known) = (directory.to_path_buf(), known.clone());
    let watching = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + ARRIVES_WITHIN;
        while Instant::now() < until {
            let new =
                |path: &PathBuf| path.extension().is_some_and(|found| found == extension) && !known.contains(path);
            if files(&directory).iter().any(new) {
                return true;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        false
    });
    watching.await.unwrap_or(false)
}
