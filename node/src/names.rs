//! The search index over names, derived from the catalog and kept up to date by its events.
//!
//! Invariant: a name is in the index exactly while its current version exists; whether a live holder has it is asked
//! of the catalog when a query is answered (P5).

use parking_lot::RwLock;
use raft_store::catalog::{Catalog, Event};
use raft_store::types::FileName;

use crate::search::{Mode, SearchIndex, SearchResult};

/// The name index behind a lock that queries share.
#[derive(Default)]
pub struct Names {
    index: RwLock<SearchIndex>,
}

impl Names {
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
