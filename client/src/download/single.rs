//! Fetches the whole file from one source at a time: for small files, for unknown sizes, and to find out which source
//! sent wrong bytes.
//!
//! Invariant: bytes of two sources are never mixed here, so a wrong hash is the fault of one source.

use raft_store::types::ContentHash;
use sha2::{Digest, Sha256};

use super::source::{Pace, SourceError};
use super::{DownloadError, Failed, Fetched, Job, SMALL_BYTES, SourceProgress};
use crate::files::{PartFile, Staged};

/// Most bytes accepted if neither the index nor the source states the size.
pub(super) const UNSIZED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes collected before they are written and hashed on a blocking thread.
const FLUSH_BYTES: usize = 1024 * 1024;

/// Why one source failed.
enum OneFailed {
    Source(SourceError),
    Disk(DownloadError),
    /// The file is larger than the caller's limit.
    TooLarge(u64),
}

/// Tries the sources one after another. A file larger than `limit` fails with [`Failed::OtherSize`].
pub(super) async fn fetch_any(job: &Job<'_>, limit: Option<u64>) -> Result<Fetched, Failed> {
    let (mut reasons, mut suspects) = (Vec::new(), Vec::new());
    let sources = job.all_sources();
    for (position, source) in sources.iter().enumerate() {
        let alone = position + 1 == sources.len();
        match fetch_one(job, source, limit, alone).await {
            Ok(staged) if staged.hash == job.request.hash => {
                let sources = vec![SourceProgress { source: source.clone(), bytes: staged.size }];
                return Ok(Fetched { staged, sources, suspects });
            }
            Ok(_) => suspects.push(source.clone()),
            Err(OneFailed::Source(error)) => reasons.push((source.clone(), error)),
            Err(OneFailed::Disk(error)) => return Err(Failed::Final(error)),
            Err(OneFailed::TooLarge(size)) => return Err(Failed::OtherSize(size)),
        }
    }
    Err(if suspects.is_empty() { Failed::Sources(reasons) } else { Failed::Mismatch(suspects) })
}

async fn fetch_one(job: &Job<'_>, source: &str, limit: Option<u64>, alone: bool) -> Result<Staged, OneFailed> {
    let mut stream = job.target.whole(source).await.map_err(OneFailed::Source)?;
    let total = stream.size;
    if let (Some(total), Some(stated)) = (total, job.stated_size())
        && total > stated
    {
        return Err(OneFailed::Source(SourceError::OtherSize(total)));
    }
    if let (Some(total), Some(limit)) = (total, limit)
        && total > limit
    {
        return Err(OneFailed::TooLarge(total));
    }
    let most = job.stated_size().or(total).unwrap_or(UNSIZED_BYTES_MAX);
    let mut pace = Pace::new(&job.target.limits, alone);
    let mut sink = Sink::new(job.new_part(total).map_err(OneFailed::Disk)?);
    while let Some(piece) = stream.next().await.map_err(OneFailed::Source)? {
        if sink.written + (sink.buffer.len() + piece.len()) as u64 > most {
            return Err(OneFailed::Source(SourceError::TooMuch(most)));
        }
        pace.count(piece.len() as u64).map_err(OneFailed::Source)?;
        sink.buffer.extend_from_slice(&piece);
        if sink.buffer.len() >= FLUSH_BYTES {
            sink = sink.flush().await.map_err(OneFailed::Disk)?;
            let share = SourceProgress { source: source.to_owned(), bytes: sink.written };
            job.report(sink.written, total, vec![share]);
        }
    }
    let staged = sink.finish().await.map_err(OneFailed::Disk)?;
    if total.is_some_and(|total| total != staged.size) {
        return Err(OneFailed::Source(SourceError::Connection("the response was cut off".into())));
    }
    job.report(staged.size, Some(staged.size), vec![SourceProgress { source: source.to_owned(), bytes: staged.size }]);
    Ok(staged)
}

/// Writes and hashes front to back.
struct Sink {
    part: PartFile,
    hasher: Sha256,
    buffer: Vec<u8>,
    written: u64,
}

impl Sink {
    fn new(part: PartFile) -> Self {
        Self { part, hasher: Sha256::new(), buffer: Vec::new(), written: 0 }
    }

    fn flush_now(mut self) -> Result<Self, DownloadError> {
        self.hasher.update(&self.buffer);
        self.part.write_at(&self.buffer, self.written).map_err(|error| DownloadError::io(self.part.path(), error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(self)
    }

    async fn flush(self) -> Result<Self, DownloadError> {
        let path = self.part.path().to_owned();
        let flushed = tokio::task::spawn_blocking(move || self.flush_now()).await;
        flushed.unwrap_or_else(|error| Err(DownloadError::io(&path, std::io::Error::other(error))))
    }

    async fn finish(self) -> Result<Staged, DownloadError> {
        // For a small file the switch to another thread costs more than it saves.
        let small = self.written == 0 && self.buffer.len() as u64 <= SMALL_BYTES / 4;
        let sink = if small { self.flush_now()? } else { self.flush().await? };
        let hash = ContentHash(sink.hasher.finalize().into());
        Ok(Staged { part: sink.part, hash, size: sink.written })
    }
}
