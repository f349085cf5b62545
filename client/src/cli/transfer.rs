//! `raftshare get`, and fetching one version of a file with a progress bar where there is a terminal.
//!
//! Invariant: a file appears under its name only complete and with the SHA-256 that the index names; the
//! user's own bytes are never overwritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use raft_store::types::{ContentHash, FileName, Version};
use serde::Serialize;

use super::args::Get;
use super::exit::{Exit, Failure};
use super::output::size;
use super::session::{Session, blocking, is_served};
use crate::api::{FileResponse, TaskKind};
use crate::cluster::{Consistency, ReadOptions};
use crate::download::{DownloadError, Downloader, FetchRequest, Fetched, Progress, ProgressFn};
use crate::peer::rules::{Order, Refusal, Verdict};
use crate::peer::transfer::announce_copy;
use crate::peer::{Folder, Placed};

/// Pause between two lines of progress in JSON.
const JSON_PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What `get` prints about a file.
#[derive(Debug, Serialize)]
struct Got {
    file: FileName,
    version: Version,
    size: u64,
    hash: ContentHash,
    path: PathBuf,
    /// False if the version was there already.
    fetched: bool,
    /// Whether the index was told of the copy.
    announced: bool,
    /// Holders that sent something.
    sources: usize,
    seconds: f64,
}

/// `raftshare get`.
pub async fn get(session: &Session, get: &Get) -> Result<(), Failure> {
    if get.out.is_some() && get.names.len() > 1 {
        return Err(Failure::new(Exit::Usage, "-O takes one file at a time"));
    }
    let mut failures = Vec::new();
    for name in &get.names {
        let result = match &get.out {
            Some(out) => get_elsewhere(session, name, out).await,
            None => get_into_folder(session, name).await,
        };
        if let Err(failure) = result {
            failures.push(failure);
        }
    }
    let (all, failed) = (get.names.len(), failures.len());
    match failures.pop() {
        None => Ok(()),
        Some(failure) if all == 1 => Err(failure),
        Some(last) => {
            failures.iter().chain([&last]).for_each(|failure| session.output.warn(&failure.to_string()));
            let exit = if failed < all { Exit::Degraded } else { last.exit };
            Err(Failure::new(exit, format!("{failed} of {all} files could not be fetched")))
        }
    }
}

async fn get_into_folder(session: &Session, name: &FileName) -> Result<(), Failure> {
    let started = Instant::now();
    let folder = session.folder().await?;
    let answer = session.client.file(name).await?;
    session.output.freshness(&answer.freshness);
    let file = answer.value;
    let order = order_for(&folder, &file).await?;
    let (placed, sources) = match decide(&folder, name, order).await? {
        Verdict::Fetch => {
            let fetched = fetch(session, &file, &folder.tmp_dir()).await?;
            let sources = contributors(&fetched);
            (install(&folder, name, order, fetched).await?, sources)
        }
        Verdict::Adopt => (adopt(&folder, name, order).await?, 0),
        Verdict::Refuse(refusal) => (Placed::Refused(refusal), 0),
        Verdict::Trash | Verdict::SetAside | Verdict::NothingThere => (Placed::Refused(Refusal::NoHash), 0),
    };
    let copy = match placed {
        Placed::Ready { copy, kept } => {
            if let Some(kept) = kept {
                session.output.warn(&format!("your own version of {name} was kept as {}", kept.display()));
            }
            copy
        }
        Placed::Refused(refusal) => {
            return Err(Failure::new(Exit::Conflict, format!("{name} was not fetched: {refusal}"))
                .hint("the index may be behind; try again in a moment"));
        }
    };
    let announced = if is_served(&folder).await {
        announce(session, &folder, &file, copy).await
    } else {
        // Nobody could fetch from here. `serve` states the copy when it registers.
        let (folder, name) = (Arc::clone(&folder), name.clone());
        blocking(move || folder.accept(&name, copy)).await??;
        false
    };
    let got = Got {
        path: folder.path_of(name),
        fetched: sources > 0,
        announced,
        sources,
        seconds: started.elapsed().as_secs_f64(),
        file: file.name,
        version: file.version,
        size: copy.stamp.size,
        hash: file.hash,
    };
    report(session, &got);
    Ok(())
}

/// What the user asked for, in the terms of the folder's rules. It is no task, so no token can be too old.
async fn order_for(folder: &Arc<Folder>, file: &FileResponse) -> Result<Order, Failure> {
    let (folder, name) = (Arc::clone(folder), file.name.clone());
    let record = blocking(move || folder.record(&name)).await??;
    Ok(Order { kind: TaskKind::Replicate, version: file.version, hash: Some(file.hash), fence: record.fence })
}

async fn decide(folder: &Arc<Folder>, name: &FileName, order: Order) -> Result<Verdict, Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    Ok(blocking(move || folder.decide(&name, order)).await??)
}

async fn adopt(folder: &Arc<Folder>, name: &FileName, order: Order) -> Result<Placed, Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    Ok(blocking(move || folder.adopt(&name, order)).await??)
}

async fn install(folder: &Arc<Folder>, name: &FileName, order: Order, fetched: Fetched) -> Result<Placed, Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    Ok(blocking(move || folder.install(fetched.staged, &name, order)).await??)
}

/// Tells the index about the copy. If that fails the copy is still good: `serve` announces it later.
async fn announce(session: &Session, folder: &Arc<Folder>, file: &FileResponse, copy: crate::peer::Copy) -> bool {
    match announce_copy(&session.client, folder, &file.name, copy).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            session.output.warn(&format!("the copy is here but not announced yet: {error}"));
            false
        }
        Err(error) => {
            session.output.warn(&format!("the copy is announced, but that could not be noted: {error}"));
            false
        }
    }
}

async fn get_elsewhere(session: &Session, name: &FileName, out: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let answer = session.client.file(name).await?;
    session.output.freshness(&answer.freshness);
    let file = answer.value;
    let to_stdout = out == Path::new("-");
    let target = if out.is_dir() { out.join(last_segment(name)) } else { out.to_owned() };
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let near = if to_stdout { std::env::temp_dir() } else { parent.to_owned() };
    let fetched = fetch(session, &file, &near).await?;
    let sources = contributors(&fetched);
    if to_stdout {
        return blocking(move || {
            let mut from = std::fs::File::open(fetched.staged.part.path())?;
            super::output::copy_to_stdout(&mut from)
        })
        .await?
        .map_err(Failure::from);
    }
    let got = Got {
        path: target.clone(),
        fetched: true,
        announced: false,
        sources,
        seconds: started.elapsed().as_secs_f64(),
        size: fetched.staged.size,
        file: file.name,
        version: file.version,
        hash: file.hash,
    };
    blocking(move || fetched.move_to(&target)).await??;
    report(session, &got);
    Ok(())
}

fn last_segment(name: &FileName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or(name.as_str())
}

fn report(session: &Session, got: &Got) {
    let (name, version) = (&got.file, got.version);
    let announced = if got.announced { ", announced" } else { "" };
    let sentence = if got.fetched {
        let (bytes, seconds) = (size(got.size), got.seconds);
        let peers = if got.sources == 1 { "1 peer".to_owned() } else { format!("{} peers", got.sources) };
        format!("{name} v{version}  {bytes} in {seconds:.1} s from {peers}, SHA-256 verified{announced}")
    } else {
        format!("{name} v{version} is here already{announced}")
    };
    session.output.sentence(got, &sentence);
}

fn contributors(fetched: &Fetched) -> usize {
    fetched.sources.iter().filter(|share| share.bytes > 0).count().max(1)
}

/// How long a version without a holder that can send it is waited for: a new one has a single holder at
/// first, which may just be starting again.
const SOURCE_PATIENCE: Duration = Duration::from_secs(5);
/// First and longest pause before its holders are looked up again.
const SOURCE_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`SOURCE_PAUSE_MIN`].
const SOURCE_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Fetches the current version of a file from its live holders into a part file in `tmp`. Holders that cannot be
/// reached are looked up and tried again for a while, within the time that a request may take.
pub async fn fetch(session: &Session, file: &FileResponse, tmp: &Path) -> Result<Fetched, Failure> {
    let until = Instant::now() + SOURCE_PATIENCE.min(session.timeout);
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    let client = session.client.with_reading(reading);
    let (mut file, mut pause) = (file.clone(), SOURCE_PAUSE_MIN);
    loop {
        let failed = match fetch_once(session, &file, tmp).await {
            Err(error @ (DownloadError::NoSources { .. } | DownloadError::AllFailed { .. })) => error,
            result => return Ok(result?),
        };
        if Instant::now() + pause >= until {
            return Err(failed.into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SOURCE_PAUSE_MAX);
        // Asking who has it now is part of the wait.
        match client.with_deadline(until.saturating_duration_since(Instant::now())).file(&file.name).await {
            Ok(answer) if (answer.value.version, answer.value.hash) == (file.version, file.hash) => file = answer.value,
            Ok(_) => return Err(Failure::from(failed).hint("another version is the current one now; try again")),
            Err(error) if error.is_temporary() => {}
            Err(_) => return Err(failed.into()),
        }
    }
}

async fn fetch_once(session: &Session, file: &FileResponse, tmp: &Path) -> Result<Fetched, DownloadError> {
    let holders = file.holders.iter().filter(|holder| holder.live && holder.current);
    let request = FetchRequest {
        name: file.name.clone(),
        version: file.version,
        hash: file.hash,
        size: Some(file.size),
        sources: holders.map(|holder| holder.address.clone()).collect(),
    };
    let (progress, bar) = progress(session, file);
    let result = Downloader::new(None).fetch(&request, tmp, progress).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let fetched = result?;
    for suspect in &fetched.suspects {
        session.output.warn(&format!("{suspect} sent wrong bytes of {}; they were dropped", file.name));
    }
    Ok(fetched)
}

fn progress(session: &Session, file: &FileResponse) -> (Option<ProgressFn>, Option<ProgressBar>) {
    if session.output.format == super::output::Format::Json && !session.output.quiet {
        return (Some(json_progress(file.name.clone())), None);
    }
    if !session.output.draws_progress() {
        return (None, None);
    }
    let bar = ProgressBar::new(file.size);
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

/// Progress as JSON lines on the standard error, for programs.
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

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let exit = match error {
            DownloadError::NoSources { .. } | DownloadError::AllFailed { .. } | DownloadError::TooSlow { .. } => {
                Exit::Unavailable
            }
            DownloadError::Mismatch { .. } => Exit::Integrity,
            DownloadError::DiskFull { .. } | DownloadError::Io { .. } => Exit::Disk,
        };
        Self::new(exit, error.to_string())
    }
}
