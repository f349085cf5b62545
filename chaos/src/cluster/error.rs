//! Why a cluster could not be controlled.

use std::time::Duration;

use node::testbed::TestbedError;
use raft_store::types::NodeId;

/// Why a cluster could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A process could not be controlled.
    #[error(transparent)]
    Process(#[from] TestbedError),
    /// A directory could not be made or removed.
    #[error("cannot make or remove the directory {path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What a family of faults needs could not be made.
    #[error("cannot prepare the faults: {0}")]
    Prepare(String),
    /// It does not serve in time.
    #[error("{what} within {} s; see the logs in {logs}", within.as_secs())]
    NotReady {
        /// What did not happen.
        what: String,
        /// The deadline.
        within: Duration,
        /// Where the reason may be found.
        logs: String,
    },
    /// No such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}
