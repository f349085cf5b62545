//! `raftshare exists`: tells whether files exist and can be fetched, by its exit code and in words.

use clap::Args;
use futures::StreamExt;
use raft_store::types::{ContentHash, FileName, PeerId, Version};
use serde::Serialize;

use crate::contract::{CurrentVersion, ErrorCode, FileResponse};
use crate::cli::Session;
use crate::cli::reading::Reading;
use crate::cli::values::file_name;
use crate::cluster::Error;
use crate::download::{Downloader, FetchRequest};
use crate::terminal::figures::size;
use crate::terminal::{Exit, Failure};

/// Holders that are asked at the same time.
const ASKED_MAX: usize = 16;

/// Check that files exist and can be fetched; exits with 0 if so, 3 if one does not exist, 6 if nobody has one.
#[derive(Debug, Clone, Args)]
pub struct Exists {
    /// The files.
    #[arg(required = true, value_parser = file_name)]
    pub names: Vec<FileName>,
    /// Also ask every live holder itself whether it has the current version.
    #[arg(long)]
    pub ask: bool,
    /// How fresh the answer has to be.
    #[command(flatten)]
    pub reading: Reading,
}

/// What `exists` prints about a file.
#[derive(Debug, Serialize)]
struct Found {
    name: FileName,
    exists: bool,
    version: Option<Version>,
    size: Option<u64>,
    hash: Option<ContentHash>,
    /// Live holders of the current version.
    holders: Vec<Holder>,
}

#[derive(Debug, Serialize)]
struct Holder {
    id: PeerId,
    address: String,
    /// Whether it says that it has the version; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    has: Option<bool>,
    /// Why it does not have it, or does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Found {
    /// Whether there are bytes that no live peer has. A record has none (K1).
    fn is_out_of_reach(&self) -> bool {
        self.version.is_some() && self.holders.iter().all(|holder| holder.has == Some(false))
    }
}

impl Exists {
    /// Prints a row for each file.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = self.reading.client(session);
        let mut all = Vec::new();
        for name in &self.names {
            let found = match client.file(name).await {
                Ok(answer) => {
                    session.output.freshness(&answer.freshness);
                    found(answer.value, self.ask).await
                }
                Err(Error::Refused(problem)) if problem.code == ErrorCode::NotFound => {
                    let (version, size, hash) = (None, None, None);
                    Found { name: name.clone(), exists: false, version, size, hash, holders: Vec::new() }
                }
                Err(error) => return Err(error.into()),
            };
            all.push(found);
        }
        let rows: Vec<_> = all.iter().map(row).collect();
        session.output.result(&all, &["NAME", "EXISTS", "VER", "SIZE", "HOLDERS"], &rows);
        for holder in all.iter().flat_map(|found| &found.holders).filter(|holder| holder.has == Some(false)) {
            let why = holder.why.as_deref().unwrap_or_default();
            session.output.remark(&format!("{} at {}: {why}", holder.id, holder.address));
        }
        conclude(&all)
    }
}

async fn found(file: FileResponse, ask: bool) -> Found {
    let holder = |entry: &crate::contract::HolderEntry| Holder {
        id: entry.id.clone(),
        address: entry.address.clone(),
        has: None,
        why: None,
    };
    let mut holders: Vec<_> = file.holders.iter().filter(|entry| entry.live && entry.current).map(holder).collect();
    if let Some(CurrentVersion { version, size, hash }) = file.current().filter(|_| ask) {
        let request =
            FetchRequest { name: file.name.clone(), version, hash, size: Some(size), sources: Vec::new() };
        let downloader = Downloader::new(None);
        let asked = futures::stream::iter(holders).map(|mut holder| {
            let (downloader, request) = (&downloader, &request);
            async move {
                let answer = downloader.ask(request, &holder.address).await;
                (holder.has, holder.why) = (Some(answer.is_ok()), answer.err().map(|error| error.to_string()));
                holder
            }
        });
        holders = asked.buffered(ASKED_MAX).collect().await;
    }
    let FileResponse { name, version, size, hash, .. } = file;
    Found { name, exists: true, version, size, hash, holders }
}

fn row(found: &Found) -> Vec<String> {
    let (all, asked) = (found.holders.len(), found.holders.iter().any(|holder| holder.has.is_some()));
    let have = found.holders.iter().filter(|holder| holder.has == Some(true)).count();
    vec![
        found.name.to_string(),
        if found.exists { "yes" } else { "no" }.to_owned(),
        found.version.map_or_else(|| "-".into(), |version| format!("v{version}")),
        found.size.map_or_else(|| "-".into(), size),
        if asked { format!("{have}/{all}") } else { all.to_string() },
    ]
}

fn conclude(all: &[Found]) -> Result<(), Failure> {
    if let Some(missing) = all.iter().find(|found| !found.exists) {
        return Err(Failure::new(Exit::NotFound, format!("{} does not exist", missing.name))
            .hint("list all files:  raftshare search ''"));
    }
    match all.iter().find(|found| found.is_out_of_reach()) {
        Some(away) => Err(Failure::new(Exit::Unavailable, format!("{} exists, but no live peer has it", away.name))
            .hint("try again when one of its holders is back")),
        None => Ok(()),
    }
}
