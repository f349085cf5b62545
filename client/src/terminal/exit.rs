//! The documented exit codes of both programs.
//!
//! Invariant: exit codes are a contract with scripts; a code keeps its meaning for ever.

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
    /// The lease was lost, another version came first, or a change of members was refused as unsafe.
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

impl Exit {
    /// The kind of failure in one word, for failures that no server named.
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
