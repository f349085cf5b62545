//! The search index over names, derived from the catalog and kept up to date by its events.
//!
//! Invariant: a name is in the index exactly while its current version exists, as of the last entry whose events were taken in;
//! whether a live holder has it is asked of the catalog when a query is answered (P5). Nobody waits for the index while he has the
//! catalog's lock, so that no search, however long, keeps an entry from being applied. Searches leave processors to Raft: a few run
//! at once, the others wait their turn.

use std::sync::Arc;

use parking_lot::RwLock;
use raft_store::catalog::{Event, FileNumber};
use raft_store::types::FileName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::search::{Mode, SearchIndex, SearchResult};

/// Searches that may wait for their turn; one more is refused as `overloaded`.
pub const SEARCHES_WAITING_MAX: usize = 1_024;

/// The name index behind a lock that queries share.
pub struct Names {
    index: RwLock<SearchIndex>,
    waiting: Semaphore,
    running: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            index: RwLock::default(),
            waiting: Semaphore::new(SEARCHES_WAITING_MAX),
            running: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }
}

impl Names {
    /// Waits until another search may run; it does while what this returns is held. `None` if too many wait already.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let _place = self.waiting.try_acquire().ok()?;
        self.running.clone().acquire_owned().await.ok()
    }

    /// Builds the index anew.
    pub fn replace(&self, names: impl IntoIterator<Item = (FileNumber, FileName)>) {
        let mut index = SearchIndex::default();
        for (number, name) in names {
            index.insert(number, &name);
        }
        *self.index.write() = index;
    }

    /// Takes in what an applied entry changed.
    pub fn update(&self, events: &[Event]) {
        let is_change = |event: &&Event| matches!(event, Event::FilePublished { .. } | Event::FileDeleted { .. });
        let mut changes = events.iter().filter(is_change).peekable();
        if changes.peek().is_none() {
            return;
        }
        let mut index = self.index.write();
        for change in changes {
            match change {
                Event::FilePublished { file, number, .. } => drop(index.insert(*number, file)),
                Event::FileDeleted { number, .. } => drop(index.remove(*number)),
                _ => {}
            }
        }
    }

    /// Names that match, best first, among those that `filter` accepts. It may take the catalog's lock, for each name anew.
    pub fn query(&self, query: &str, mode: Mode, limit: usize, filter: impl FnMut(&FileName) -> bool) -> SearchResult {
        self.index.read().query(query, mode, limit, filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn searches_wait_their_turn_and_no_more_than_a_limit_of_them() {
        let names = Names::default();
        let mut running = Vec::new();
        while names.running.available_permits() > 0 {
            running.push(names.turn().await.expect("a free turn"));
        }
        let waiting = names.turn();
        futures::pin_mut!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        running.pop();
        assert!(waiting.await.is_some());
        names.waiting.forget_permits(SEARCHES_WAITING_MAX);
        assert!(names.turn().await.is_none());
    }
}
