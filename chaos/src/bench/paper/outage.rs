//! What followers may do, and what is left when the leader is killed.
//!
//! Invariant: the leader is killed while writes are under way, by SIGKILL; a write counts as kept only if it is read
//! back from the cluster afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use client::cluster::{Consistency, LeaseAnswer, ReadOptions};
use client::contract::LeaseRequest;
use raft_store::types::{FileName, PeerId, limits};
use serde_json::{Value, json};

use super::check::Checks;
use super::flows::announcement;
use super::world::{ADDRESS, Http, WITHIN, refusal, registration, until};
use crate::bench::Bench;
use crate::bench::load::Wire;
use crate::bench::single::library;
use crate::cluster::READY_WITHIN;

/// Writes before the kill, and in all.
const BEFORE: usize = 20;
const WRITES: usize = 60;

/// Every write that is sent to a follower which does not take any.
pub(super) async fn policy(bench: &mut Bench, checks: &mut Checks, wire: Wire) -> anyhow::Result<()> {
    let (http, index) = (Http::new()?, library(bench)?);
    let leader = bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
    let follower = bench.cluster.ids().into_iter().find(|id| *id != leader.id).context("there is no follower")?;
    let follower = bench.cluster.url(follower).context("it has no address")?;
    let url = |path: &str| format!("{follower}{}{path}", wire.prefix());
    for (path, body) in writes(wire) {
        let (status, _) = http.post(&url(path), &body).await?;
        checks.equal(("§3.1.2", format!("POST {}{path} to a follower is refused", wire.prefix())), 403, status);
    }
    let (status, _) = http.get(&url("/search?q=forced")).await?;
    checks.equal(("§6.2", format!("GET {}/search is answered by it", wire.prefix())), 200, status);
    if wire == Wire::Native {
        // The shadow took its state from anybody who posted it there.
        let (status, _) = http.post(&format!("{follower}/sync"), &json!({"opType": "register", "data": {}})).await?;
        checks.equal(("§6.3.1", "nobody can push state into it: there is no POST /sync"), 404, status);
        let file = FileName::parse("forced.txt")?;
        checks.equal(("§3.1.2", "and nothing of it was applied"), "404 not_found", refusal(&index.file(&file).await));
    }
    Ok(())
}

/// Each write in a wire format, well-formed.
fn writes(wire: Wire) -> [(&'static str, Value); 4] {
    let file = json!({"name": "forced.txt", "size": 1, "hash": "0".repeat(64), "version": 1});
    let lease = json!({"peerId": "intruder", "fileName": "forced.txt"});
    let (register, announce) = match wire {
        Wire::Native => (
            json!({"peerId": "intruder", "address": ADDRESS, "files": [file]}),
            json!({"peerId": "intruder", "file": file}),
        ),
        Wire::V0 => {
            let peer = json!({"id": "intruder", "addr": ADDRESS, "lastSeen": "0001-01-01T00:00:00Z"});
            (json!({"peer": peer, "files": [file]}), json!({"peer": peer, "file": file}))
        }
    };
    [("/register", register), ("/announce", announce), ("/lease", lease.clone()), ("/delete", lease)]
}

/// Kills the leader in the middle of writes.
pub(super) async fn crash(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let index = library(bench)?;
    let (writer, edited) = (PeerId::parse("writer")?, FileName::parse("edited.txt")?);
    index.register(&registration(&writer, Vec::new())).await?;
    let request = LeaseRequest {
        peer_id: writer.clone(),
        file_name: edited.clone(),
        ttl_ms: Some(limits::LEASE_TTL_MS_DEFAULT),
        wait: None,
        wait_ms: None,
    };
    let LeaseAnswer::Granted(grant) = index.acquire(&request).await? else { anyhow::bail!("the lease was denied") };
    let names: Vec<FileName> =
        (0..WRITES).map(|number| FileName::parse(format!("mid-operation/{number}.txt"))).collect::<Result<_, _>>()?;

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writing = {
        let (index, writer, names, acknowledged) = (index.clone(), writer.clone(), names.clone(), acknowledged.clone());
        tokio::spawn(async move {
            let mut failed = 0;
            for name in &names {
                match index.announce(&announcement(&writer, name, Some(1), 1, None)).await {
                    Ok(_) => drop(acknowledged.fetch_add(1, Ordering::Relaxed)),
                    Err(_) => failed += 1,
                }
            }
            failed
        })
    };
    until(WITHIN, async || Ok((acknowledged.load(Ordering::Relaxed) >= BEFORE).then_some(()))).await?;
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    bench.cluster.kill(leader.id)?;
    let reader = index.with_reading(ReadOptions { consistency: Consistency::Auto, ..ReadOptions::default() });
    let sent = Instant::now();
    let read = reader.file(&names[0]).await;
    let took = sent.elapsed().as_secs_f64() * 1e3;
    let ours = match &read {
        Ok(read) => {
            let stale = if read.freshness.stale { "a follower, marked as possibly old" } else { "the next leader" };
            format!("answered in {took:.1} ms by {stale}")
        }
        Err(error) => error.to_string(),
    };
    let elsewhere = read.is_ok_and(|read| read.freshness.node != Some(leader.id));
    checks.add(
        ("§7.3", "the leader is killed mid-operation: a client still reads"),
        "an answer from another node",
        ours,
        elsewhere,
    );

    let failed = writing.await?;
    let written = acknowledged.load(Ordering::Relaxed);
    checks.equal(
        ("ours", "writes go on by themselves (the shadow refused them)"),
        format!("{WRITES} acknowledged, 0 failed"),
        format!("{written} acknowledged, {failed} failed"),
    );
    let reader = index.with_reading(ReadOptions { consistency: Consistency::Linearizable, ..ReadOptions::default() });
    let mut kept = 0;
    for name in &names {
        kept += usize::from(reader.file(name).await.is_ok());
    }
    let claim = ("ours", "nothing acknowledged is lost (the shadow was updated after the answer)");
    checks.equal(claim, format!("{written} of {written} are there"), format!("{kept} of {written} are there"));
    let token = grant.response.lease_token;
    let published = index.announce(&announcement(&writer, &edited, None, 2, Some(&token))).await;
    let ours = published.as_ref().map_or_else(|_| refusal(&published), |answer| format!("version {}", answer.version));
    checks.equal(("ours", "a lease from before the crash is still good"), "version 1", ours);

    bench.cluster.restart_dead()?;
    bench.cluster.wait_ready(READY_WITHIN).await?;
    let same = bench.cluster.command(&["verify".to_owned()]).await?;
    checks.equal(
        ("§10.1", "the killed node returns with its disk and has the same state as the others"),
        "all nodes have one state",
        same.map_or_else(|why| why, |_| "all nodes have one state".into()),
    );
    Ok(())
}
