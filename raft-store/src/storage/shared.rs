//! The applied state as the rest of the node sees it: reading it, waiting for an index, and following applied entries.
//!
//! Invariants
//! * A reader that subscribes follows the feed from exactly the state that it has read.
//! * An entry is visible to readers, to the feed and to waiters before its proposer is answered (R3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, broadcast, watch};

use super::feed::{FEED_ENTRIES_MAX, Feed, FeedItem};
use super::repair::{RepairError, Replacement};
use super::{LogId, StoredMembership};
use crate::catalog::{Catalog, HoldingsImage, Image};
use crate::types::{ContentHash, PeerId};

/// Everything that a snapshot covers.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) catalog: Catalog,
    pub(crate) last_applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// The state differs from that of other members at the same entry, so no entries are applied to it (N3).
    pub(crate) distrusted: bool,
    /// While the state is distrusted: the last entry that was skipped.
    pub(crate) passed_over: Option<LogId>,
}

impl State {
    /// The contents of a snapshot; cheap, see [`Catalog::image`].
    pub(crate) fn image(&self) -> StateImage {
        let Self { catalog, last_applied, membership, .. } = self;
        StateImage { catalog: catalog.image(), last_applied: *last_applied, membership: membership.clone() }
    }

    /// The last entry that was applied or skipped.
    fn reached(&self) -> Option<LogId> {
        self.last_applied.max(self.passed_over)
    }
}

/// The contents of a snapshot.
#[derive(Debug)]
pub(crate) struct StateImage {
    pub(crate) catalog: Image,
    pub(crate) last_applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// The state at one moment, for computing its digest off the apply path.
#[derive(Debug)]
pub struct DigestImage(StateImage);

impl DigestImage {
    pub(crate) fn of(state: &State) -> Self {
        Self(state.image())
    }

    /// The last applied entry.
    pub fn last_applied(&self) -> Option<LogId> {
        self.0.last_applied
    }

    /// The digest that members compare (N3). It covers everything that a snapshot contains. Blocks while it hashes what
    /// was written since the last digest.
    pub fn digest(self) -> ContentHash {
        let Self(StateImage { catalog, last_applied, membership }) = self;
        let rest = postcard::to_stdvec(&(last_applied, membership)).expect("plain values have an encoding");
        let mut hash = Sha256::new();
        hash.update(catalog.state_digest().0);
        hash.update(rest);
        ContentHash(hash.finalize().into())
    }
}

struct Inner {
    state: RwLock<State>,
    /// Grows whenever a snapshot replaces the catalog.
    replaced: AtomicU64,
    applied: watch::Sender<Option<LogId>>,
    feed: broadcast::Sender<FeedItem>,
    /// The state at the newest checkpoint, until it is taken. A newer one replaces it.
    checkpoint: Mutex<Option<DigestImage>>,
    checkpoint_came: Notify,
}

/// Handle to the applied state. Cheap to clone.
#[derive(Clone)]
pub struct SharedState {
    inner: Arc<Inner>,
}

/// Read access to the state. Keep it short, because applying waits for it, and never hold it across an await.
pub struct StateView<'a> {
    guard: RwLockReadGuard<'a, State>,
}

impl StateView<'_> {
    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.guard.catalog
    }

    /// The last applied entry.
    pub fn last_applied(&self) -> Option<LogId> {
        self.guard.last_applied
    }

    /// The last membership that was applied.
    pub fn membership(&self) -> &StoredMembership {
        &self.guard.membership
    }
}

impl StateView<'_> {
    /// The contents of a snapshot; cheap, see [`Catalog::image`].
    pub(crate) fn image(&self) -> StateImage {
        self.guard.image()
    }
}

impl StateView<'_> {
    /// The state for computing its digest; as cheap as the image for a snapshot.
    pub fn digest_image(&self) -> DigestImage {
        DigestImage(self.image())
    }
}

impl std::ops::Deref for StateView<'_> {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.guard.catalog
    }
}

impl SharedState {
    pub(crate) fn new(state: State) -> Self {
        let applied = watch::Sender::new(state.last_applied);
        let (feed, _) = broadcast::channel(FEED_ENTRIES_MAX);
        let inner = Inner {
            state: RwLock::new(state),
            replaced: AtomicU64::new(0),
            applied,
            feed,
            checkpoint: Mutex::new(None),
            checkpoint_came: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Locks the state for reading.
    pub fn read(&self) -> StateView<'_> {
        StateView { guard: self.inner.state.read() }
    }

    /// Follows the last applied log id. Once it has a leader's own term, the leader has applied the first entry of that
    /// term (T2).
    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.inner.applied.subscribe()
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> Option<u64> {
        self.inner.applied.borrow().map(|log_id| log_id.index)
    }

    /// Waits until the entry at `index` is applied (R3). The caller limits the wait.
    pub async fn wait_applied(&self, index: u64) {
        let mut receiver = self.applied();
        // The sender lives as long as this handle, so this ends only when the index is reached.
        let _ = receiver.wait_for(|applied| applied.is_some_and(|log_id| log_id.index >= index)).await;
    }

    /// Reads the state, and follows it from exactly that point.
    pub fn subscribe<T>(&self, read: impl FnOnce(&StateView<'_>) -> T) -> (T, Feed) {
        let view = self.read();
        // Items are sent under the write lock, so none can come between these two lines.
        let receiver = self.inner.feed.subscribe();
        let value = read(&view);
        (value, Feed { receiver, closed: false })
    }

    /// How often a snapshot or another member's state has replaced the catalog in this process.
    pub fn replacements(&self) -> u64 {
        self.inner.replaced.load(Ordering::Relaxed)
    }

    /// Waits for a checkpoint and takes the state as it was at exactly that entry. A newer checkpoint replaces one that
    /// nobody has taken.
    pub async fn checkpoint(&self) -> DigestImage {
        loop {
            let came = self.inner.checkpoint_came.notified();
            if let Some(image) = self.inner.checkpoint.lock().take() {
                return image;
            }
            came.await;
        }
    }

    /// Stores the state at a checkpoint for [`SharedState::checkpoint`].
    pub(crate) fn keep_checkpoint(&self, image: DigestImage) {
        let before = self.inner.checkpoint.lock().replace(image);
        self.inner.checkpoint_came.notify_one();
        drop(before);
    }

    /// Stops applying entries: they are skipped until the state is replaced (N3).
    pub fn distrust(&self) {
        self.inner.state.write().distrusted = true;
    }

    /// Whether entries are skipped.
    pub fn is_distrusted(&self) -> bool {
        self.inner.state.read().distrusted
    }

    /// The last entry that was applied or skipped.
    pub fn reached(&self) -> Option<LogId> {
        self.inner.state.read().reached()
    }

    /// Skips an entry if the state is distrusted; false if the entry has to be applied.
    pub(crate) fn pass_over(&self, log_id: LogId) -> bool {
        if !self.is_distrusted() {
            return false;
        }
        let mut state = self.inner.state.write();
        if state.distrusted {
            state.passed_over = Some(log_id);
        }
        state.distrusted
    }

    /// Replaces the distrusted state, if the new one has applied exactly the entries that were applied or skipped here.
    pub(crate) fn replace_distrusted(&self, state: State) -> Result<Replacement, RepairError> {
        let mut current = self.inner.state.write();
        if !current.distrusted {
            return Err(RepairError::Replaced);
        }
        if state.last_applied != current.reached() {
            return Ok(Replacement::Behind(Box::new(state)));
        }
        let upto = state.last_applied;
        let before = std::mem::replace(&mut *current, state);
        self.inner.replaced.fetch_add(1, Ordering::Relaxed);
        let _ = self.inner.feed.send(FeedItem::Replaced { upto });
        self.inner.applied.send_replace(upto);
        Ok(Replacement::Done(Box::new(before)))
    }

    /// Prepares to compute the digest of a peer's holdings (P2) off the apply path; `None` if there are few holdings or
    /// the digest is known.
    pub fn holdings_digest(&self, peer: &PeerId) -> Option<DigestWork> {
        let view = self.read();
        let image = view.holdings_image(peer)?;
        Some(DigestWork { state: self.clone(), replaced: self.inner.replaced.load(Ordering::Relaxed), image })
    }

    /// Changes the state under the write lock, then tells readers, feed and waiters.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> (T, FeedItem)) -> T {
        let mut state = self.inner.state.write();
        let (value, item) = change(&mut state);
        if matches!(item, FeedItem::Replaced { .. }) {
            self.inner.replaced.fetch_add(1, Ordering::Relaxed);
        }
        let applied = state.last_applied;
        // Having no receiver is not an error.
        let _ = self.inner.feed.send(item);
        self.inner.applied.send_replace(applied);
        value
    }
}

/// A digest that is still to be computed; see [`SharedState::holdings_digest`].
pub struct DigestWork {
    state: SharedState,
    replaced: u64,
    image: HoldingsImage,
}

impl DigestWork {
    /// Computes the digest without a lock, and caches it unless the holdings have changed meanwhile. Blocks for about
    /// 100 ms with 100,000 holdings.
    pub fn run(self) {
        let Self { state, replaced, image } = self;
        let digest = image.digest();
        drop(image);
        let mut current = state.inner.state.write();
        if state.inner.replaced.load(Ordering::Relaxed) == replaced {
            current.catalog.keep_digest(&digest);
        }
    }
}
