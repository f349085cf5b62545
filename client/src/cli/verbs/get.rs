//! `raftshare get`: fetches files into the folder, or one file to another path.
//!
//! Invariants: a file gets its name only when it is complete and has the SHA-256 of the index. The user's own bytes are
//! never overwritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use raft_store::types::{ContentHash, FileName, Version};
use serde::Serialize;

use crate::contract::{CurrentVersion, FileResponse, TaskKind};
use crate::cli::fetch::{Known, current, fetch};
use crate::cli::reading::Reading;
use crate::cli::session::{Session, blocking, is_served};
use crate::cli::values::file_name;
use crate::cluster::IndexClient;
use crate::download::Fetched;
use crate::peer::rules::{Order, Refusal, Verdict};
use crate::peer::transfer::announce_copy;
use crate::peer::{Copy, Folder, Placed};
use crate::terminal::figures::size;
use crate::terminal::{Exit, Failure, copy_to_stdout};

/// Fetch files into the folder.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// The files.
    #[arg(required = true, value_parser = file_name)]
    pub names: Vec<FileName>,
    /// Write the file to this path instead of the shared folder; `-` prints it.
    #[arg(short = 'O', long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Whom to fetch from.
    #[command(flatten)]
    pub known: Known,
    /// How fresh the answer of the index has to be.
    #[command(flatten)]
    pub reading: Reading,
}

/// What `get` prints about a file.
#[derive(Debug, Serialize)]
struct Got {
    file: FileName,
    version: Version,
    size: u64,
    hash: ContentHash,
    path: PathBuf,
    /// False if the version was already there.
    fetched: bool,
    /// Whether the copy was announced to the index.
    announced: bool,
    /// Number of holders that sent bytes.
    sources: usize,
    seconds: f64,
}

impl Get {
    /// Fetches one file after another; a failure does not stop the rest.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        if self.out.is_some() && self.names.len() > 1 {
            return Err(Failure::new(Exit::Usage, "-O takes one file at a time"));
        }
        let session = &session.allowing(self.known.allow_peers.as_ref());
        let client = self.reading.client(session);
        let mut failures = Vec::new();
        for name in &self.names {
            let result = match &self.out {
                Some(out) => get_elsewhere(session, &client, name, out).await,
                None => get_into_folder(session, &client, name).await,
            };
            if let Err(failure) = result {
                failures.push(failure);
            }
        }
        let (all, failed) = (self.names.len(), failures.len());
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
}

async fn get_into_folder(session: &Session, client: &IndexClient, name: &FileName) -> Result<(), Failure> {
    let started = Instant::now();
    let folder = session.folder().await?;
    let answer = client.file(name).await?;
    session.output.freshness(&answer.freshness);
    let file = answer.value;
    let current = current(&file)?;
    let order = order_for(&folder, &file.name, current).await?;
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
        // No other peer could fetch the copy from here, so `serve` announces it when it registers.
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
        version: current.version,
        size: copy.stamp.size,
        hash: current.hash,
    };
    report(session, &got);
    Ok(())
}

/// The user's request in terms of the folder's rules. It uses the newest known fencing token, because it is not a task
/// that could be outdated.
async fn order_for(folder: &Arc<Folder>, name: &FileName, current: CurrentVersion) -> Result<Order, Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    let record = blocking(move || folder.record(&name)).await??;
    Ok(Order { kind: TaskKind::Replicate, version: current.version, hash: Some(current.hash), fence: record.fence })
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

/// Announces the copy. If that fails, the copy is still valid, and `serve` announces it later.
async fn announce(session: &Session, folder: &Arc<Folder>, file: &FileResponse, copy: Copy) -> bool {
    match announce_copy(&session.client, folder, &file.name, copy).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            session.output.warn(&format!("the copy is here, but could not be announced yet: {error}"));
            false
        }
        Err(error) => {
            session.output.warn(&format!("the copy is announced, but this could not be recorded: {error}"));
            false
        }
    }
}

async fn get_elsewhere(session: &Session, client: &IndexClient, name: &FileName, out: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let answer = client.file(name).await?;
    session.output.freshness(&answer.freshness);
    let file = answer.value;
    let current = current(&file)?;
    let to_stdout = out == Path::new("-");
    let target = if out.is_dir() { out.join(last_segment(name)) } else { out.to_owned() };
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let near = if to_stdout { std::env::temp_dir() } else { parent.to_owned() };
    let fetched = fetch(session, &file, &near).await?;
    let sources = contributors(&fetched);
    if to_stdout {
        return blocking(move || {
            let mut from = std::fs::File::open(fetched.staged.part.path())?;
            copy_to_stdout(&mut from)
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
        version: current.version,
        hash: current.hash,
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
