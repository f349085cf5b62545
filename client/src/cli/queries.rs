//! The commands that only look: `search`, `list`, `peers`, `status`, `why`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use raft_store::types::{ContentHash, FileName, Version};
use serde::Serialize;

use super::args::{Level, List, Mode, SEARCH_LIMIT_MAX, Search};
use super::exit::Failure;
use super::output::{ago, count, minutes, size};
use super::session::{Session, blocking};
use crate::api::{ErrorCode, FileResponse, SearchHit};
use crate::cluster::{Consistency, Freshness, Read, ReadOptions, SearchMode};
use crate::peer::{Disk, Folder, scan};

/// Files that `list` asks the index about at a time.
const LOOKUPS_MAX: usize = 8;
/// Files that `list --remote` prints at most.

/// `raftshare search`. No hit is a result too: an empty list, and exit code 0.
pub async fn search(session: &Session, search: &Search) -> Result<(), Failure> {
    let consistency = match search.consistency {
        Level::Auto => Consistency::Auto,
        Level::Leader => Consistency::Leader,
        Level::Linearizable => Consistency::Linearizable,
        Level::Stale => Consistency::Stale,
    };
    let mode = match search.mode {
        Mode::Fuzzy => SearchMode::Fuzzy,
        Mode::Substring => SearchMode::Substring,
        Mode::Prefix => SearchMode::Prefix,
    };
    let client = session.client.with_reading(ReadOptions { consistency, ..ReadOptions::default() });
    let started = Instant::now();
    let answer = client.search(&search.query.join(" "), mode, search.limit).await?;
    print_hits(session, &answer, started.elapsed());
    Ok(())
}

/// What the index lists, as far as one answer goes.
async fn remote(session: &Session) -> Result<(), Failure> {
    let started = Instant::now();
    let answer = session.client.search("", SearchMode::Fuzzy, SEARCH_LIMIT_MAX).await?;
    print_hits(session, &answer, started.elapsed());
    let (listed, total) = (answer.value.len() as u64, answer.total.unwrap_or(0));
    if listed < total {
        let (listed, total) = (count(listed), count(total));
        session.output.warn(&format!("only {listed} of {total} files are listed; find others:  raftshare search WORD"));
    }
    Ok(())
}

fn print_hits(session: &Session, answer: &Read<Vec<SearchHit>>, took: Duration) {
    let hits = &answer.value;
    session.keep_rows(hits.iter().map(|hit| hit.file_name.clone()));
    let rows: Vec<_> = hits.iter().enumerate().map(|(position, hit)| hit_row(position, hit)).collect();
    session.output.result(hits, &["#", "NAME", "VER", "SIZE", "COPIES", "HOLDERS"], &rows);
    let total = answer.total.unwrap_or(hits.len() as u64);
    session.output.remark(&format!(
        "{} of {} matches, {} ms{}",
        count(hits.len() as u64),
        count(total),
        took.as_millis(),
        source(&answer.freshness)
    ));
    session.output.freshness(&answer.freshness);
}

fn hit_row(position: usize, hit: &SearchHit) -> Vec<String> {
    let holders: Vec<&str> = hit.peers.iter().map(|peer| peer.id.as_str()).collect();
    vec![
        (position + 1).to_string(),
        hit.file_name.to_string(),
        format!("v{}", hit.version),
        size(hit.size),
        hit.peers.len().to_string(),
        holders.join(" "),
    ]
}

fn source(freshness: &Freshness) -> String {
    let node = freshness.node.map_or_else(String::new, |node| format!(" ({} {node})", freshness.role));
    format!(", index {}{node}", count(freshness.applied))
}

/// `raftshare peers`.
pub async fn peers(session: &Session, name: Option<&FileName>) -> Result<(), Failure> {
    let Some(name) = name else {
        let answer = session.client.peers().await?;
        let row = |peer: &crate::api::PeerEntry| {
            let zone = peer.zone.clone().unwrap_or_else(|| "-".into());
            vec![peer.id.to_string(), peer.address.clone(), zone, peer.files.to_string(), seen(peer.last_seen)]
        };
        let rows: Vec<_> = answer.value.iter().map(row).collect();
        session.output.result(&answer.value, &["PEER", "ADDRESS", "ZONE", "FILES", "SEEN"], &rows);
        if rows.is_empty() {
            session.output.remark("no peer is live; share a folder:  raftshare serve --dir DIR");
        }
        session.output.freshness(&answer.freshness);
        return Ok(());
    };
    let answer = session.client.file_peers(name).await?;
    let row = |peer: &crate::api::FilePeer| {
        let state = if peer.current { "current" } else { "stale" };
        vec![
            peer.id.to_string(),
            peer.address.clone(),
            format!("v{}", peer.version),
            state.into(),
            seen(peer.last_seen),
        ]
    };
    let rows: Vec<_> = answer.value.iter().map(row).collect();
    session.output.result(&answer.value, &["PEER", "ADDRESS", "VER", "STATE", "SEEN"], &rows);
    session.output.freshness(&answer.freshness);
    Ok(())
}

/// When a peer was last heard from; only the leader knows (R5).
fn seen(unix_seconds: Option<u64>) -> String {
    unix_seconds.map_or_else(|| "-".into(), ago)
}

/// What is left of a lease; nobody knows while there is no leader (R5).
pub(super) fn remaining(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "-".into(), minutes)
}

/// `raftshare why`.
pub async fn why(session: &Session, name: &FileName) -> Result<(), Failure> {
    let answer = session.client.why(name).await?;
    session.output.sentence(&answer.value, &super::explain::explain(&answer.value));
    session.output.freshness(&answer.freshness);
    Ok(())
}

/// A file of the folder, as `list` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: FileName,
    /// The version held here; `null` for bytes that were never announced.
    version: Option<Version>,
    current_version: Option<Version>,
    size: u64,
    hash: Option<ContentHash>,
    /// announced, pending, changed.
    state: &'static str,
    replicas: Option<crate::api::ReplicaCount>,
    lease: Option<crate::api::LeaseStatus>,
}

/// `raftshare list`.
pub async fn list(session: &Session, list: &List) -> Result<(), Failure> {
    if list.remote {
        return remote(session).await;
    }
    let folder = session.folder().await?;
    let files = local_files(&folder).await?;
    let client = &session.client;
    let known = futures::stream::iter(files.into_iter().map(|listed| async move {
        let answer = client.file(&listed.name).await;
        (listed, answer)
    }))
    .buffered(LOOKUPS_MAX);
    let mut listed = Vec::new();
    let mut unreachable = None;
    futures::pin_mut!(known);
    while let Some((mut file, answer)) = known.next().await {
        match answer {
            Ok(answer) => add_known(&mut file, answer.value),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
            Err(error) => unreachable = Some(error),
        }
        listed.push(file);
        if unreachable.is_some() {
            break; // without the cluster there is nothing to ask for the others either
        }
    }
    if let Some(error) = unreachable {
        session.output.warn(&format!("copies and locks are unknown: {error}"));
        listed = local_files(&folder).await?;
    }
    let rows: Vec<_> = listed.iter().map(list_row).collect();
    session.output.result(&listed, &["NAME", "VER", "SIZE", "COPIES", "STATE", "LOCK"], &rows);
    Ok(())
}

fn add_known(file: &mut Listed, known: FileResponse) {
    file.current_version = Some(known.version);
    file.replicas = Some(known.replicas);
    file.lease = known.lease;
    if file.state == "announced" && file.version < file.current_version {
        file.state = "stale";
    }
}

async fn local_files(folder: &Arc<Folder>) -> Result<Vec<Listed>, Failure> {
    let folder = Arc::clone(folder);
    blocking(move || {
        let mut found = scan::scan(&folder);
        found.files.sort_by(|a, b| a.name.cmp(&b.name));
        let entry = |found: scan::Found| {
            let disk = folder.disk(&found.name)?;
            let (version, state) = match &disk {
                Disk::Announced(copy) => (Some(copy.version), "announced"),
                Disk::Pending(copy) => (Some(copy.version), "pending"),
                Disk::Other { .. } | Disk::Absent => (None, "changed"),
            };
            let size = found.stamp.size;
            let hash = disk.hash();
            let name = found.name;
            Ok(Listed { name, version, current_version: None, size, hash, state, replicas: None, lease: None })
        };
        found.files.into_iter().map(entry).collect::<Result<Vec<_>, crate::peer::FolderError>>()
    })
    .await?
    .map_err(Failure::from)
}

fn list_row(file: &Listed) -> Vec<String> {
    let version = file.version.map_or_else(|| "-".into(), |version| format!("v{version}"));
    let copies = file.replicas.map_or_else(|| "-".into(), |copies| format!("{}/{}", copies.live, copies.desired));
    let lock = file
        .lease
        .as_ref()
        .map_or_else(|| "-".into(), |lease| format!("{} {}", lease.holder, remaining(lease.remaining_ms)));
    vec![file.name.to_string(), version, size(file.size), copies, file.state.into(), lock]
}

/// `raftshare status`.
pub async fn status(session: &Session) -> Result<(), Failure> {
    super::health::status(&session.client, &session.output).await
}
