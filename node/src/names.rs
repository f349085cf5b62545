//! The search index over names, derived from the catalog and kept up to date by its events.
//!
//! Invariant: a name is in the index exactly while its current version exists; whether a live holder has it is asked
//! of the catalog when a query is answered (P5). Searches leave processors to Raft: a few run at once, the others wait their
//! turn.

use std::sync::Arc;

use parking_lot::RwLock;
use raft_store::catalog::{Catalog, Event};
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
    pub fn rebuild(&self, catalog: &Catalog) {
        let mut index = SearchIndex::default();
        for name in catalog.file_names() {
            index.insert(&name);
        }
        *self.index.write() = index;
    }

    /// Takes in what an applied entry changed.
    pub fn observe(&self, catalog: &Catalog, events: &[Event]) {
        for event in events {
            if let Event::FilePublished { file, .. } | Event::FileDeleted { file, .. } = event {
                // The catalog may be ahead of the event; its word is the newer one.
                let exists = catalog.current_version(file).is_some();
                let mut index = self.index.write();
                if exists {
                    index.insert(file)
                } else {
                    index.remove(file)
                };
            }
        }
    }

    /// Names that match, best first, among those that `filter` accepts.
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
