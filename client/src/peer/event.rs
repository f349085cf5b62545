//! What a serving peer reports to its shell or log, through one channel.
//!
//! Invariant: events only inform. Nothing waits for them, and a full channel drops them instead of delaying the peer.

use std::path::PathBuf;

use raft_store::types::{FileName, Incarnation, PeerId, Version};
use tokio::sync::mpsc;

use super::scan::Skipped;
use crate::contract::TaskKind;

/// Events that may wait to be printed; more are dropped.
pub const EVENT_QUEUE: usize = 1_024;

/// Something that the user may want to know. `Display` is the line to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// The peer's server is up; reported once, before the first registration.
    Serving {
        /// The peer.
        peer: PeerId,
        /// Its base URL.
        address: String,
    },
    /// The index has accepted the registration and the files.
    Registered {
        /// The peer.
        peer: PeerId,
        /// The registration.
        incarnation: Incarnation,
        /// Number of files that the index counts this peer as a holder of.
        files: usize,
    },
    /// The index cannot be reached; reported once until it is back.
    IndexLost {
        /// The reason.
        reason: String,
    },
    /// The index answers again.
    IndexBack,
    /// A task began.
    TaskStarted {
        /// The kind of task.
        kind: TaskKind,
        /// The file.
        file: FileName,
        /// The version.
        version: Version,
    },
    /// A task is done and reported to the index.
    TaskDone {
        /// The kind of task.
        kind: TaskKind,
        /// The file.
        file: FileName,
        /// The version.
        version: Version,
        /// Bytes fetched.
        bytes: u64,
    },
    /// A task failed; the index will be told.
    TaskFailed {
        /// The kind of task.
        kind: TaskKind,
        /// The file.
        file: FileName,
        /// The version.
        version: Version,
        /// The code that is reported to the index.
        code: String,
        /// The reason, for the user.
        reason: String,
    },
    /// A file is now shared.
    FileAnnounced {
        /// The file.
        file: FileName,
        /// Its version.
        version: Version,
    },
    /// The index has different bytes for a name; the user's bytes were moved to a conflict copy.
    Conflict {
        /// The name.
        file: FileName,
        /// The index's version.
        current_version: Version,
        /// Where the user's bytes are now.
        kept: PathBuf,
    },
    /// A shared file was edited in place; it is not served until it is published.
    LocalChange {
        /// The file.
        file: FileName,
    },
    /// A copy was deleted here and withdrawn from the index.
    LocalDelete {
        /// The file.
        file: FileName,
    },
    /// Something in the folder cannot be shared; reported once.
    Skipped(Skipped),
    /// The folder could not be scanned, or its state could not be written.
    Trouble {
        /// The error.
        reason: String,
    },
}

impl std::fmt::Display for PeerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serving { peer, address } => write!(f, "serving as {peer} at {address}"),
            Self::Registered { peer, incarnation, files } => {
                write!(f, "sharing {files} files as {peer} (registration {incarnation})")
            }
            Self::IndexLost { reason } => write!(f, "cannot reach the index, retrying: {reason}"),
            Self::IndexBack => f.write_str("the index is back"),
            Self::TaskStarted { kind, file, version } => write!(f, "{} {file} v{version} …", verb(*kind)),
            Self::TaskDone { kind, file, version, bytes } => {
                write!(f, "{} {file} v{version}: done ({bytes} bytes)", verb(*kind))
            }
            Self::TaskFailed { kind, file, version, code, reason } => {
                write!(f, "{} {file} v{version}: failed ({code}): {reason}", verb(*kind))
            }
            Self::FileAnnounced { file, version } => write!(f, "shared {file} as version {version}"),
            Self::Conflict { file, current_version, kept } => write!(
                f,
                "{file}: the index has different content (version {current_version}); yours is kept as {}",
                kept.display()
            ),
            Self::LocalChange { file } => {
                write!(
                    f,
                    "{file} changed on disk; to share the new content, run: raftshare update {file} --from {file}"
                )
            }
            Self::LocalDelete { file } => write!(f, "{file} was deleted here; other copies are untouched"),
            Self::Skipped(skipped) => write!(f, "not shared: {}: {}", skipped.path, skipped.reason),
            Self::Trouble { reason } => f.write_str(reason),
        }
    }
}

fn verb(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Replicate => "replicate",
        TaskKind::Update => "update",
        TaskKind::Remove => "remove",
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<PeerEvent>);

impl Events {
    /// A channel that holds `EVENT_QUEUE` events.
    pub fn channel() -> (Self, mpsc::Receiver<PeerEvent>) {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        (Self(sender), receiver)
    }

    /// Sends an event; drops it if the channel is full.
    pub fn send(&self, event: PeerEvent) {
        tracing::debug!(%event, "peer");
        let _ = self.0.try_send(event); // see the module's invariant
    }
}
