//! What can go wrong between Raft and the disk, in words that an operator can act on.
//!
//! Invariant: an error says what is wrong and what to do. No error changes what is on disk (D3).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

/// What an operator should do with a node whose data cannot be trusted (C3).
pub(crate) const REJOIN_ADVICE: &str = "the files were left as they are; move the data directory aside and let this \
     node rejoin the cluster with an empty one, under a new node id or by `replace` (it must not vote under its old \
     identity)";

/// Why a data directory cannot be opened or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error(
        "the data directory {} is in use by another process; stop that process, or name another directory",
        dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node (C1).
    #[error(
        "the data directory {} belongs to node {found}, not to node {wanted}; start node {found} on it, or name \
         another directory",
        dir.display()
    )]
    OtherNode {
        /// The data directory.
        dir: PathBuf,
        /// The node that it belongs to.
        found: u64,
        /// The node that opened it.
        wanted: u64,
    },
    /// The node has already been a member of another cluster (C1).
    #[error(
        "this data directory belongs to cluster {found:016x}, not to {wanted:016x}; a node changes clusters only with \
         an empty directory"
    )]
    OtherCluster {
        /// The cluster that it belongs to.
        found: u64,
        /// The cluster that was asked for.
        wanted: u64,
    },
    /// This build does not know the format (D3).
    #[error(
        "{what} has format version {found}, this build knows {known}; use the build that wrote it (nothing was changed)"
    )]
    UnknownVersion {
        /// Which record or file.
        what: String,
        /// The version that was found.
        found: u32,
        /// The version that this build reads and writes.
        known: u32,
    },
    /// The bytes are not those that were written.
    #[error("{what} is damaged: {detail}; {REJOIN_ADVICE}")]
    Damaged {
        /// Which record or file.
        what: String,
        /// The evidence.
        detail: String,
    },
    /// The storage has failed earlier; nothing is acknowledged since (W4).
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

/// The first storage error, for everything that has to stop because of it (W4).
///
/// Once set it stays set. The node waits for it and exits.
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
    /// Records an error, unless there is one already. Never blocks.
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

    /// Waits until the storage fails; returns what failed.
    pub async fn wait(&self) -> Arc<str> {
        let mut receiver = self.cell.subscribe();
        loop {
            if let Some(message) = receiver.borrow_and_update().clone() {
                return message;
            }
            if receiver.changed().await.is_err() {
                // Unreachable, because `self` holds the sender. Waiting for ever does no harm.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The error for callers, if the storage has failed.
    pub(crate) fn as_io_error(&self) -> Option<io::Error> {
        self.get().map(|message| io::Error::other(StorageError::Failed(message.to_string())))
    }
}
