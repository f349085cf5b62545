//! How a command ends: the documented exit codes, and errors that say what is wrong, why, and what to type next.
//!
//! Invariant: exit codes are a contract with scripts. "Unknown whether it was applied" has the code of a time-out, never
//! that of a success or of a refusal (W5).

use std::fmt;

use crate::api::ErrorCode;
use crate::cluster::Error;
use crate::peer::FolderError;

/// The exit codes of `raftshare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or healthy.
    Done = 0,
    /// An error without a code of its own.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such file, peer or lease.
    NotFound = 3,
    /// Somebody else has the lease.
    LeaseHeld = 4,
    /// The lease was lost, or another version came first.
    Conflict = 5,
    /// No leader, no quorum, or no server reachable.
    Unavailable = 6,
    /// Bytes do not have the hash they should have.
    Integrity = 7,
    /// Out of time; a write may or may not have been applied.
    TimedOut = 8,
    /// The local disk is full or broken.
    Disk = 9,
    /// Not authorised.
    Unauthorized = 10,
    /// Degraded, or only partly done.
    Degraded = 11,
    /// Interrupted by the user.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    /// What is wrong and why, as one sentence.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None }
    }

    /// With the next command to type, or the next thing to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(exit_of(&error), error.to_string());
        match (&error, error.code()) {
            (Error::Unreachable { .. }, _) => failure.hint("start a cluster:  raftshare-node dev --nodes 3"),
            (_, Some(ErrorCode::NotInitialized)) => {
                failure.hint("found the cluster first:  raftshare-node init --node URL --members 1=H:P,…")
            }
            (_, Some(ErrorCode::NoQuorum)) => failure.hint("see which nodes are down:  raftshare status"),
            (_, Some(ErrorCode::Unauthorized)) => failure.hint("pass the cluster's join token in RAFTSHARE_TOKEN"),
            (_, Some(ErrorCode::NotFound)) => failure.hint("see what there is:  raftshare search ''"),
            _ => failure,
        }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Refused(problem) => match problem.code {
            ErrorCode::NotFound => Exit::NotFound,
            ErrorCode::LeaseRequired | ErrorCode::LeaseExpired => Exit::Conflict,
            ErrorCode::VersionConflict | ErrorCode::HashConflict => Exit::Conflict,
            ErrorCode::Unauthorized | ErrorCode::Forbidden => Exit::Unauthorized,
            _ => Exit::Other,
        },
        Error::Unavailable(_) | Error::Unreachable { .. } | Error::TooStale(_) => Exit::Unavailable,
        Error::Unknown { .. } | Error::TimedOut { .. } => Exit::TimedOut,
        Error::BadServer { .. } => Exit::Usage,
        Error::Protocol { .. } => Exit::Other,
    }
}

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

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Disk, error.to_string())
    }
}
