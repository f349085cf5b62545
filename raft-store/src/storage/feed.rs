//! The feed of applied entries.
//!
//! Invariant: a follower sees every applied entry exactly once and in log order, or is told that it missed some.
//! Applying never waits for a follower.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::LogId;
use crate::catalog::Event;

/// How many applied entries a follower of the feed may lag. One that lags more is told that it missed some.
pub const FEED_ENTRIES_MAX: usize = 16_384;

/// An applied entry in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedEntry {
    /// Its index in the log.
    pub log_index: u64,
    /// Its term.
    pub term: u64,
    /// What it changed (L7); empty for blank and membership entries.
    pub events: Arc<Vec<Event>>,
}

/// One item of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// The next entry in log order.
    Applied(AppliedEntry),
    /// A snapshot has replaced the whole catalog. The follower reads the catalog again and continues.
    Replaced {
        /// The last entry the snapshot covers.
        upto: Option<LogId>,
    },
    /// The follower was too slow and has missed items. It has to subscribe again.
    Lagged {
        /// How many items it has missed.
        missed: u64,
    },
    /// The state machine is gone; nothing will follow.
    Closed,
}

/// Follows applied entries. See [`super::SharedState::subscribe`].
#[derive(Debug)]
pub struct Feed {
    pub(super) receiver: broadcast::Receiver<FeedItem>,
    pub(super) closed: bool,
}

impl Feed {
    /// Waits for the next item. Safe to cancel.
    pub async fn next(&mut self) -> FeedItem {
        if self.closed {
            return FeedItem::Closed;
        }
        match self.receiver.recv().await {
            Ok(item) => item,
            Err(RecvError::Lagged(missed)) => FeedItem::Lagged { missed },
            Err(RecvError::Closed) => {
                self.closed = true;
                FeedItem::Closed
            }
        }
    }

    /// Takes up to `limit` items without waiting.
    pub fn drain(&mut self, limit: usize) -> VecDeque<FeedItem> {
        use broadcast::error::TryRecvError;
        let mut items = VecDeque::new();
        while items.len() < limit {
            match self.receiver.try_recv() {
                Ok(item) => items.push_back(item),
                Err(TryRecvError::Lagged(missed)) => items.push_back(FeedItem::Lagged { missed }),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => {
                    self.closed = true;
                    break;
                }
            }
        }
        items
    }
}
