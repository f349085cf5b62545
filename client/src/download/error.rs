//! How a download can fail. `Display` is the sentence shown to the user: what is wrong and what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_store::types::{FileName, Version};

use super::source::SourceError;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No live peer holds the version.
    #[error("no live peer holds version {version} of {name}; try again when one of its holders is back")]
    NoSources {
        /// The file.
        name: FileName,
        /// The version.
        version: Version,
    },
    /// Live peers hold the version, but the allow list names none of them.
    #[error(
        "no allowed peer holds version {version} of {name}; it is held by {}. Add one of them to --allow-peers",
        .holders.join(", ")
    )]
    NotAllowed {
        /// The file.
        name: FileName,
        /// The version.
        version: Version,
        /// The holders that were left out.
        holders: Vec<String>,
    },
    /// A newer version was published meanwhile, and no holder of this one answers any more.
    #[error("a newer version of {name} was published, and no holder of version {version} is left; try again")]
    Superseded {
        /// The file.
        name: FileName,
        /// The version.
        version: Version,
    },
    /// A position at or beyond the end of the file was asked for.
    #[error("{name} has {size} bytes, so there is nothing at position {position}")]
    BeyondEnd {
        /// The file.
        name: FileName,
        /// The position, counted from 0.
        position: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// Every source failed.
    #[error("{name} could not be fetched from any of its holders: {}", join(.reasons))]
    AllFailed {
        /// The file.
        name: FileName,
        /// Each source, and why it failed.
        reasons: Vec<(String, SourceError)>,
    },
    /// The download took longer than its size allows.
    #[error("{name} was not fetched within {} s; its holders are too slow, try again later", limit.as_secs())]
    TooSlow {
        /// The file.
        name: FileName,
        /// The limit.
        limit: Duration,
    },
    /// Sources sent wrong bytes, and no other source could help.
    #[error(
        "{name} has the wrong hash; the bytes came from {} and were discarded. Ask those peers to check their copies",
        .suspects.join(", ")
    )]
    Mismatch {
        /// The file.
        name: FileName,
        /// The sources of those bytes.
        suspects: Vec<String>,
    },
    /// The disk is full.
    #[error("the disk of {} is full (the file needs {size} bytes); the partial download was removed", path.display())]
    DiskFull {
        /// The directory of the download.
        path: PathBuf,
        /// Bytes needed; 0 if unknown.
        size: u64,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file being written.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

fn join(reasons: &[(String, SourceError)]) -> String {
    reasons.iter().map(|(source, error)| format!("{source}: {error}")).collect::<Vec<_>>().join("; ")
}

impl DownloadError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        let full = matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let path = path.to_owned();
        if full { Self::DiskFull { path, size: 0 } } else { Self::Io { path, source } }
    }

    /// Whether other sources, or the same ones later, may deliver.
    pub(super) fn is_about_sources(&self) -> bool {
        match self {
            Self::NoSources { .. } | Self::AllFailed { .. } | Self::NotAllowed { .. } | Self::Superseded { .. } => true,
            Self::TooSlow { .. }
            | Self::Mismatch { .. }
            | Self::BeyondEnd { .. }
            | Self::DiskFull { .. }
            | Self::Io { .. } => false,
        }
    }

    /// A short code, for a heartbeat's `failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSources { .. } | Self::AllFailed { .. } | Self::Superseded { .. } => "unreachable",
            Self::NotAllowed { .. } => "not_allowed",
            Self::BeyondEnd { .. } => "beyond_end",
            Self::TooSlow { .. } => "too_slow",
            Self::Mismatch { .. } => "hash_mismatch",
            Self::DiskFull { .. } => "disk_full",
            Self::Io { .. } => "io_error",
        }
    }
}
