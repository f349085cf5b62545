//! What can go wrong between Raft and the disk, in words an operator can act on.
//!
//! Invariant: an error says what is wrong and what to do; none of them changes what is on disk (D3).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

/// What an operator does with a node whose data cannot be trusted any more (C3).
pub(crate) const REJOIN_ADVICE: &str = "the files were left as they are; move the data directory aside and let this \
     node rejoin the cluster with an empty one, under a new node id or by `replace` (it must not vote under its old identity)";

/// Why a data directory cannot be opened, or is not served any more.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process; stop that process, or name another directory", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node (C1).
    #[error("the data directory {} belongs to node {found}, not to node {wanted}; start node {found} on it, or name another directory", dir.display())]
    OtherNode {
        /// The data directory.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who wanted it.
        wanted: u64,
    },
    /// The node has already been a member of another cluster (C1).
    #[error(
        "this data directory belongs to cluster {found:016x}, not to {wanted:016x}; a node changes clusters only with an empty directory"
    )]
    OtherCluster {
        /// Whose it is.
        found: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// A format this build does not know (D3).
    #[error(
        "{what} has format version {found}, this build knows {known}; use the build that wrote it (nothing was changed)"
    )]
    UnknownVersion {
        /// Which record or file.
        what: String,
        /// What it says.
        found: u32,
        /// What this build reads and writes.
        known: u32,
    },
    /// Bytes that are not what was written.
    #[error("{what} is damaged: {detail}; {REJOIN_ADVICE}")]
    Damaged {
        /// Which record or file.
        what: String,
        /// How that shows.
        detail: String,
    },
    /// A storage error happened earlier; nothing is acknowledged any more (W4).
    #[error("storage failed, and this node stopped acknowledging: {0}; fix the disk and restart the node")]
    Failed(String),
}

impl StorageError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }

    pub(crate) fn damaged(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), detail: detail.into() }
    }
}

/// The first storage error, told to everybody who has to stop because of it (W4).
///
/// Once set it stays set. The node waits on it and exits.
#[derive(Debug, Clone)]
pub struct FatalSignal {
    cell: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Default for FatalSignal {
    fn default() -> Self {
        Self { cell: Arc::new(watch::Sender::new(None)) }
    }
}

impl FatalSignal {
    /// Records an error unless one is recorded already. Never blocks.
    pub fn raise(&self, message: impl Into<String>) {
        let message = message.into();
        let first = self.cell.send_if_modified(|cell| {
            let first = cell.is_none();
            if first {
                *cell = Some(message.as_str().into());
            }
            first
        });
        if first {
            tracing::error!("storage failed: {message}");
        }
    }

    /// What failed, if anything did.
    pub fn get(&self) -> Option<Arc<str>> {
        self.cell.borrow().clone()
    }

    /// Waits until storage fails; the message says how.
    pub async fn wait(&self) -> Arc<str> {
        let mut receiver = self.cell.subscribe();
        loop {
            if let Some(message) = receiver.borrow_and_update().clone() {
                return message;
            }
            if receiver.changed().await.is_err() {
                // Unreachable: `self` holds the sender. Waiting for ever is the answer that harms nobody.
                std::future::pending::<()>().await;
            }
        }
    }

    /// An error for callers of a storage that has failed.
    pub(crate) fn as_io_error(&self) -> Option<io::Error> {
        self.get().map(|message| io::Error::other(StorageError::Failed(message.to_string())))
    }
}
