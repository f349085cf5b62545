//! The identity of a shared folder: peer id, secret and last incarnation, in `.raftshare/identity.json`.
//!
//! Invariant: the peer id of a folder never changes, so one-shot commands and `serve` act as the same peer.

use std::path::Path;

use raft_store::types::{Incarnation, PeerId};
use serde::{Deserialize, Serialize};

use super::error::FolderError;
use crate::files;

/// Format of the state folder that this build reads and writes (D3).
pub const FORMAT: u64 = 1;

/// A folder's identity. The secret never appears in `Debug` output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Format of the state folder.
    pub format: u64,
    /// The peer id.
    pub peer_id: PeerId,
    /// The peer secret from the first registration, if the cluster uses secrets.
    #[serde(default)]
    pub peer_secret: Option<String>,
    /// The newest registration, if there is one.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// Base URL at which the folder was last served.
    #[serde(default)]
    pub address: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.peer_secret.as_ref().map(|_| "…");
        f.debug_struct("Identity")
            .field("peer_id", &self.peer_id)
            .field("peer_secret", &secret)
            .field("incarnation", &self.incarnation)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new identity, with a random id if none is given.
    pub fn new(peer_id: Option<PeerId>) -> Self {
        let random =
            || PeerId::parse(format!("peer-{:08x}", rand::random::<u32>())).expect("hexadecimal digits are valid");
        let peer_id = peer_id.unwrap_or_else(random);
        Self { format: FORMAT, peer_id, peer_secret: None, incarnation: None, address: None }
    }

    /// Reads the identity; `None` if there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, FolderError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FolderError::io("read", path, error)),
        };
        let damaged =
            |error: serde_json::Error| FolderError::Damaged { path: path.to_owned(), detail: error.to_string() };
        // The format is checked first, because the fields of another format may not parse.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found != FORMAT {
            return Err(FolderError::Format { path: path.to_owned(), found, known: FORMAT });
        }
        serde_json::from_value(value).map(Some).map_err(damaged)
    }

    /// Writes the identity atomically.
    pub fn store(&self, path: &Path) -> Result<(), FolderError> {
        let bytes = serde_json::to_vec_pretty(self).expect("an identity is plain data");
        files::write_atomic(path, &bytes).map_err(|error| FolderError::io("write", path, error))
    }
}
