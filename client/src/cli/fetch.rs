//! Fetches one version of a file from its holders, with a progress bar on a terminal.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use raft_store::types::FileName;

use super::session::Session;
use crate::cluster::{Consistency, ReadOptions};
use crate::contract::{CurrentVersion, FileResponse};
use crate::download::{DownloadError, Downloader, FetchRequest, Fetched, Progress, ProgressFn};
use crate::terminal::{Exit, Failure, Format};

/// Time between two progress lines in JSON.
const JSON_PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// How long to wait until a holder can send the version. A new version has only one holder at first, which may just be
/// restarting.
const SOURCE_PATIENCE: Duration = Duration::from_secs(5);
/// First pause before the holders are looked up again; it doubles up to [`SOURCE_PAUSE_MAX`].
const SOURCE_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause before the holders are looked up again.
const SOURCE_PAUSE_MAX: Duration = Duration::from_millis(500);

/// The current version of a file. A record has none (K1).
pub fn current(file: &FileResponse) -> Result<CurrentVersion, Failure> {
    let record = || Failure::new(Exit::NotFound, format!("{} is a record: it has attributes and no bytes", file.name));
    file.current().ok_or_else(record)
}

/// Fetches the current version of a file from its live holders into a part file in `tmp`. If none can be reached, the
/// holders are looked up and tried again for a while, within the time limit of a request.
pub async fn fetch(session: &Session, file: &FileResponse, tmp: &Path) -> Result<Fetched, Failure> {
    let until = Instant::now() + SOURCE_PATIENCE.min(session.timeout);
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    let client = session.client.with_reading(reading);
    let (mut file, mut pause) = (file.clone(), SOURCE_PAUSE_MIN);
    loop {
        let failed = match fetch_once(session, &file, current(&file)?, tmp).await {
            Err(error @ (DownloadError::NoSources { .. } | DownloadError::AllFailed { .. })) => error,
            result => return Ok(result?),
        };
        if Instant::now() + pause >= until {
            return Err(failed.into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SOURCE_PAUSE_MAX);
        // The time for this lookup counts as part of the wait.
        match client.with_deadline(until.saturating_duration_since(Instant::now())).file(&file.name).await {
            Ok(answer) if (answer.value.version, answer.value.hash) == (file.version, file.hash) => file = answer.value,
            Ok(_) => return Err(Failure::from(failed).hint("a newer version has been published; try again")),
            Err(error) if error.is_temporary() => {}
            Err(_) => return Err(failed.into()),
        }
    }
}

async fn fetch_once(
    session: &Session,
    file: &FileResponse,
    current: CurrentVersion,
    tmp: &Path,
) -> Result<Fetched, DownloadError> {
    let holders = file.holders.iter().filter(|holder| holder.live && holder.current);
    let request = FetchRequest {
        name: file.name.clone(),
        version: current.version,
        hash: current.hash,
        size: Some(current.size),
        sources: holders.map(|holder| holder.address.clone()).collect(),
    };
    let (progress, bar) = progress(session, file);
    let result = Downloader::new(None).fetch(&request, tmp, progress).await;
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
