//! How a call to the index cluster can fail, sorted by what the caller may conclude (W5).
//!
//! Invariant: only [`Error::Unknown`] leaves open whether a write was applied; every other variant is definite.

use std::time::Duration;

use crate::contract::{ErrorCode, Problem};

/// A failed call. `Display` is the sentence shown to the user: what is wrong and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The cluster refused the request and would refuse it again. Not applied.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The cluster could not decide before the deadline (no leader, no majority, overloaded). Not applied.
    #[error("the index cluster could not serve the request: {} (nothing was changed; try again)", .0.detail)]
    Unavailable(Box<Problem>),
    /// No server could be reached, so nothing was sent. Not applied.
    #[error("no index server answers at {servers}: {last} (nothing was changed; is the cluster running? see --server)")]
    Unreachable {
        /// The servers that were tried, comma-separated.
        servers: String,
        /// The last failure.
        last: String,
    },
    /// The write may or may not have been applied, and there is no time left to find out (X3).
    #[error("whether the request was applied is unknown after {}: {last} (look before you repeat it)", seconds(.after))]
    Unknown {
        /// How long the library tried, including sleep of the machine.
        after: Duration,
        /// The last failure.
        last: String,
    },
    /// A read got no answer before its deadline.
    #[error("no answer within {}: {last}", seconds(.after))]
    TimedOut {
        /// How long the library tried.
        after: Duration,
        /// The last failure.
        last: String,
    },
    /// Every server that answers is further behind than the read accepts (R2, R3).
    #[error("{} (ask again, or accept an older answer)", .0.detail)]
    TooStale(Box<Problem>),
    /// The answer to a read was not the contract's JSON.
    #[error("the server at {server} gave an answer that is not an index server's: {detail}")]
    Protocol {
        /// The server that answered.
        server: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A configured server is not a usable URL.
    #[error("bad server address {server:?}: {detail}; expected something like http://127.0.0.1:8080")]
    BadServer {
        /// As configured.
        server: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Error {
    /// The server's own error, if a server answered.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) | Self::Unavailable(problem) | Self::TooStale(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Unknown { .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. }
            | Self::BadServer { .. } => None,
        }
    }

    /// The contract's error code, if a server answered.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem().map(|problem| problem.code)
    }

    /// False only if a write may have been applied.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }

    /// Whether asking again later may succeed without any other change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::TooStale(_) => true,
            Self::Refused(_) | Self::Unknown { .. } | Self::Protocol { .. } | Self::BadServer { .. } => false,
        }
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
