//! Reads a few bytes at a position of a file, or asks whether a holder has it, without fetching the file.
//!
//! Invariants: a position at or beyond the end is an error that names the size, never an empty success. The bytes come
//! from a holder that names the file's hash as its own; a part of a file cannot be checked against that hash, so only
//! [`Downloader::fetch`] proves bytes.

use std::sync::atomic::AtomicU64;

use super::source::SourceError;
use super::{DownloadError, Downloader, FetchRequest, in_random_order};

/// Most bytes of one read.
pub const READ_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt {
    /// The bytes: as many as asked for, or fewer at the end of the file.
    pub bytes: Vec<u8>,
    /// Size of the whole file in bytes.
    pub size: u64,
    /// The holder that sent them.
    pub source: String,
}

impl Downloader {
    /// Reads up to `length` bytes at `position`, counted from 0, from the first source that sends them. At most
    /// [`READ_BYTES_MAX`] bytes are read at once.
    ///
    /// # Errors
    /// [`DownloadError::BeyondEnd`] if the file ends at or before `position`.
    pub async fn read_at(&self, request: &FetchRequest, position: u64, length: u64) -> Result<ReadAt, DownloadError> {
        let (name, version) = (request.name.clone(), request.version);
        let target = self.target(request);
        let mut reasons = Vec::new();
        for source in in_random_order(&request.sources) {
            match target.size(&source).await {
                Ok(size) if position >= size => return Err(DownloadError::BeyondEnd { name, position, size }),
                Ok(size) => {
                    let end = position.saturating_add(length.clamp(1, READ_BYTES_MAX)).min(size);
                    match target.range(&source, position..end, size, &AtomicU64::new(0)).await {
                        Ok(mut bytes) => {
                            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
                            return Ok(ReadAt { bytes, size, source });
                        }
                        Err(error) => reasons.push((source, error)),
                    }
                }
                Err(error) => reasons.push((source, error)),
            }
        }
        Err(match reasons.is_empty() {
            true => DownloadError::NoSources { name, version },
            false => DownloadError::AllFailed { name, reasons },
        })
    }

    /// Asks one source whether it has exactly these bytes. Returns their number.
    pub async fn ask(&self, request: &FetchRequest, source: &str) -> Result<u64, SourceError> {
        self.target(request).size(source).await
    }
}
