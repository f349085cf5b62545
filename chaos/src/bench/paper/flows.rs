//! Core flows: peers register, search, fetch from each other and change files under leases.
//!
//! Invariant: what people do is done by the peer's own program, between real peers.

use std::time::Duration;

use client::cluster::{IndexClient, LeaseAnswer};
use client::contract::{AnnounceRequest, DeleteRequest, LeaseRequest};
use futures::future::try_join_all;
use raft_store::types::{FileName, LeaseToken, PeerId, limits};

use super::check::Checks;
use super::world::{ADDRESS, Http, WITHIN, bytes, entry, holders, put, raftshare, refusal, registration, until};
use crate::bench::Bench;
use crate::bench::convergence::{start_peer, wait_for_peers};
use crate::bench::single::library;
use serde_json::{Value, json};

/// What the file has in it.
const TEXT: &[u8] = b"the first line\n";
const LINE: &str = "one more line";
/// Peers that change one file at the same time.
const WRITERS: usize = 8;
/// How long each of them waits for its turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// Register, search, get, update, as the report's users do.
pub(super) async fn people(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let (index, doc) = (library(bench)?, FileName::parse("doc.txt")?);
    put(bench, "a", "doc.txt", TEXT)?;
    let _first = start_peer(bench, "a")?;
    let has = |names: &'static [&'static str]| {
        let (index, doc) = (index.clone(), doc.clone());
        async move || anyhow::Ok(Some(holders(&index, &doc).await?).filter(|found| found == names))
    };
    until(WITHIN, has(&["a"])).await?;
    checks.equal(("§6.1.1", "a peer registers with its files"), "held by a", held(&index, &doc).await?);
    // The founder sets the number of copies a moment after the nodes serve. Until then a second peer would get one.
    until(WITHIN, async || Ok((index.file(&doc).await?.value.replicas.desired == 1).then_some(()))).await?;
    let _second = start_peer(bench, "b")?;
    wait_for_peers(&index, 2).await?;

    let found = raftshare(bench, "b", &["search", "doc"]).await?;
    let hit = |found: &Result<Value, String>| match found {
        Ok(Value::Array(hits)) if hits.len() == 1 => {
            format!(
                "1 match: {} (v{}) by {}",
                text(&hits[0]["fileName"]),
                hits[0]["version"],
                text(&hits[0]["peers"][0]["id"])
            )
        }
        Ok(other) => other.to_string(),
        Err(why) => why.clone(),
    };
    checks.equal(("§6.2.1", "a search finds it"), "1 match: doc.txt (v1) by a", hit(&found));

    let got = raftshare(bench, "b", &["get", "doc.txt"]).await?;
    let got = got.map_or_else(|why| why, |_| compare(bytes(bench, "b", "doc.txt").as_deref(), TEXT).to_owned());
    checks.equal(("§9.2", "get fetches it from the other peer, byte for byte"), "the same bytes", got);
    until(WITHIN, has(&["a", "b"])).await?;
    checks.equal(("§9.2", "and announces the copy"), "held by a, b", held(&index, &doc).await?);

    let listed = raftshare(bench, "b", &["list"]).await?;
    let names = |listed: &Value| {
        let names = listed.as_array().into_iter().flatten().map(|file| text(&file["name"]));
        names.collect::<Vec<_>>().join(", ")
    };
    checks.equal(("§9.2", "list shows the folder"), "doc.txt", listed.map_or_else(|why| why, |listed| names(&listed)));

    let updated = raftshare(bench, "b", &["append", "doc.txt", LINE]).await?;
    let version = match updated {
        Ok(_) => match index.file(&doc).await?.value.version {
            Some(version) => format!("version {version}"),
            None => "no version".to_owned(),
        },
        Err(why) => why,
    };
    checks.equal(("§9.2", "an update under a lease is the next version"), "version 2", version);
    let wanted = [TEXT, LINE.as_bytes(), b"\n"].concat();
    let arrived = until(WITHIN, async || Ok(bytes(bench, "a", "doc.txt").filter(|bytes| *bytes == wanted)));
    let arrived = arrived.await?;
    let ours = arrived.map_or_else(|| "the old bytes".to_owned(), |_| "the new bytes".to_owned());
    checks.equal(("§1.3", "and reaches the other holder"), "the new bytes", ours);

    let delete =
        DeleteRequest { peer_id: PeerId::parse("b")?, file_name: doc.clone(), everywhere: None, lease_token: None };
    index.delete(&delete).await?;
    until(WITHIN, has(&["a"])).await?;
    checks.equal(("§3.1.1", "a holder removes its copy from the index"), "held by a", held(&index, &doc).await?);
    Ok(())
}

/// One writer at a time.
pub(super) async fn leases(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let (index, notes) = (library(bench)?, FileName::parse("project_notes.txt")?);
    let writers: Vec<PeerId> =
        (1..=WRITERS).map(|number| PeerId::parse(format!("writer-{number}"))).collect::<Result<_, _>>()?;
    for writer in &writers {
        index.register(&registration(writer, Vec::new())).await?;
    }
    let (one, two) = (&writers[0], &writers[1]);
    index.announce(&announcement(one, &notes, Some(1), 1, None)).await?;
    let first = index.acquire(&lease(one, &notes)).await?;
    checks.equal(("§5.2.1", "a free file's lease is granted"), "granted for 60 s", told(&first));
    let LeaseAnswer::Granted(grant) = first else { anyhow::bail!("without a lease there is nothing to go on with") };
    let second = index.acquire(&lease(two, &notes)).await?;
    checks.equal(("§5.2.1", "another peer is denied it meanwhile"), "denied, writer-1 has it", told(&second));
    let without = index.announce(&announcement(two, &notes, Some(2), 2, None)).await;
    checks.equal(("§5.2.1", "and cannot announce a version without it"), "403 lease_required", refusal(&without));
    let token = grant.response.lease_token;
    let published = index.announce(&announcement(one, &notes, None, 3, Some(&token))).await;
    let version =
        published.as_ref().map_or_else(|_| refusal(&published), |answer| format!("version {}", answer.version));
    checks.equal(("§5.2.1", "the holder's announcement is accepted"), "version 2", version);
    let again = index.acquire(&lease(two, &notes)).await?;
    checks.equal(("§5.2.1", "and releases the lease"), "granted for 60 s", told(&again));
    let late = index.announce(&announcement(one, &notes, None, 4, Some(&token))).await;
    checks.equal(("ours", "the old lease's token is of no use any more"), "403 lease_expired", refusal(&late));
    if let LeaseAnswer::Granted(grant) = again {
        let token = Some(&grant.response.lease_token);
        index.announce(&announcement(two, &notes, None, 5, token)).await?;
    }

    let turns =
        try_join_all(writers.iter().zip(10_u8..).map(|(writer, byte)| turn(&index, writer, &notes, byte))).await?;
    let mut in_order = turns;
    in_order.sort_unstable();
    let versions: Vec<u64> = in_order.iter().map(|(_, version)| *version).collect();
    let expected: Vec<u64> = (4..).take(WRITERS).collect();
    checks.equal(
        ("§5.2", format!("{WRITERS} peers update one file at once: no lost update, one order")),
        format!("versions {expected:?} in the order of the grants"),
        format!("versions {versions:?} in the order of the grants"),
    );

    let leader = bench.cluster.leader().await.map(|leader| leader.id);
    let follower = bench.cluster.ids().into_iter().find(|id| Some(*id) != leader).and_then(|id| bench.cluster.url(id));
    let body = json!({"peerId": "anyone", "address": ADDRESS, "files": []});
    let (status, _) = Http::new()?.post(&format!("{}/register", follower.unwrap_or_default()), &body).await?;
    checks.equal(("ours", "a follower takes writes and forwards them"), 200, status);
    Ok(())
}

/// Waits in line, publishes; the fencing token of the grant, and the version.
async fn turn(index: &IndexClient, writer: &PeerId, file: &FileName, byte: u8) -> anyhow::Result<(u64, u64)> {
    let answer = index.acquire_waiting(&lease(writer, file), Some(PATIENCE), |_| {}).await?;
    let LeaseAnswer::Granted(grant) = answer else { anyhow::bail!("{writer} was never granted the lease") };
    let token = &grant.response.lease_token;
    let published = index.announce(&announcement(writer, file, None, byte, Some(token))).await?;
    Ok((grant.response.fencing_token, published.version))
}

fn lease(peer: &PeerId, file: &FileName) -> LeaseRequest {
    let ttl_ms = Some(limits::LEASE_TTL_MS_DEFAULT);
    LeaseRequest { peer_id: peer.clone(), file_name: file.clone(), ttl_ms, wait: None, wait_ms: None }
}

pub(super) fn announcement(
    peer: &PeerId,
    file: &FileName,
    version: Option<u64>,
    byte: u8,
    token: Option<&LeaseToken>,
) -> AnnounceRequest {
    let (peer_id, file) = (peer.clone(), Some(entry(file, version, byte)));
    AnnounceRequest { peer_id, file, files: None, lease_token: token.cloned(), keep_lease: None }
}

fn told(answer: &LeaseAnswer) -> String {
    match answer {
        LeaseAnswer::Granted(grant) => format!("granted for {} s", grant.response.ttl_ms / 1_000),
        LeaseAnswer::Denied(denied) => format!("denied, {} has it", denied.holder),
    }
}

async fn held(index: &IndexClient, file: &FileName) -> anyhow::Result<String> {
    Ok(format!("held by {}", holders(index, file).await?.join(", ")))
}

fn compare(found: Option<&[u8]>, wanted: &[u8]) -> &'static str {
    match found {
        Some(found) if found == wanted => "the same bytes",
        Some(_) => "other bytes",
        None => "no file",
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
