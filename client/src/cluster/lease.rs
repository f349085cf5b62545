//! A held lease that renews itself, and that knows by its own clock when it must no longer be used (L7).
//!
//! ```text
//!  sent ── TTL/3: renew ── … ── margin (10 %) ── end by the client's count
//!   │                            └ is_safe() turns false, lost() returns
//!   └ counted on a clock that runs during sleep (T4)
//! ```
//!
//! Invariant: `is_safe()` turns false a margin before the earliest moment at which the cluster may give the lease to
//! another peer. A lost lease never becomes safe again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::types::{FencingToken, FileName, LeaseToken, PeerId, Version};
use tokio::task::JoinHandle;

use super::{BootTime, Error, Grant, IndexClient};
use crate::contract::{ReleaseRequest, RenewRequest};

/// The safety margin is this fraction of the TTL: a tenth.
const MARGIN_PART: u32 = 10;
/// Renewals are sent after this fraction of the TTL: a third.
const RENEW_PART: u32 = 3;
/// Pause after a failed renewal, as a fraction of the TTL.
const RETRY_PART: u32 = 20;
/// Longest time the guard sleeps without reading the clock that runs during machine sleep.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A lease that is kept alive in the background until it is released or dropped.
///
/// Dropping the guard stops the renewals, and the lease expires by itself. [`LeaseGuard::release`] ends it at once.
#[derive(Debug)]
pub struct LeaseGuard {
    held: Arc<Held>,
    renewing: JoinHandle<()>,
}

#[derive(Debug)]
struct Held {
    client: IndexClient,
    peer: PeerId,
    file: FileName,
    token: LeaseToken,
    fencing_token: FencingToken,
    version: Version,
    span: Mutex<Span>,
    lost: AtomicBool,
}

/// When the newest grant was requested, and how long it lasts.
#[derive(Debug, Clone, Copy)]
struct Span {
    sent: BootTime,
    ttl: Duration,
}

impl Span {
    fn of(grant: &Grant) -> Self {
        Self { sent: grant.sent, ttl: Duration::from_millis(grant.response.ttl_ms) }
    }

    /// When the client stops using the lease.
    fn safe_until(self) -> BootTime {
        self.sent + (self.ttl - self.ttl / MARGIN_PART)
    }
}

impl LeaseGuard {
    /// Keeps `grant` alive from now on. Must be called in a tokio runtime.
    pub fn start(client: &IndexClient, peer: PeerId, file: FileName, grant: &Grant) -> Self {
        let held = Arc::new(Held {
            // The caller's own key belongs to the acquisition, not to the renewals.
            client: IndexClient { key: None, ..client.clone() },
            peer,
            file,
            token: grant.response.lease_token,
            fencing_token: grant.response.fencing_token,
            version: grant.response.version,
            span: Mutex::new(Span::of(grant)),
            lost: AtomicBool::new(false),
        });
        let renewing = tokio::spawn(renew_until_lost(Arc::clone(&held)));
        Self { held, renewing }
    }

    /// The secret to publish with.
    pub fn token(&self) -> LeaseToken {
        self.held.token
    }

    /// The grant's fencing token (L2).
    pub fn fencing_token(&self) -> FencingToken {
        self.held.fencing_token
    }

    /// The file's version when the lease was granted; 0 if it did not exist (L6).
    pub fn version(&self) -> Version {
        self.held.version
    }

    /// The leased name.
    pub fn file(&self) -> &FileName {
        &self.held.file
    }

    /// Whether the lease may still be used.
    pub fn is_safe(&self) -> bool {
        self.held.is_safe()
    }

    /// How long the lease may still be used if no renewal succeeds.
    pub fn remaining(&self) -> Duration {
        if self.held.lost.load(Ordering::Acquire) { Duration::ZERO } else { self.held.safe_until().remaining() }
    }

    /// Returns once the lease must no longer be used.
    pub async fn lost(&self) {
        while self.is_safe() {
            tokio::time::sleep(self.remaining().min(LOOK_MAX)).await;
        }
    }

    /// Stops the renewals and releases the lease, so that the next waiting peer gets it at once.
    pub async fn release(self) -> Result<(), Error> {
        self.renewing.abort();
        let held = &self.held;
        let request =
            ReleaseRequest { peer_id: held.peer.clone(), file_name: held.file.clone(), lease_token: held.token };
        held.client.release(&request).await
    }

    /// Stops the renewals without releasing the lease, because a publication has ended it (F5) or because it should
    /// outlive this process.
    pub fn forget(self) {
        self.renewing.abort();
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Held {
    fn safe_until(&self) -> BootTime {
        self.span.lock().safe_until()
    }

    fn is_safe(&self) -> bool {
        if self.lost.load(Ordering::Acquire) {
            return false;
        }
        let safe = self.safe_until() > BootTime::now();
        if !safe {
            self.lost.store(true, Ordering::Release);
        }
        safe
    }
}

/// Renews at a third of the TTL, retries failed renewals, and ends when the lease is lost.
async fn renew_until_lost(held: Arc<Held>) {
    let mut span = *held.span.lock();
    let mut due = span.sent + span.ttl / RENEW_PART;
    while held.is_safe() {
        let wait = due.remaining().min(span.safe_until().remaining());
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(LOOK_MAX)).await;
            continue;
        }
        let client = held.client.with_deadline(span.safe_until().remaining());
        let request = RenewRequest {
            peer_id: held.peer.clone(),
            file_name: held.file.clone(),
            lease_token: held.token,
            ttl_ms: None,
        };
        match client.renew(&request).await {
            Ok(grant) => {
                span = Span::of(&grant);
                due = span.sent + span.ttl / RENEW_PART;
                *held.span.lock() = span;
            }
            Err(error @ Error::Refused(_)) => {
                tracing::warn!(file = %held.file, %error, "the lease is lost");
                held.lost.store(true, Ordering::Release);
            }
            Err(error) => {
                tracing::debug!(file = %held.file, %error, "renewing the lease failed; trying again");
                due = BootTime::now() + span.ttl / RETRY_PART;
            }
        }
    }
}
