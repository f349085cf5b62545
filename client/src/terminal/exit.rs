//! The documented exit codes of both programs.
//!
//! Invariant: exit codes are a contract with scripts, so the meaning of a code never changes.

/// An exit code of `raftshare` or `raftshare-node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or healthy.
    Done = 0,
    /// Any other error.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such file, peer or lease.
    NotFound = 3,
    /// Another peer has the lease.
    LeaseHeld = 4,
    /// The lease was lost, another version was published first, or an unsafe membership change was refused.
    Conflict = 5,
    /// There is no leader or no quorum, or no server can be reached.
    Unavailable = 6,
    /// Bytes have the wrong hash.
    Integrity = 7,
    /// The time is up; a write may or may not have been applied.
    TimedOut = 8,
    /// The local disk is full or failing.
    Disk = 9,
    /// Not authorised.
    Unauthorized = 10,
    /// Degraded, or only partially done.
    Degraded = 11,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl Exit {
    /// The code in JSON, for failures to which no server gave a code.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Other => "error",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::LeaseHeld => "lease_held",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Integrity => "integrity",
            Self::TimedOut => "timed_out",
            Self::Disk => "disk",
            Self::Unauthorized => "unauthorized",
            Self::Degraded => "degraded",
            Self::Interrupted => "interrupted",
        }
    }
}
