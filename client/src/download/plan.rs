//! Decides which source fetches which chunk: a pure planner without clock or network. Events go in, actions come out.
//!
//! Invariants, checked by property tests: a chunk has one fetcher, or two in the end game, when no chunk is unassigned
//! and a connection would idle. A source never runs more than [`CONNECTIONS_PER_SOURCE`] fetches, and at most
//! [`SOURCES_MAX`] sources work at once. The plan ends, with every chunk done if one source keeps answering. Sources
//! may come and go: a plan without a source is stuck only until one is added or revived.

use std::collections::BTreeSet;

/// Sources used at once; the others are in reserve.
pub const SOURCES_MAX: usize = 4;
/// Connections to one source.
pub const CONNECTIONS_PER_SOURCE: usize = 2;
/// Failures in a row after which a source is given up.
pub const FAILURES_MAX: u32 = 3;
/// Smallest and largest chunk, in bytes.
pub const CHUNK_BYTES_MIN: u64 = 256 * 1024;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Approximate number of chunks in a file.
const CHUNKS_ABOUT: u64 = 1024;

/// Index of a source in the list that the plan was made from.
pub type SourceId = usize;
/// Index of a chunk, in file order.
pub type ChunkId = usize;

/// Chunk size for a file: a power of two, about 1/1,024 of the file.
pub fn chunk_bytes(size: u64) -> u64 {
    (size / CHUNKS_ABOUT).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).next_power_of_two()
}

/// What happened to a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The chunk is complete.
    Done,
    /// It failed for a reason that may pass (connection lost, server busy).
    Failed,
    /// It is too slow.
    Slow,
    /// The source does not have these bytes or cannot serve them; it is never asked again.
    Unusable,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fetch a chunk from a source.
    Fetch(ChunkId, SourceId),
    /// Cancel a fetch; its outcome no longer counts.
    Cancel(ChunkId, SourceId),
}

/// State of the whole download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Fetches are running.
    Running,
    /// Every chunk is done.
    Finished,
    /// No source is left.
    Stuck,
}

#[derive(Debug, Default)]
struct Chunk {
    fetchers: Vec<SourceId>,
    done: bool,
    /// The source that failed last; others are tried first.
    avoid: Option<SourceId>,
}

#[derive(Debug, Default)]
struct Source {
    running: usize,
    failures: u32,
    dead: bool,
    /// It does not have these bytes, so it is never revived.
    unusable: bool,
}

/// The state of one download.
#[derive(Debug)]
pub struct Plan {
    chunks: Vec<Chunk>,
    sources: Vec<Source>,
    unassigned: BTreeSet<ChunkId>,
    under_way: BTreeSet<ChunkId>,
}

impl Plan {
    /// A plan over numbered chunks and sources, best source first.
    pub fn new(chunks: usize, sources: usize) -> Self {
        Self {
            chunks: (0..chunks).map(|_| Chunk::default()).collect(),
            sources: (0..sources).map(|_| Source::default()).collect(),
            unassigned: (0..chunks).collect(),
            under_way: BTreeSet::new(),
        }
    }

    /// State of the download.
    pub fn progress(&self) -> Progress {
        match (self.unassigned.is_empty(), self.under_way.is_empty()) {
            (true, true) => Progress::Finished,
            (false, true) if self.sources.iter().all(|source| source.dead) => Progress::Stuck,
            _ => Progress::Running,
        }
    }

    /// Whether a chunk is done.
    pub fn is_done(&self, chunk: ChunkId) -> bool {
        self.chunks[chunk].done
    }

    /// Adds a source that was found meanwhile, and returns its id. [`Plan::assign`] gives it work.
    pub fn add_source(&mut self) -> SourceId {
        self.sources.push(Source::default());
        self.sources.len() - 1
    }

    /// A source that was given up is said to be back. Its next failure gives it up again. Returns whether it may be
    /// asked again; [`Plan::assign`] gives it work.
    pub fn revive(&mut self, source: SourceId) -> bool {
        let source = &mut self.sources[source];
        let revived = source.dead && !source.unusable;
        if revived {
            source.dead = false;
            source.failures = FAILURES_MAX - 1;
        }
        revived
    }

    /// Whether a source was given up for a reason that may pass, or none is left at all.
    pub fn misses_sources(&self) -> bool {
        self.sources.iter().any(|source| source.dead && !source.unusable)
            || self.sources.iter().all(|source| source.dead)
    }

    /// Handles the outcome of a fetch and returns what to do next. A cancelled fetch is ignored.
    pub fn handle(&mut self, chunk: ChunkId, source: SourceId, outcome: Outcome) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.chunks[chunk].fetchers.contains(&source) {
            return actions;
        }
        match outcome {
            Outcome::Done => {
                self.sources[source].failures = 0;
                for other in std::mem::take(&mut self.chunks[chunk].fetchers) {
                    self.sources[other].running -= 1;
                    if other != source {
                        actions.push(Action::Cancel(chunk, other));
                    }
                }
                self.chunks[chunk].done = true;
                self.under_way.remove(&chunk);
            }
            // Slow is better than nothing, so it counts only if another source could take over.
            Outcome::Slow if !self.has_other(source) => return actions,
            Outcome::Slow => {
                actions.push(Action::Cancel(chunk, source));
                self.lose(chunk, source);
                self.blame(source, &mut actions);
            }
            Outcome::Failed => {
                self.lose(chunk, source);
                self.blame(source, &mut actions);
            }
            Outcome::Unusable => {
                self.lose(chunk, source);
                self.sources[source].unusable = true;
                self.bury(source, &mut actions);
            }
        }
        actions.extend(self.assign());
        actions
    }

    /// Gives every free connection a chunk. Called once at the start, and by [`Plan::handle`].
    pub fn assign(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        // Round by round, so that the first chunks spread over the sources.
        for _ in 0..CONNECTIONS_PER_SOURCE {
            for source in self.active() {
                if self.sources[source].running < CONNECTIONS_PER_SOURCE
                    && let Some(chunk) = self.pick(source)
                {
                    self.unassigned.remove(&chunk);
                    self.under_way.insert(chunk);
                    self.chunks[chunk].fetchers.push(source);
                    self.sources[source].running += 1;
                    actions.push(Action::Fetch(chunk, source));
                }
            }
        }
        actions
    }

    fn active(&self) -> Vec<SourceId> {
        // Those at work first: a source that was revived or added waits until there is a place.
        let live = || (0..self.sources.len()).filter(|&source| !self.sources[source].dead);
        let at_work = live().filter(|&source| self.sources[source].running > 0);
        let idle = live().filter(|&source| self.sources[source].running == 0);
        let mut active: Vec<_> = at_work.chain(idle).take(SOURCES_MAX).collect();
        active.sort_unstable();
        active
    }

    fn has_other(&self, source: SourceId) -> bool {
        self.sources.iter().enumerate().any(|(id, other)| id != source && !other.dead)
    }

    fn pick(&self, source: SourceId) -> Option<ChunkId> {
        let alone = !self.has_other(source);
        let wanted = |chunk: &&ChunkId| alone || self.chunks[**chunk].avoid != Some(source);
        if let Some(chunk) = self.unassigned.iter().find(wanted) {
            return Some(*chunk);
        }
        if !self.unassigned.is_empty() {
            return None; // the remaining chunks wait for another source
        }
        // End game: the last chunks are fetched twice, so that one slow source does not delay the end.
        let single = |chunk: &&ChunkId| {
            let fetchers = &self.chunks[**chunk].fetchers;
            fetchers.len() == 1 && fetchers[0] != source && self.chunks[**chunk].avoid != Some(source)
        };
        self.under_way.iter().find(single).copied()
    }

    /// A source no longer fetches a chunk.
    fn lose(&mut self, chunk: ChunkId, source: SourceId) {
        let state = &mut self.chunks[chunk];
        state.fetchers.retain(|fetcher| *fetcher != source);
        state.avoid = Some(source);
        self.sources[source].running -= 1;
        if self.chunks[chunk].fetchers.is_empty() {
            self.under_way.remove(&chunk);
            self.unassigned.insert(chunk);
        }
    }

    fn blame(&mut self, source: SourceId, actions: &mut Vec<Action>) {
        self.sources[source].failures += 1;
        if self.sources[source].failures >= FAILURES_MAX {
            self.bury(source, actions);
        }
    }

    fn bury(&mut self, source: SourceId, actions: &mut Vec<Action>) {
        self.sources[source].dead = true;
        let fetched_by_it = |chunk: &&ChunkId| self.chunks[**chunk].fetchers.contains(&source);
        let lost: Vec<ChunkId> = self.under_way.iter().filter(fetched_by_it).copied().collect();
        for chunk in lost {
            self.lose(chunk, source);
            actions.push(Action::Cancel(chunk, source));
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
