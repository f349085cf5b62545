//! What can go wrong in a shared folder, in sentences that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use raft_store::types::{FileName, PeerId};

/// Errors of a shared folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk has no room; the partial file was removed.
    #[error("the disk of {} is full; free some space and try again", path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The folder's state was written by another version.
    #[error(
        "{} has format {found}, but this raftshare knows only format {known}; use the version that wrote it \
         (nothing was changed)", path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A state file cannot be read.
    #[error("{} is damaged ({detail}); move it away to start with fresh state", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        detail: String,
    },
    /// The folder already belongs to another peer id.
    #[error("{} is shared as peer {has}, not {asked}; leave --peer-id out, or share another folder", path.display())]
    WrongPeer {
        /// The folder.
        path: PathBuf,
        /// Its peer id.
        has: PeerId,
        /// The one that was asked for.
        asked: PeerId,
    },
    /// Another `serve` runs for this folder.
    #[error("{} is already being served by another raftshare ({by}); stop it first", path.display())]
    AlreadyServed {
        /// The folder.
        path: PathBuf,
        /// What the other one wrote about itself.
        by: String,
    },
    /// A symbolic link on the way leaves the folder, or leads into its private state.
    #[error("{name} leads out of the shared folder through a symbolic link; replace the link by a file or a folder")]
    Outside {
        /// The name.
        name: FileName,
    },
    /// The name lies in a folder that is shared by itself (F1).
    #[error("{name} lies in {}, which is a shared folder of its own; its files are shared only by serving it", inner.display())]
    Nested {
        /// The name.
        name: FileName,
        /// The folder inside.
        inner: PathBuf,
    },
    /// The folder is, or lies in, the private folder of a shared one.
    #[error("{} belongs to the private state of a shared folder; choose another folder", path.display())]
    InState {
        /// The folder.
        path: PathBuf,
    },
    /// A folder above is being served (F1).
    #[error(
        "{} lies inside {}, which is being served; stop that one, or share a folder outside it \
         (copies would nest into each other)", path.display(), outer.display()
    )]
    InsideServed {
        /// The folder.
        path: PathBuf,
        /// The one above.
        outer: PathBuf,
    },
    /// The name, or a folder on the way to it, is taken by something that is not a file, or not a folder.
    #[error("{name} cannot be stored: {} is in the way", path.display())]
    InTheWay {
        /// The name.
        name: FileName,
        /// What is there.
        path: PathBuf,
    },
    /// The bytes on disk are not those that were expected.
    #[error("{name} changed on disk in the meantime; nothing was overwritten")]
    Changed {
        /// The name.
        name: FileName,
    },
}

impl FolderError {
    /// Wraps an I/O error; a full disk gets its own variant, because people can do something about it.
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full { Self::DiskFull { path: path.to_owned() } } else { Self::Io { what, path: path.to_owned(), source } }
    }

    /// Whether this is "no such file".
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
