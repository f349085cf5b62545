//! Fetches one version of a file from its holders and verifies its hash.
//!
//! ```text
//! fetch -- small or unknown size --> single: one GET, hashed as it arrives
//!    +-- large --> chunked: plan (pure) <-> executor -- ranges of several holders -> writer: hashes behind them
//!                                            ^
//!                              holders: asks the index again when a source is lost, and now and then
//! ```
//! Invariants: whatever its sources do, a download ends, and it takes no more space than the file's size in the index.
//! What [`Downloader::fetch`] returns has the requested hash and is in a part file, never under its final name. A
//! failed download leaves nothing behind. A holder that sends wrong bytes costs time and is reported, but does no harm.

pub mod allow;
mod chunked;
mod error;
pub mod holders;
pub mod plan;
mod read;
mod single;
pub mod source;

pub use error::DownloadError;
pub use read::{READ_BYTES_MAX, ReadAt};

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use raft_store::types::{ContentHash, FileName, Version};
use rand::seq::SliceRandom;

use crate::files::{self, PartFile, Staged};
use holders::{Holders, Lookup};
use source::{Limits, SourceError, Target};

/// Files of at most this many bytes are fetched with one request.
pub const SMALL_BYTES: u64 = 1024 * 1024;
/// Bytes that a download leaves free on the disk.
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

impl From<&crate::contract::Task> for FetchRequest {
    fn from(task: &crate::contract::Task) -> Self {
        let mut sources = task.sources.clone();
        if sources.is_empty() && !task.source.is_empty() {
            sources.push(task.source.clone());
        }
        let hash = task.hash.unwrap_or(ContentHash([0; 32]));
        Self { name: task.file.clone(), version: task.version, hash, size: Some(task.size), sources }
    }
}

/// Progress of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Bytes received so far.
    pub bytes: u64,
    /// Total bytes, once known.
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

/// Called about ten times a second with the progress; must not block.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A verified download.
#[derive(Debug)]
pub struct Fetched {
    /// The bytes, to be installed in a folder or moved somewhere with [`Fetched::move_to`].
    pub staged: Staged,
    /// How much each source sent.
    pub sources: Vec<SourceProgress>,
    /// Sources that sent wrong bytes, or may have sent them.
    pub suspects: Vec<String>,
}

impl Fetched {
    /// Moves the bytes to a path outside any shared folder and replaces what is there. Blocking.
    pub fn move_to(self, target: &Path) -> Result<(), DownloadError> {
        let failed = |source| DownloadError::io(target, source);
        self.staged.part.sync().map_err(failed)?;
        self.staged.part.rename_over(target).map_err(failed)?;
        files::sync_dir(target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .map_err(failed)
    }
}

/// Why one way of fetching failed.
enum Failed {
    /// No other way can succeed.
    Final(DownloadError),
    /// Every source failed.
    Sources(Vec<(String, SourceError)>),
    /// These sources sent wrong bytes.
    Mismatch(Vec<String>),
    /// The file has a different size than assumed.
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
    /// A downloader that sends `bearer` to peers as its token.
    pub fn new(bearer: Option<String>) -> Self {
        Self::with_limits(bearer, Limits::default())
    }

    /// A downloader with other limits.
    pub fn with_limits(bearer: Option<String>, limits: Limits) -> Self {
        // HTTP/1.1 uses one connection per chunk, so the window of a slow holder delays no other chunk. There are no
        // redirects and no proxy: the bytes come from the holder that the index named.
        let builder = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        Self { http: builder.build().expect("a client without TLS has nothing to load"), bearer, limits }
    }

    /// What the requests for one version share.
    fn target(&self, request: &FetchRequest) -> Target {
        Target {
            http: self.http.clone(),
            bearer: self.bearer.clone(),
            limits: self.limits,
            path: Target::path(&request.name, request.version),
            hash: request.hash,
        }
    }

    /// Fetches one version into a part file in `tmp`, which should be on the same file system as the final path.
    ///
    /// Dropping the future cancels the download and removes the part file.
    pub async fn fetch(
        &self,
        request: &FetchRequest,
        tmp: &Path,
        progress: Option<ProgressFn>,
    ) -> Result<Fetched, DownloadError> {
        self.fetch_finding(request, tmp, progress, None).await
    }

    /// Like [`Downloader::fetch`], with a way to look the holders up again: sources that fail are replaced by those
    /// that appeared meanwhile, and asked again when they are back. Without any source that answers, the download
    /// waits for [`Lookup::patience`].
    pub async fn fetch_finding(
        &self,
        request: &FetchRequest,
        tmp: &Path,
        progress: Option<ProgressFn>,
        lookup: Option<Lookup>,
    ) -> Result<Fetched, DownloadError> {
        let mut job = Job::new(self, request, tmp, progress, lookup);
        let limit = self.limits.time_for(job.stated_size().unwrap_or(single::UNSIZED_BYTES_MAX));
        match tokio::time::timeout(limit, self.fetch_waiting(&mut job)).await {
            Ok(result) => result,
            Err(_) => Err(DownloadError::TooSlow { name: request.name.clone(), limit }),
        }
    }

    /// Fetches, and if no source delivers, looks the holders up and tries again until the patience is over.
    async fn fetch_waiting(&self, job: &mut Job<'_>) -> Result<Fetched, DownloadError> {
        let patience = job.lookup.as_ref().map_or(Duration::ZERO, |lookup| lookup.patience);
        let until = Instant::now() + patience;
        let mut pause = holders::PAUSE_MIN;
        if let (true, Some(lookup)) = (job.sources.is_empty(), &job.lookup)
            && let Some(found) = lookup.find().await
        {
            job.found(found);
        }
        loop {
            let result = match job.sources.is_empty() {
                true => Err(job.give_up(Failed::Sources(Vec::new()))),
                false => self.fetch_for(job).await,
            };
            let (error, found) = match (result, &job.lookup) {
                (Err(error), Some(lookup)) if error.is_about_sources() => (error, lookup.find()),
                (result, _) => return result,
            };
            if Instant::now() + pause >= until || job.seen.lock().is_over() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(holders::PAUSE_MAX);
            if let Some(found) = found.await {
                job.found(found);
            }
        }
    }

    async fn fetch_for(&self, job: &Job<'_>) -> Result<Fetched, DownloadError> {
        let mut known = job.stated_size();
        let mut suspects = Vec::new();
        // Two rounds, because the first answer may show that the assumed size is wrong.
        for _ in 0..2 {
            let result = match known {
                Some(size) if size > SMALL_BYTES => chunked::fetch(job, size).await,
                Some(_) | None => single::fetch_any(job, Some(SMALL_BYTES)).await,
            };
            match result {
                Ok(fetched) => return Ok(fetched),
                Err(Failed::OtherSize(size)) => known = Some(size),
                Err(Failed::Mismatch(senders)) if known.is_some_and(|size| size > SMALL_BYTES) => {
                    // Chunks of several sources are mixed. Asking each source alone shows which one lied.
                    suspects = senders;
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
        // A source that took part and was not asked alone remains suspect.
        let doubtful = suspects.into_iter().filter(|suspect| !proven.contains(suspect) && !honest.contains(&suspect));
        fetched.suspects.extend(doubtful.collect::<Vec<_>>());
        Ok(fetched)
    }
}

/// Each source once, in random order.
fn in_random_order(sources: &[String]) -> Vec<String> {
    let mut sources = sources.to_vec();
    sources.sort();
    sources.dedup();
    sources.shuffle(&mut rand::rng());
    sources
}

/// One download and what all ways of fetching need for it.
struct Job<'a> {
    target: Target,
    request: &'a FetchRequest,
    /// In random order, so that peers that fetch the same file spread over its holders.
    sources: Vec<String>,
    tmp: &'a Path,
    progress: Option<ProgressFn>,
    lookup: Option<Lookup>,
    /// The last answer to a lookup.
    seen: Mutex<Holders>,
    /// Sources that were found while the download was running.
    added: Mutex<Vec<String>>,
}

impl<'a> Job<'a> {
    fn new(
        downloader: &Downloader,
        request: &'a FetchRequest,
        tmp: &'a Path,
        progress: Option<ProgressFn>,
        lookup: Option<Lookup>,
    ) -> Self {
        let target = downloader.target(request);
        let sources = in_random_order(&request.sources);
        Self { target, request, sources, tmp, progress, lookup, seen: Mutex::default(), added: Mutex::default() }
    }

    /// The sources of the beginning, and those that were found since.
    fn all_sources(&self) -> Vec<String> {
        let added = self.added.lock();
        self.sources.iter().chain(added.iter()).cloned().collect()
    }

    /// The holders of this moment, for the next attempt.
    fn found(&mut self, found: Holders) {
        if !found.sources.is_empty() {
            self.sources = in_random_order(&found.sources);
            self.added.lock().clear();
        }
        self.note(found);
    }

    /// Keeps the last answer to a lookup, which explains why no source is left.
    fn note(&self, found: Holders) {
        *self.seen.lock() = found;
    }

    /// The size in the index, which is an upper limit.
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
        let (name, version) = (self.request.name.clone(), self.request.version);
        match failed {
            Failed::Final(error) => error,
            Failed::Sources(reasons) => {
                let seen = self.seen.lock();
                match (seen.sources.is_empty(), seen.left_out.is_empty()) {
                    (true, false) => DownloadError::NotAllowed { name, version, holders: seen.left_out.clone() },
                    (true, true) if seen.superseded => DownloadError::Superseded { name, version },
                    _ if reasons.is_empty() => DownloadError::NoSources { name, version },
                    _ => DownloadError::AllFailed { name, reasons },
                }
            }
            Failed::Mismatch(suspects) => DownloadError::Mismatch { name, suspects },
            Failed::OtherSize(size) => {
                let reasons = self.all_sources().into_iter().map(|source| (source, SourceError::OtherSize(size)));
                DownloadError::AllFailed { name, reasons: reasons.collect() }
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod churn_tests;
