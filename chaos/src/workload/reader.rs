//! A client that reads the shared files at every level, also so as to see its own or another's write, from one node.
//! There are two for every node, one for stale reads: what answers late keeps nobody from asking for the rest.
//!
//! Invariant: a stale read names the node it asks and is answered by that node alone, so that what it sees can be held
//! against what the same process showed before (R2). A read with a log index names that of a write which was
//! acknowledged before the read was sent (R3).

use std::time::Duration;

use raft_store::types::FileName;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::{Context, RawClient, RawOutcome, WorkloadError};
use crate::history::{Answer, Level, Op};

/// Limit of one read; longer than a node waits for a log index (2 s).
const READ_WITHIN: Duration = Duration::from_millis(2_500);
/// Limit of most strong reads, in milliseconds: a node that is cut off should be asked more than once during that time.
const STRONG_WITHIN_MS: std::ops::Range<u64> = 150..600;
/// Pause between two reads of one node.
const PAUSE: Duration = Duration::from_millis(25);

pub(super) struct Reader {
    context: Context,
    raw: RawClient,
    server: usize,
    stale: bool,
    rng: StdRng,
}

impl Reader {
    pub(super) fn new(context: Context, server: usize, stale: bool, seed: u64) -> Result<Self, WorkloadError> {
        let raw = RawClient::new(context.servers.clone())?;
        let rng = StdRng::seed_from_u64(!seed.wrapping_add(server as u64 * 2 + u64::from(stale)));
        Ok(Self { context, raw, server, stale, rng })
    }

    pub(super) async fn run(mut self) {
        while !self.context.is_over() {
            let Ok(file) = self.context.shared_file(&mut self.rng) else { return };
            // A read that waits for an index may be answered late as well.
            let level = match self.rng.random_range(0..3) {
                _ if self.stale => Level::Stale,
                0 => Level::Linearizable,
                1 => Level::Leader,
                _ => Level::Stale,
            };
            let after_write = level == Level::Stale && !self.stale;
            let min_index = if after_write { self.context.written_index(file.as_str()) } else { None };
            let within = match level {
                Level::Stale => READ_WITHIN,
                Level::Leader | Level::Linearizable if self.rng.random_bool(0.6) => {
                    Duration::from_millis(self.rng.random_range(STRONG_WITHIN_MS))
                }
                Level::Leader | Level::Linearizable => READ_WITHIN,
            };
            self.read(&file, level, min_index, within).await;
            self.context.pause(PAUSE).await;
        }
    }

    async fn read(&self, file: &FileName, level: Level, min_index: Option<u64>, within: Duration) {
        let op = Op::Read { file: file.to_string(), level, node: Some(self.server as u64 + 1), min_index };
        let id = self.context.invoke("reader", op);
        let index = min_index.map(|index| index.to_string());
        let mut query = vec![("name", file.as_str()), ("consistency", level_text(level))];
        query.extend(index.as_deref().map(|index| ("min_index", index)));
        match self.raw.get(self.server, "/file", &query, within).await {
            RawOutcome::Refused(code, _) if code == "not_found" => {
                self.context.ok(id, Answer::File { version: 0, hash: String::new() }, None);
            }
            outcome => drop(self.context.settle(id, outcome, file_answer)),
        }
    }
}

/// The contract's spelling of a level.
pub(crate) fn level_text(level: Level) -> &'static str {
    match level {
        Level::Linearizable => "linearizable",
        Level::Leader => "leader",
        Level::Stale => "stale",
    }
}

/// Version and hash in an answer of `GET /file`.
pub(crate) fn file_answer(value: &Value) -> Option<Answer> {
    let version = value.get("version")?;
    // A name that has only attributes.
    if version.is_null() {
        return Some(Answer::File { version: 0, hash: String::new() });
    }
    let version = version.as_u64()?;
    Some(Answer::File { version, hash: value.get("hash").and_then(Value::as_str)?.to_owned() })
}

/// The version of a file among the hits of `GET /search`.
pub(crate) fn found_answer(value: &Value, file: &str) -> Option<Answer> {
    let hits = value.as_array()?;
    let hit = hits.iter().find(|hit| hit.get("fileName").and_then(Value::as_str) == Some(file));
    let version = hit.map_or(Some(0), |hit| hit.get("version").and_then(Value::as_u64))?;
    Some(Answer::Found { version })
}
