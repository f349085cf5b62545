//! Fetches one version of a file from its holders, with a progress bar on a terminal.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use raft_store::types::FileName;

use super::session::Session;
use super::values::allow_list;
use crate::contract::{CurrentVersion, FileResponse};
use crate::download::allow::AllowList;
use crate::download::holders::{self, Holders, Lookup};
use crate::download::{DownloadError, Downloader, FetchRequest, Fetched, Progress, ProgressFn};
use crate::terminal::{Exit, Failure, Format};

/// Time between two progress lines in JSON.
const JSON_PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Whom to fetch from.
#[derive(Debug, Clone, Args)]
pub struct Known {
    /// Fetch only from these peers, by id or address, comma-separated.
    #[arg(long, value_name = "ID or ADDRESS,…", value_parser = allow_list)]
    pub allow_peers: Option<AllowList>,
}

/// The current version of a file. A record has none (K1).
pub fn current(file: &FileResponse) -> Result<CurrentVersion, Failure> {
    let record = || Failure::new(Exit::NotFound, format!("{} is a record: it has attributes and no bytes", file.name));
    file.current().ok_or_else(record)
}

/// Fetches the current version of a file from its live holders into a part file in `tmp`. Holders that come and go
/// meanwhile are found by themselves. If none can be reached, they are looked up and tried again for a while, within
/// the time limit of a request: a new version has only one holder at first, which may just be restarting.
pub async fn fetch(session: &Session, file: &FileResponse, tmp: &Path) -> Result<Fetched, Failure> {
    let CurrentVersion { version, size, hash } = current(file)?;
    let name = file.name.clone();
    let now = Holders::of(file, version, hash, session.allow.as_deref());
    if now.sources.is_empty() && !now.left_out.is_empty() {
        return Err(DownloadError::NotAllowed { name, version, holders: now.left_out }.into());
    }
    let request = FetchRequest { name: name.clone(), version, hash, size: Some(size), sources: now.sources };
    let patience = holders::PATIENCE.min(session.timeout);
    let lookup = Lookup::in_index(&session.client, name, version, hash, session.allow.clone(), patience);
    let (progress, bar) = progress(session, file);
    let result = Downloader::new(None).fetch_finding(&request, tmp, progress, Some(lookup)).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let fetched = result?;
    for suspect in &fetched.suspects {
        session.output.warn(&format!("{suspect} sent wrong bytes of {}; they were discarded", file.name));
    }
    Ok(fetched)
}

fn progress(session: &Session, file: &FileResponse) -> (Option<ProgressFn>, Option<ProgressBar>) {
    if session.output.format == Format::Json && !session.output.quiet {
        return (Some(json_progress(file.name.clone())), None);
    }
    if !session.output.draws_progress() {
        return (None, None);
    }
    let bar = ProgressBar::new(file.size.unwrap_or(0));
    let layout = "{msg}  {bar:30}  {percent}%  {bytes}/{total_bytes}  {bytes_per_sec}  ETA {eta}";
    if let Ok(style) = ProgressStyle::with_template(layout) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_message(file.name.to_string());
    let drawn = bar.clone();
    let update = move |progress: &Progress| {
        if let Some(total) = progress.total {
            drawn.set_length(total);
        }
        drawn.set_position(progress.bytes);
    };
    (Some(Arc::new(update)), Some(bar))
}

/// Reports progress as JSON lines on the standard error, for programs.
fn json_progress(file: FileName) -> ProgressFn {
    let last = parking_lot::Mutex::new(Instant::now());
    Arc::new(move |progress: &Progress| {
        let mut last = last.lock();
        if last.elapsed() < JSON_PROGRESS_EVERY {
            return;
        }
        *last = Instant::now();
        let sources: Vec<_> = progress
            .sources
            .iter()
            .map(|share| serde_json::json!({"source": share.source, "bytes": share.bytes}))
            .collect();
        let (bytes, total) = (progress.bytes, progress.total);
        let line =
            serde_json::json!({"ev": "progress", "file": file, "bytes": bytes, "total": total, "sources": sources});
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
    })
}
