//! Replication logic and pruning: copies are made until there are enough, of what is held by peers that live.
//!
//! Invariant: which task goes to whom is asked by peers that only claim to have files, so that nothing happens by
//! itself meanwhile; that bytes arrive, that a peer counts as gone, and that its files come back is shown with real
//! ones.

use std::time::Duration;

use client::cluster::{IndexClient, SearchMode};
use client::contract::{HeartbeatRequest, Task, TaskKind};
use node::testbed::Process;
use raft_store::types::{FileName, Incarnation, PeerId};

use super::check::Checks;
use super::flows::announcement;
use super::world::{ADDRESS, WITHIN, bytes, entry, holders, put, registration, seconds, until};
use crate::bench::Bench;
use crate::bench::convergence::{start_peer, wait_for_peers};
use crate::bench::single::library;

/// How often the original's peers send a heartbeat, and how long one of ours waits for a task at most.
const HEARTBEAT_WAIT_MS: u64 = 20_000;
/// Silence after which a peer is pruned, here.
pub(super) const PEER_TTL: Duration = Duration::from_secs(2);
/// The same as an argument of the nodes.
pub(super) const PEER_TTL_ARGUMENT: &str = "2s";
/// What the pruned peer's file has in it.
const TEXT: &[u8] = b"bytes that have to survive\n";

/// A peer that only claims to have files.
struct Claimant {
    id: PeerId,
    incarnation: Incarnation,
}

/// Who is told to fetch what.
pub(super) async fn planning(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let (index, file) = (library(bench)?, FileName::parse("missing_data.txt")?);
    let (source, _) = claim(&index, "source", Some(&file)).await?;
    let (empty, at_once) = claim(&index, "empty", None).await?;
    let (tasks, how) = match at_once.is_empty() {
        false => (at_once, "in the answer to its registration".to_owned()),
        true => {
            let began = std::time::Instant::now();
            let tasks = heartbeat(&index, &empty, HEARTBEAT_WAIT_MS).await?;
            (tasks, format!("{:.0} ms after its registration", began.elapsed().as_secs_f64() * 1e3))
        }
    };
    let wanted = tasks.iter().find(|task| task.kind == TaskKind::Replicate && task.file == file);
    checks.add(
        ("§7.3", "an empty peer is told to fetch the only copy of a file"),
        "a REPLICATE task within the heartbeat interval (20 s)",
        wanted.map_or_else(|| format!("{} other tasks", tasks.len()), |_| format!("a REPLICATE task {how}")),
        wanted.is_some(),
    );
    let from = wanted.map(|task| task.source.clone()).unwrap_or_default();
    checks.equal(("§6.1.1", "the task names a peer to fetch from"), ADDRESS, from);

    let (spare, at_once) = claim(&index, "spare", None).await?;
    let tasks = at_once.len() + heartbeat(&index, &spare, 0).await?.len();
    checks.equal(("§4.1.2", "a copy that is under way counts: the next empty peer gets none"), "0 tasks", count(tasks));
    for peer in [&empty, &spare] {
        index.announce(&announcement(&peer.id, &file, Some(1), 1, None)).await?;
    }
    let mut tasks = 0;
    for peer in [&source, &empty, &spare] {
        tasks += heartbeat(&index, peer, 0).await?.len();
    }
    let ours = format!("{} holders, {}", holders(&index, &file).await?.len(), count(tasks));
    checks.equal(("§4.1.2", "a third copy is left where it is"), "3 holders, 0 tasks", ours);
    Ok(())
}

/// What becomes of a peer that fell silent, and of its files.
pub(super) async fn pruning(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let (index, file) = (library(bench)?, FileName::parse("churn.txt")?);
    put(bench, "a", "churn.txt", TEXT)?;
    let mut peers: Vec<(&str, Process)> = Vec::new();
    for name in ["a", "b", "c"] {
        peers.push((name, start_peer(bench, name)?));
    }
    wait_for_peers(&index, peers.len()).await?;
    let first = copies(&index, &file, bench).await?;
    checks.add(
        ("§7.3", "a file gets its second copy, byte for byte"),
        "2 holders with the same bytes",
        &first.0,
        first.1,
    );

    kill(&mut peers, "a");
    let ttl = seconds(PEER_TTL);
    let gone = until(WITHIN, async || {
        let peers = index.peers().await?.value;
        Ok((!peers.iter().any(|peer| peer.id.as_str() == "a")).then_some(()))
    });
    let gone = gone.await?;
    checks.add(
        ("slides, SyncOps", "a killed peer is pruned after the peer TTL"),
        format!("gone after the TTL, {ttl}"),
        gone.as_ref().map_or_else(
            || format!("there after {}", seconds(WITHIN)),
            |(_, after)| format!("gone after {}", seconds(*after)),
        ),
        gone.is_some(),
    );
    let others = until(WITHIN, async || {
        let peers = index.peers().await?.value;
        let mut names: Vec<String> = peers.iter().map(|peer| peer.id.to_string()).collect();
        names.sort();
        Ok((names == ["b", "c"]).then_some(names.join(", ")))
    });
    let others = others.await?.map_or("not both at once".to_owned(), |(names, _)| names);
    checks.equal(("slides, SyncOps", "and those that go on with heartbeats are not"), "b, c", others);
    let restored = copies(&index, &file, bench).await?;
    let source = ("§1.3", "its file gets another copy from the holder that is left");
    checks.add(source, "2 holders with the same bytes", &restored.0, restored.1);

    kill(&mut peers, "b");
    kill(&mut peers, "c");
    let hidden = until(WITHIN, async || Ok((hits(&index, &file).await? == 0).then_some(())));
    let hidden = hidden.await?.map_or("still found".to_owned(), |_| "not found".into());
    checks.equal(("§1.2", "a file without a live holder leaves the search results"), "not found", hidden);
    for (name, process) in &mut peers {
        // Either has a copy by now.
        if *name != "a" {
            process.restart()?;
        }
    }
    let back = until(WITHIN, async || Ok((hits(&index, &file).await? == 1).then_some(()))).await?;
    let back = back.map_or("not found".to_owned(), |_| "found".into());
    checks.equal(("ours", "and is found again when they return"), "found", back);
    Ok(())
}

fn kill(peers: &mut [(&str, Process)], name: &str) {
    peers.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, process)| process.kill());
}

/// Waits for two current holders, and looks at what they have.
async fn copies(index: &IndexClient, file: &FileName, bench: &Bench) -> anyhow::Result<(String, bool)> {
    let two = until(WITHIN, async || {
        let found = holders(index, file).await?;
        let same = found.iter().all(|peer| bytes(bench, peer, file.as_str()).as_deref() == Some(TEXT));
        Ok((found.len() == 2 && same).then_some(found))
    });
    Ok(match two.await? {
        Some((found, _)) => (format!("{} holders with the same bytes ({})", found.len(), found.join(", ")), true),
        None => (format!("after {}: {}", seconds(WITHIN), explained(index, file).await), false),
    })
}

/// Why a file has the copies it has, in the index's words.
async fn explained(index: &IndexClient, file: &FileName) -> String {
    let why = match index.why(file).await {
        Ok(why) => why.value,
        Err(error) => return error.to_string(),
    };
    let holders = why.holders.iter().filter(|holder| holder.live).map(|holder| format!("{} has it", holder.id));
    let tasks = why.tasks.iter().flatten().map(|task| format!("{} is told to fetch it", task.peer));
    let refused = why.refused.iter().flatten().map(|refused| format!("{}: {}", refused.peer, refused.reason));
    let parts: Vec<String> = std::iter::once(why.rule.summary).chain(holders).chain(tasks).chain(refused).collect();
    parts.join("; ")
}

async fn hits(index: &IndexClient, file: &FileName) -> anyhow::Result<usize> {
    Ok(index.search(file.as_str(), SearchMode::Substring, 10).await?.value.len())
}

/// Registers a peer, and the tasks that come back.
async fn claim(index: &IndexClient, id: &str, file: Option<&FileName>) -> anyhow::Result<(Claimant, Vec<Task>)> {
    let id = PeerId::parse(id)?;
    let files = file.map(|name| entry(name, Some(1), 1)).into_iter().collect();
    let answer = index.register(&registration(&id, files)).await?;
    Ok((Claimant { id, incarnation: answer.incarnation }, answer.tasks))
}

async fn heartbeat(index: &IndexClient, peer: &Claimant, wait_ms: u64) -> anyhow::Result<Vec<Task>> {
    let request = HeartbeatRequest {
        peer_id: peer.id.clone(),
        incarnation: Some(peer.incarnation),
        wait_ms: Some(wait_ms),
        free_bytes: None,
        working: None,
        failed: None,
    };
    Ok(index.heartbeat(&request).await?.tasks)
}

fn count(tasks: usize) -> String {
    format!("{tasks} tasks")
}
