//! `raftshare list`: lists the files of the folder, or those of the index.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use futures::StreamExt;
use raft_store::types::{ContentHash, FileName, Version};
use serde::Serialize;

use super::search::{SEARCH_LIMIT_MAX, print_hits};
use crate::contract::{ErrorCode, FileResponse, LeaseStatus, ReplicaCount};
use crate::cli::reading::Reading;
use crate::cli::session::{Session, blocking};
use crate::cluster::{IndexClient, SearchMode};
use crate::peer::{Disk, Folder, FolderError, scan};
use crate::terminal::Failure;
use crate::terminal::figures::{count, remaining, size};

/// Files that are looked up in the index at the same time.
const LOOKUPS_MAX: usize = 8;
/// Most files that `list --remote` prints.
const REMOTE_MAX: usize = 10_000;

/// List the folder's files with their versions, copies and leases.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// List the files of the index instead of those of the folder.
    #[arg(long)]
    pub remote: bool,
    /// How fresh the answer has to be.
    #[command(flatten)]
    pub reading: Reading,
}

impl List {
    /// Prints the local files, or those of the index.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = self.reading.client(session);
        if self.remote { remote(session, &client).await } else { local(session, &client).await }
    }
}

/// Lists the files of the index page by page, up to [`REMOTE_MAX`].
async fn remote(session: &Session, client: &IndexClient) -> Result<(), Failure> {
    let started = Instant::now();
    let mut answer = client.search("", SearchMode::Fuzzy, SEARCH_LIMIT_MAX).await?;
    while let Some(cursor) = answer.cursor.take() {
        if answer.value.len() >= REMOTE_MAX {
            break;
        }
        let page = client.search_page("", SearchMode::Fuzzy, SEARCH_LIMIT_MAX, Some(&cursor)).await?;
        answer.value.extend(page.value);
        (answer.cursor, answer.freshness) = (page.cursor, page.freshness);
    }
    print_hits(session, &answer, started.elapsed(), false);
    let (listed, total) = (answer.value.len() as u64, answer.total.unwrap_or(0));
    if listed < total {
        let (listed, total) = (count(listed), count(total));
        session.output.warn(&format!("only {listed} of {total} files are listed; find others:  raftshare search WORD"));
    }
    Ok(())
}

/// A file of the folder, as `list` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: FileName,
    /// The local version; `null` for bytes that were never announced.
    version: Option<Version>,
    current_version: Option<Version>,
    size: u64,
    hash: Option<ContentHash>,
    /// `announced`, `pending`, `changed` or `stale`.
    state: &'static str,
    replicas: Option<ReplicaCount>,
    lease: Option<LeaseStatus>,
}

/// Lists the local files, each with what the index knows about it.
async fn local(session: &Session, client: &IndexClient) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let files = local_files(&folder).await?;
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
            break; // the other lookups would fail as well
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
    file.current_version = known.version;
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
        found.files.into_iter().map(entry).collect::<Result<Vec<_>, FolderError>>()
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
