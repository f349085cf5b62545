//! Errors of a shared folder, with messages that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use raft_store::types::{FileName, PeerId};

/// Errors of a shared folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk is full; the partial file was removed.
    #[error("the disk of {} is full; free some space and try again", path.display())]
    DiskFull {
        /// The file or directory.
        path: PathBuf,
    },
    /// Another version wrote the folder's state.
    #[error(
        "{} has format {found}, but this raftshare knows only format {known}; use the version that wrote it \
         (nothing was changed)", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this build knows.
        known: u64,
    },
    /// A state file cannot be read.
    #[error("{} is damaged ({detail}); move it away to start afresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        detail: String,
    },
    /// The folder already belongs to another peer id.
    #[error("{} is shared as peer {has}, not {asked}; omit --peer-id, or share another folder", path.display())]
    WrongPeer {
        /// The folder.
        path: PathBuf,
        /// Its peer id.
        has: PeerId,
        /// The requested peer id.
        asked: PeerId,
    },
    /// Another `serve` runs for this folder.
    #[error("{} is already being served by another raftshare ({by}); stop it first", path.display())]
    AlreadyServed {
        /// The folder.
        path: PathBuf,
        /// How the other process describes itself.
        by: String,
    },
    /// A symbolic link leads out of the folder, or into its private state.
    #[error("{name} leaves the shared folder through a symbolic link; replace the link with a file or folder")]
    Outside {
        /// The name.
        name: FileName,
    },
    /// The name is in a nested folder that is shared separately (F1).
    #[error("{name} is in {}, a separate shared folder; serve that folder to share its files", inner.display())]
    Nested {
        /// The name.
        name: FileName,
        /// The nested folder.
        inner: PathBuf,
    },
    /// The folder is part of the private state of a shared folder.
    #[error("{} is part of the private state of a shared folder; choose another folder", path.display())]
    InState {
        /// The folder.
        path: PathBuf,
    },
    /// A parent folder is being served (F1).
    #[error(
        "{} is inside {}, which is being served; stop serving that folder, or share one outside it",
        path.display(), outer.display()
    )]
    InsideServed {
        /// The folder.
        path: PathBuf,
        /// The parent folder.
        outer: PathBuf,
    },
    /// Something other than a file is at the name, or something other than a folder on the way to it.
    #[error("{name} cannot be stored: {} is in the way", path.display())]
    InTheWay {
        /// The name.
        name: FileName,
        /// The obstacle.
        path: PathBuf,
    },
    /// The bytes on disk are not the expected ones.
    #[error("{name} has changed on disk; nothing was overwritten")]
    Changed {
        /// The name.
        name: FileName,
    },
}

impl FolderError {
    /// Wraps an I/O error; a full disk has its own variant, because the user can fix it.
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full { Self::DiskFull { path: path.to_owned() } } else { Self::Io { what, path: path.to_owned(), source } }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// A short code for task reports and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DiskFull { .. } => "disk_full",
            Self::Outside { .. } => "outside",
            Self::Nested { .. } => "nested_folder",
            Self::InTheWay { .. } => "in_the_way",
            Self::Changed { .. } => "changed",
            Self::Io { .. } | Self::Format { .. } | Self::Damaged { .. } => "io_error",
            Self::WrongPeer { .. } | Self::AlreadyServed { .. } | Self::InState { .. } | Self::InsideServed { .. } => {
                "refused"
            }
        }
    }
}
