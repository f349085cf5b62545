//! What a serving peer tells its shell or log. One channel, so that output is made in one place.
//!
//! Invariant: events only tell; nothing waits for them, and a full channel drops them rather than hold up the peer.

use std::path::PathBuf;

use raft_store::types::{FileName, Incarnation, PeerId, Version};
use tokio::sync::mpsc;

use super::scan::Skipped;
use crate::api::TaskKind;

/// Events that may wait to be printed; more are dropped.
pub const EVENT_QUEUE: usize = 1_024;

/// Something a person may want to know. `Display` is the line to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// The server answers; said once, before the first registration.
    Serving {
        /// Who.
        peer: PeerId,
        /// Base URL.
        address: String,
    },
    /// The index knows this peer and its files.
    Registered {
        /// Who.
        peer: PeerId,
        /// Which registration.
        incarnation: Incarnation,
        /// Files the index counts this peer as a holder of.
        files: usize,
    },
    /// The index cannot be reached; said once until it is back.
    IndexLost {
        /// Why.
        reason: String,
    },
    /// The index answers again.
    IndexBack,
    /// A task began.
    TaskStarted {
        /// Which kind.
        kind: TaskKind,
        /// With which file.
        file: FileName,
        /// Which version.
        version: Version,
    },
    /// A task is done, and the index knows.
    TaskDone {
        /// Which kind.
        kind: TaskKind,
        /// With which file.
        file: FileName,
        /// Which version.
        version: Version,
        /// Bytes fetched.
        bytes: u64,
    },
    /// A task was given up; the index hears about it.
    TaskFailed {
        /// Which kind.
        kind: TaskKind,
        /// With which file.
        file: FileName,
        /// Which version.
        version: Version,
        /// The code the index gets.
        code: String,
        /// Why, for people.
        reason: String,
    },
    /// A file of the folder is shared now.
    FileAnnounced {
        /// Which.
        file: FileName,
        /// As which version.
        version: Version,
    },
    /// The index has other bytes under a name; the user's own were moved to a conflict copy.
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
        /// Which.
        file: FileName,
    },
    /// A copy was deleted here; the index knows.
    LocalDelete {
        /// Which.
        file: FileName,
    },
    /// Something in the folder cannot be shared; said once.
    Skipped(Skipped),
    /// The folder could not be looked through, or its state not be written.
    Trouble {
        /// What.
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
            Self::IndexLost { reason } => write!(f, "the index is out of reach, trying again: {reason}"),
            Self::IndexBack => f.write_str("the index answers again"),
            Self::TaskStarted { kind, file, version } => write!(f, "{} {file} v{version} …", verb(*kind)),
            Self::TaskDone { kind, file, version, bytes } => {
                write!(f, "{} {file} v{version}: done ({bytes} bytes)", verb(*kind))
            }
            Self::TaskFailed { kind, file, version, code, reason } => {
                write!(f, "{} {file} v{version}: not done ({code}): {reason}", verb(*kind))
            }
            Self::FileAnnounced { file, version } => write!(f, "shared {file} as version {version}"),
            Self::Conflict { file, current_version, kept } => write!(
                f,
                "{file}: the index has other bytes (version {current_version}); yours are kept as {}",
                kept.display()
            ),
            Self::LocalChange { file } => {
                write!(
                    f,
                    "{file} changed on disk; it is not shared until you run: raftshare update {file} --from {file}"
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

    /// Tells an event; drops it if nobody listens fast enough.
    pub fn tell(&self, event: PeerEvent) {
        tracing::debug!(%event, "peer");
        let _ = self.0.try_send(event); // see the module's invariant
    }
}
