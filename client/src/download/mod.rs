//! Fetches one version of a file from its holders, verified before anybody sees it.
//!
//! ```text
//! fetch ── small or unknown size ──► single: one GET, hashed while it comes in
//!    └──── large ──► chunked: plan (pure) ⇄ executor ── ranges from several holders ──► writer: hashes behind them
//! ```
//! Invariants: a download ends, and takes no more room than the index says the file has, whatever its sources do; what
//! [`Downloader::fetch`] answers has the hash that was asked for; it is in a part file, never under a
//! final name; a failed download leaves nothing behind. A lying holder costs time and is named, but does no harm.

mod chunked;
pub mod plan;
mod single;
pub mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_store::types::{ContentHash, FileName, Version};
use rand::seq::SliceRandom;

use crate::files::{self, PartFile, Staged};
use source::{Limits, SourceError, Target};

/// Files up to this size, in bytes, are fetched with one request.
pub const SMALL_BYTES: u64 = 1024 * 1024;
/// Free bytes that a download leaves on the disk.
const RESERVE_BYTES: u64 = 1024 * 1024;

/// What to fetch, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The file.
    pub name: FileName,
    /// Which version.
    pub version: Version,
    /// Its hash, from the index.
    pub hash: ContentHash,
    /// Its size in bytes; `None` or 0 if unknown.
    pub size: Option<u64>,
    /// Base URLs of its holders.
    pub sources: Vec<String>,
}

impl From<&crate::api::Task> for FetchRequest {
    fn from(task: &crate::api::Task) -> Self {
        let mut sources = task.sources.clone();
        if sources.is_empty() && !task.source.is_empty() {
            sources.push(task.source.clone());
        }
        let hash = task.hash.unwrap_or(ContentHash([0; 32]));
        Self { name: task.file.clone(), version: task.version, hash, size: Some(task.size), sources }
    }
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Bytes received so far.
    pub bytes: u64,
    /// Bytes in all, once known.
    pub total: Option<u64>,
    /// Bytes received per source, in the order the sources were given.
    pub sources: Vec<SourceProgress>,
}

/// One source's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProgress {
    /// Its base URL.
    pub source: String,
    /// Bytes received from it.
    pub bytes: u64,
}

/// Hears about progress, about ten times a second; must not block.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A verified download.
#[derive(Debug)]
pub struct Fetched {
    /// The bytes, to be installed in a folder or moved somewhere with [`Fetched::move_to`].
    pub staged: Staged,
    /// Who sent how much.
    pub sources: Vec<SourceProgress>,
    /// Sources that sent wrong bytes, or may have.
    pub suspects: Vec<String>,
}

impl Fetched {
    /// Moves the bytes to a path outside any shared folder, replacing what is there. Blocking.
    pub fn move_to(self, target: &Path) -> Result<(), DownloadError> {
        let failed = |source| DownloadError::io(target, source);
        self.staged.part.sync().map_err(failed)?;
        self.staged.part.rename_over(target).map_err(failed)?;
        files::sync_dir(target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .map_err(failed)
    }
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Nobody has it.
    #[error("no live peer holds version {version} of {name}; try again when one of its holders is back")]
    NoSources {
        /// The file.
        name: FileName,
        /// The version.
        version: Version,
    },
    /// Every source failed.
    #[error("{name} could not be fetched from any of its holders: {}", join(.reasons))]
    AllFailed {
        /// The file.
        name: FileName,
        /// Each source, and why it failed.
        reasons: Vec<(String, SourceError)>,
    },
    /// It took longer than a file of its size may take.
    #[error("{name} was not fetched within {} s; its holders are too slow, try again later", limit.as_secs())]
    TooSlow {
        /// The file.
        name: FileName,
        /// The limit.
        limit: Duration,
    },
    /// Sources sent bytes that are not the announced ones, and nobody else could help.
    #[error(
        "the bytes of {name} are not the announced ones; sent by {}; nothing was kept. Ask those peers to check their copy",
        .suspects.join(", ")
    )]
    Mismatch {
        /// The file.
        name: FileName,
        /// Who sent them.
        suspects: Vec<String>,
    },
    /// The disk has no room.
    #[error("the disk of {} is full (the file needs {size} bytes); the partial file was removed", path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// Bytes needed; 0 if unknown.
        size: u64,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

fn join(reasons: &[(String, SourceError)]) -> String {
    reasons.iter().map(|(source, error)| format!("{source}: {error}")).collect::<Vec<_>>().join("; ")
}

impl DownloadError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        let full = matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let path = path.to_owned();
        if full { Self::DiskFull { path, size: 0 } } else { Self::Io { path, source } }
    }

    /// A short code, as in a heartbeat's `failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSources { .. } | Self::AllFailed { .. } => "unreachable",
            Self::TooSlow { .. } => "too_slow",
            Self::Mismatch { .. } => "hash_mismatch",
            Self::DiskFull { .. } => "disk_full",
            Self::Io { .. } => "io_error",
        }
    }
}

/// How one way of fetching ended without an answer.
enum Failed {
    /// Whoever comes next cannot do better.
    Final(DownloadError),
    /// The sources failed.
    Sources(Vec<(String, SourceError)>),
    /// The bytes are wrong; who sent them.
    Mismatch(Vec<String>),
    /// The file has another size than was assumed.
    OtherSize(u64),
}

/// Fetches files. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Downloader {
    http: reqwest::Client,
    bearer: Option<String>,
    limits: Limits,
}

impl Downloader {
    /// A downloader that shows `bearer` to peers that ask for a token.
    pub fn new(bearer: Option<String>) -> Self {
        Self::with_limits(bearer, Limits::default())
    }

    /// The same, with other time limits.
    pub fn with_limits(bearer: Option<String>, limits: Limits) -> Self {
        // HTTP/1.1: one connection per chunk, so that one slow holder's window holds up nobody else. No redirects and
        // no proxy: bytes come from the holder that the index named.
        let builder = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        Self { http: builder.build().expect("a client without TLS has nothing to load"), bearer, limits }
    }

    /// Fetches one version into a part file in `tmp`, which should be on the file system of its final place.
    ///
    /// Dropping the future cancels the download and removes the part file.
    pub async fn fetch(
        &self,
        request: &FetchRequest,
        tmp: &Path,
        progress: Option<ProgressFn>,
    ) -> Result<Fetched, DownloadError> {
        let job = Job::new(self, request, tmp, progress)?;
        let limit = self.limits.time_for(job.stated_size().unwrap_or(single::UNSIZED_BYTES_MAX));
        match tokio::time::timeout(limit, self.fetch_for(&job)).await {
            Ok(result) => result,
            Err(_) => Err(DownloadError::TooSlow { name: request.name.clone(), limit }),
        }
    }

    async fn fetch_for(&self, job: &Job<'_>) -> Result<Fetched, DownloadError> {
        let mut known = job.stated_size();
        let mut suspects = Vec::new();
        // Twice: the first answer may tell that the assumed size is wrong.
        for _ in 0..2 {
            let result = match known {
                Some(size) if size > SMALL_BYTES => chunked::fetch(job, size).await,
                Some(_) | None => single::fetch_any(job, Some(SMALL_BYTES)).await,
            };
            match result {
                Ok(fetched) => return Ok(fetched),
                Err(Failed::OtherSize(size)) => known = Some(size),
                Err(Failed::Mismatch(senders)) if known.is_some_and(|size| size > SMALL_BYTES) => {
                    suspects = senders; // several sources mixed: who lied shows when each is asked alone
                    break;
                }
                // A holder without ranges can still send the whole file.
                Err(Failed::Sources(reasons)) if reasons.iter().any(|(_, error)| error.is_about_ranges()) => break,
                Err(failed) => return Err(job.give_up(failed)),
            }
        }
        let mut fetched = single::fetch_any(job, None).await.map_err(|failed| job.give_up(failed))?;
        let proven = fetched.suspects.clone();
        let honest: Vec<_> = fetched.sources.iter().map(|share| &share.source).collect();
        // Without proof everybody who took part and was not heard alone remains suspect.
        let doubtful = suspects.into_iter().filter(|suspect| !proven.contains(suspect) && !honest.contains(&suspect));
        fetched.suspects.extend(doubtful.collect::<Vec<_>>());
        Ok(fetched)
    }
}

/// One download and everything its parts need.
struct Job<'a> {
    target: Target,
    request: &'a FetchRequest,
    /// In random order, so that many peers fetching one file spread over its holders.
    sources: Vec<String>,
    tmp: &'a Path,
    progress: Option<ProgressFn>,
}

impl<'a> Job<'a> {
    fn new(
        downloader: &Downloader,
        request: &'a FetchRequest,
        tmp: &'a Path,
        progress: Option<ProgressFn>,
    ) -> Result<Self, DownloadError> {
        let (name, version) = (request.name.clone(), request.version);
        let target = Target {
            http: downloader.http.clone(),
            bearer: downloader.bearer.clone(),
            limits: downloader.limits,
            path: Target::path(&name, version),
            hash: request.hash,
        };
        let mut sources = request.sources.clone();
        sources.sort();
        sources.dedup();
        sources.shuffle(&mut rand::rng());
        if sources.is_empty() {
            return Err(DownloadError::NoSources { name, version });
        }
        Ok(Self { target, request, sources, tmp, progress })
    }

    /// The size that the index states; a file has no more bytes than that.
    fn stated_size(&self) -> Option<u64> {
        self.request.size.filter(|size| *size > 0)
    }

    fn new_part(&self, size: Option<u64>) -> Result<PartFile, DownloadError> {
        let size = size.unwrap_or(0);
        if files::free_bytes(self.tmp).is_some_and(|free| free < size.saturating_add(RESERVE_BYTES)) {
            return Err(DownloadError::DiskFull { path: self.tmp.to_owned(), size });
        }
        PartFile::create(self.tmp).map_err(|error| DownloadError::io(self.tmp, error))
    }

    fn report(&self, bytes: u64, total: Option<u64>, sources: Vec<SourceProgress>) {
        if let Some(progress) = &self.progress {
            progress(&Progress { bytes, total, sources });
        }
    }

    fn give_up(&self, failed: Failed) -> DownloadError {
        let name = self.request.name.clone();
        match failed {
            Failed::Final(error) => error,
            Failed::Sources(reasons) => DownloadError::AllFailed { name, reasons },
            Failed::Mismatch(suspects) => DownloadError::Mismatch { name, suspects },
            Failed::OtherSize(size) => {
                let reasons = self.sources.iter().map(|source| (source.clone(), SourceError::OtherSize(size)));
                DownloadError::AllFailed { name, reasons: reasons.collect() }
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
