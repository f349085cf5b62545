//! The search index over names, derived from the catalog and kept up to date by its events.
//!
//! Invariants:
//! * The index has a name exactly while it exists, through a current version or an attribute (K1), as of the log index
//!   that it has followed to (its position). Which it has, and whether a live holder has the file, is looked up in the
//!   catalog when a query is answered (P5).
//!   The position never goes back (R2).
//! * While it is loading, the index has no position and answers nothing: a partial answer would
//!   look like a complete one (R1).
//! * The index lock is never taken while the catalog lock is held, and is only held briefly: no search and no load,
//!   however long, delays an entry or a new name. Only a few searches run at once, so that Raft keeps some processors.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockWriteGuard};
use raft_store::catalog::{Event, FileNumber, NumberedName};
use raft_store::storage::{Executor, SharedState};
use raft_store::types::FileName;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::reasons::Reasons;
use super::{Found, Mode, Search, SearchIndex, SearchResult};
use crate::config::REQUEST_DEADLINE;
use crate::freshness::Freshness;

/// Searches that may wait for their turn; one more is refused as `overloaded`.
pub const SEARCHES_WAITING_MAX: usize = 1_024;
/// How long a search may wait for its turn.
pub const TURN_WAIT: Duration = REQUEST_DEADLINE;
/// How long a search waits for an index that is loading: long enough for a small catalog.
const LOADING_WAIT: Duration = Duration::from_millis(200);
/// Files that are loaded under one lock: about a millisecond.
const LOAD_AT_ONCE: FileNumber = 64;
/// How often one step of loading takes the lock.
const LOADS_PER_STEP: usize = 16;
/// Pause after a step, so that loading does not keep a processor busy.
const LOAD_PAUSE: Duration = Duration::from_millis(1);

/// How far the index is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// All numbers below `next` are in; the catalog's end at `end`.
    Walking { next: FileNumber, end: FileNumber },
    /// All are in, but some as of a state up to this log index, which the events have yet to reach.
    Settling { upto: u64 },
    /// The index is the catalog's as of its position.
    Done,
}

#[derive(Debug)]
struct Held {
    index: SearchIndex,
    /// Why each name is in the index.
    reasons: Reasons,
    /// The last entry whose events were taken in.
    followed: u64,
    load: Load,
}

impl Held {
    /// Takes in a change of one reason for a name to be there.
    fn change(&mut self, number: FileNumber, name: &FileName, change: impl FnOnce(&mut Reasons)) {
        change(&mut self.reasons);
        if self.reasons.any(number) {
            self.index.set(number, Some(name));
        } else {
            self.index.remove(number);
        }
    }

    fn loading(&self) -> Option<f64> {
        match self.load {
            Load::Walking { next, end } => Some(f64::from(next.min(end)) / f64::from(end.saturating_add(1))),
            Load::Settling { .. } => Some(0.99),
            Load::Done => None,
        }
    }
}

/// Why the index cannot answer yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NotYet {
    /// It is being loaded, and this much is done, 0 to 1.
    Loading(f64),
    /// It has followed the log only to here.
    At(u64),
}

/// The name index behind a lock that queries share.
pub struct Names {
    held: RwLock<Held>,
    /// The position, unless the index is being loaded.
    reached: watch::Sender<Option<u64>>,
    load_wanted: Notify,
    freshness: Freshness,
    waiting: Semaphore,
    running: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let load = Load::Walking { next: 0, end: 0 };
        Self {
            held: RwLock::new(Held { index: SearchIndex::default(), reasons: Reasons::default(), followed: 0, load }),
            reached: watch::Sender::new(None),
            load_wanted: Notify::new(),
            freshness: Freshness::default(),
            waiting: Semaphore::new(SEARCHES_WAITING_MAX),
            running: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }
}

impl Names {
    /// Waits for permission to run another search, which lasts as long as the returned permit. `None` if too many
    /// searches wait already, or this one waited too long.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let _place = self.waiting.try_acquire().ok()?;
        timeout(TURN_WAIT, self.running.clone().acquire_owned()).await.ok()?.ok()
    }

    /// How old the index is (R2).
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The catalog was read or replaced as a whole, up to this log index. Loads from it what is not in the index. Later
    /// events have to come through [`Names::follow`].
    pub fn begin(&self, upto: u64) {
        let mut held = self.held.write();
        held.followed = held.followed.max(upto);
        held.load = Load::Walking { next: 0, end: 0 };
        self.reached.send_replace(None);
        drop(held);
        self.load_wanted.notify_one();
    }

    /// Takes in what an applied entry changed, even if that is nothing.
    pub fn follow(&self, log_index: u64, events: &[Event]) {
        let mut held = self.held.write();
        for change in events {
            match change {
                Event::FilePublished { file, number, .. } => {
                    held.change(*number, file, |reasons| reasons.set_version(*number, true));
                }
                Event::FileDeleted { file, number, .. } => {
                    held.change(*number, file, |reasons| reasons.set_version(*number, false));
                }
                Event::AttributesChanged { file, number, is_left, .. } => {
                    held.change(*number, file, |reasons| reasons.set_attributes(*number, *is_left));
                }
                _ => {}
            }
        }
        held.followed = held.followed.max(log_index);
        self.note_reached(&mut held);
    }

    /// Loads a bounded number of names; false if there is nothing left to load.
    ///
    /// The lock is held from reading the catalog to updating the index. So an event is taken in before or after both,
    /// and a name that was deleted meanwhile does not stay.
    fn load_step(&self, state: &SharedState) -> bool {
        for _ in 0..LOADS_PER_STEP {
            let mut held = self.held.write();
            let Load::Walking { next, .. } = held.load else { return false };
            let to = next.saturating_add(LOAD_AT_ONCE);
            let (names, end, upto) = {
                let view = state.read();
                let names: Vec<NumberedName> = view.names_numbered(next..to).collect();
                (names, view.file_numbers_end(), view.last_applied().map_or(0, |log_id| log_id.index))
            };
            // An index of an earlier state may have names beyond the end of this one.
            let end = end.max(held.index.numbers_end());
            let mut names = names.iter().peekable();
            for number in next..to.min(end) {
                let name = names.next_if(|name| name.number == number);
                held.reasons.set_version(number, name.is_some_and(|name| name.has_version));
                held.reasons.set_attributes(number, name.is_some_and(|name| name.has_attributes));
                held.index.set(number, name.map(|name| &name.name));
            }
            held.load = if to < end { Load::Walking { next: to, end } } else { Load::Settling { upto } };
            self.note_reached(&mut held);
            // Those who wait for the lock go first.
            RwLockWriteGuard::unlock_fair(held);
        }
        true
    }

    fn note_reached(&self, held: &mut Held) {
        if matches!(held.load, Load::Settling { upto } if upto <= held.followed) {
            held.load = Load::Done;
        }
        if held.load == Load::Done {
            self.reached.send_replace(Some(held.followed));
        }
    }

    /// The position: the last entry whose events were taken in.
    pub fn followed(&self) -> u64 {
        self.held.read().followed
    }

    /// How much is loaded, 0 to 1; `None` once all is.
    pub fn loading(&self) -> Option<f64> {
        // Usually it is not loading, and then no lock is taken.
        if self.reached.borrow().is_some() { None } else { self.held.read().loading() }
    }

    /// Waits until the index is loaded and has followed the log up to `log_index`.
    pub async fn reach(&self, log_index: u64, within: Duration) -> Result<(), NotYet> {
        let is_there = |reached: &Option<u64>| reached.is_some_and(|followed| followed >= log_index);
        if is_there(&self.reached.borrow()) {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`, so the waits end only when the index is reached or the time is up.
        let loaded = timeout(within.min(LOADING_WAIT), reached.wait_for(Option::is_some)).await.is_ok();
        if loaded && timeout(within, reached.wait_for(is_there)).await.is_ok() {
            return Ok(());
        }
        let now = *reached.borrow();
        Err(match (now, self.loading()) {
            (Some(followed), _) => NotYet::At(followed),
            (None, progress) => NotYet::Loading(progress.unwrap_or(0.0)),
        })
    }

    /// Takes a view of the names as they are now, for one query. `Err` says how much is loaded, if not all is.
    pub fn open(&self, query: &str, mode: Mode) -> Result<Opened, f64> {
        let search = Search::new(query, mode, |step| step(&self.held.read().index));
        let held = self.held.read();
        match held.loading() {
            Some(progress) => Err(progress),
            None => Ok(Opened { found: search.view(&held.index), search, followed: held.followed }),
        }
    }
}

/// A search over the names as they were at one position. However long it takes, nobody waits for it.
#[derive(Debug)]
pub struct Opened {
    search: Search,
    found: Found,
    /// The position.
    pub followed: u64,
}

impl Opened {
    /// Names that match, best first, among those that `filter` accepts. `filter` may take the catalog's lock, for each
    /// name separately.
    pub fn finish(&self, limit: usize, filter: impl FnMut(&FileName) -> bool) -> SearchResult {
        self.search.finish(&self.found, limit, filter)
    }
}

/// Loads the index when the node starts and whenever the catalog was replaced, until the process ends.
pub async fn load(names: Arc<Names>, state: SharedState, executor: Executor) {
    loop {
        let (loader, loaded) = (names.clone(), state.clone());
        match executor.compute(move || loader.load_step(&loaded)).await {
            Ok(true) => tokio::time::sleep(LOAD_PAUSE).await,
            Ok(false) => names.load_wanted.notified().await,
            // A step does not panic, and threads end only with the process.
            Err(error) => return tracing::error!(%error, "the name index is no longer being loaded"),
        }
    }
}

#[cfg(test)]
mod tests;
