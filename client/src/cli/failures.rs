//! The exit codes for errors of the folder, of downloads and of `serve`.

use crate::download::DownloadError;
use crate::peer::{FolderError, ServeError};
use crate::terminal::{Exit, Failure};

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let exit = match error {
            FolderError::Io { .. } | FolderError::DiskFull { .. } => Exit::Disk,
            FolderError::WrongPeer { .. } | FolderError::InState { .. } | FolderError::InsideServed { .. } => {
                Exit::Usage
            }
            FolderError::Format { .. }
            | FolderError::Damaged { .. }
            | FolderError::AlreadyServed { .. }
            | FolderError::Outside { .. }
            | FolderError::Nested { .. }
            | FolderError::InTheWay { .. }
            | FolderError::Changed { .. } => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let exit = match error {
            DownloadError::NoSources { .. }
            | DownloadError::NotAllowed { .. }
            | DownloadError::AllFailed { .. }
            | DownloadError::Superseded { .. }
            | DownloadError::TooSlow { .. } => Exit::Unavailable,
            DownloadError::BeyondEnd { .. } => Exit::Usage,
            DownloadError::Mismatch { .. } => Exit::Integrity,
            DownloadError::DiskFull { .. } | DownloadError::Io { .. } => Exit::Disk,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let exit = match error {
            ServeError::Folder(error) => return error.into(),
            ServeError::Index(error) => return error.into(),
            ServeError::NotLoopback { .. } | ServeError::NoAddress { .. } => Exit::Usage,
            ServeError::FolderGone { .. } => Exit::Disk,
            ServeError::Replaced { .. } => Exit::Conflict,
            ServeError::Bind { .. } | ServeError::ListingVoided | ServeError::Server(_) => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}
