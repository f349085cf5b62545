//! What the index counts as copies of a file, and what is on the peers' disks.
//!
//! Invariant: bytes are compared with those that the file began with, not with a hash that a peer told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::fault::Arena;
use crate::history::Record;
use crate::workload::{RawClient, RawOutcome};

/// Limit of one poll.
const POLL_WITHIN: Duration = Duration::from_secs(2);

/// A file as the index sees it.
#[derive(Debug, Default)]
pub struct Entry {
    /// Copies it should have.
    pub desired: u64,
    /// Live holders of the current version.
    pub live: Vec<String>,
}

impl Entry {
    /// Whether it has its copies, as far as there are peers for them.
    pub fn is_satisfied(&self, peers: usize) -> bool {
        self.live.len() as u64 >= self.wanted(peers)
    }

    fn wanted(&self, peers: usize) -> u64 {
        self.desired.min(peers as u64)
    }
}

/// Asks the index about a file; absent if it does not know it, or does not answer.
pub async fn count_copies(arena: &Arena<'_>, file: &str) -> Option<Entry> {
    let raw = RawClient::new(Arc::new(arena.cluster.urls())).ok()?;
    let server = arena.cluster.server(*arena.cluster.living().first()?);
    let query = [("name", file), ("consistency", "linearizable")];
    let RawOutcome::Ok(value, _) = raw.get(server, "/file", &query, POLL_WITHIN).await else { return None };
    let flag = |holder: &Value, name: &str| holder.get(name).and_then(Value::as_bool) == Some(true);
    let live =
        value.get("holders")?.as_array()?.iter().filter(|holder| flag(holder, "current") && flag(holder, "live"));
    let live = live.filter_map(|holder| Some(holder.get("id")?.as_str()?.to_owned())).collect();
    Some(Entry { desired: value.get("replicas")?.get("desired")?.as_u64()?, live })
}

/// Holds the counted copies against the disks.
pub async fn compare(
    arena: &Arena<'_>,
    (file, original): (&str, &[u8]),
    peers: usize,
    folder: impl Fn(&str) -> Option<PathBuf>,
) -> Record {
    let entry = count_copies(arena, file).await.unwrap_or(Entry { desired: 1, live: Vec::new() });
    let sound =
        |peer: &str| folder(peer).and_then(|path| std::fs::read(path).ok()).is_some_and(|bytes| bytes == original);
    let differing = entry.live.iter().filter(|peer| !sound(peer)).cloned().collect();
    Record::Copies { file: file.to_owned(), wanted: entry.wanted(peers), live: entry.live.len() as u64, differing }
}
