//! The writes of the workload: each as the history words it and as the contract sends it.
//!
//! Invariant: the body of a request follows from its operation and the lease's token alone, so what is checked is what
//! was sent.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fresh_hash;
use crate::history::{Answer, Op};

/// An address that nobody is asked for files at.
const ADDRESS: &str = "http://127.0.0.1:9";

/// A write that may be sent.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) op: Op,
    pub(crate) path: &'static str,
    pub(crate) body: Value,
}

impl Write {
    /// Registers a peer without files; one that serves can be found by searches (P5).
    pub(crate) fn register(peer: &str, serving: bool) -> Self {
        let mut body = json!({"peerId": peer, "address": ADDRESS, "files": []});
        if !serving {
            body["serving"] = json!(false);
        }
        Self { op: Op::Register { peer: peer.to_owned() }, path: "/register", body }
    }

    /// Asks for a lease.
    pub(crate) fn acquire(peer: &str, file: &str, ttl_ms: u64, wait: bool) -> Self {
        let op = Op::Acquire { peer: peer.to_owned(), file: file.to_owned(), ttl_ms, wait };
        Self { op, path: "/lease", body: json!({"peerId": peer, "fileName": file, "ttlMs": ttl_ms}) }
    }

    /// Leaves the line for a lease.
    pub(crate) fn leave(peer: &str, file: &str) -> Self {
        let op = Op::Leave { peer: peer.to_owned(), file: file.to_owned() };
        Self { op, path: "/lease/leave", body: json!({"peerId": peer, "fileName": file}) }
    }

    /// Announces contents without naming a version (F6).
    pub(crate) fn announce(peer: &str, file: &str, hash: &str) -> Self {
        publish(peer, file, (None, hash.to_owned()), None)
    }

    /// Creates a name without a lease (F3).
    pub(crate) fn create(peer: &str, file: &str, version: Option<u64>, rng: &mut StdRng) -> Self {
        publish(peer, file, (version, fresh_hash(rng).to_string()), None)
    }
}

/// A lease that a client believes to have.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) peer: String,
    pub(crate) file: String,
    pub(super) token: Value,
    pub(super) fence: u64,
    ttl_ms: u64,
    pub(super) version: u64,
}

impl Lease {
    /// The lease that an answer grants to whoever sent this write.
    pub(crate) fn granted(write: &Write, answer: &Answer, value: &Value) -> Option<Self> {
        let (Op::Acquire { peer, file, ttl_ms, .. }, Answer::Granted { fence, version, .. }) = (&write.op, answer)
        else {
            return None;
        };
        let token = value.get("leaseToken")?.clone();
        let (peer, file) = (peer.clone(), file.clone());
        Some(Self { peer, file, token, fence: *fence, ttl_ms: *ttl_ms, version: *version })
    }

    /// How long it was asked for.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// Extends it.
    pub(crate) fn renew(&self) -> Write {
        let (peer, file, fence, ttl_ms) = (self.peer.clone(), self.file.clone(), self.fence, self.ttl_ms);
        let body = json!({"peerId": peer, "fileName": file, "leaseToken": self.token, "ttlMs": ttl_ms});
        Write { op: Op::Renew { peer, file, fence, ttl_ms }, path: "/lease/renew", body }
    }

    /// Ends it.
    pub(crate) fn release(&self) -> Write {
        let (peer, file, fence) = (self.peer.clone(), self.file.clone(), self.fence);
        let body = json!({"peerId": peer, "fileName": file, "leaseToken": self.token});
        Write { op: Op::Release { peer, file, fence }, path: "/lease/release", body }
    }

    /// Publishes new bytes under it.
    pub(crate) fn publish(&self, rng: &mut StdRng, keep: bool) -> Write {
        let hash = fresh_hash(rng).to_string();
        publish(&self.peer, &self.file, (None, hash), Some((self, keep)))
    }

    /// The same, now and then with the version that the client expects it to become.
    pub(crate) fn publish_or_expect(&self, rng: &mut StdRng, keep: bool) -> Write {
        let hash = fresh_hash(rng).to_string();
        // Mostly no version: the index takes the next one, so a repeat that is applied twice would show (F5).
        let version = (rng.random_bool(0.1) && !keep).then_some(self.version + 1);
        publish(&self.peer, &self.file, (version, hash), Some((self, keep)))
    }
}

fn publish(peer: &str, file: &str, (version, hash): (Option<u64>, String), under: Option<(&Lease, bool)>) -> Write {
    let mut entry = json!({"name": file, "size": 1, "hash": hash});
    if let Some(version) = version {
        entry["version"] = json!(version);
    }
    let mut body = json!({"peerId": peer, "file": entry});
    if let Some((lease, keep)) = under {
        (body["leaseToken"], body["keepLease"]) = (lease.token.clone(), json!(keep));
    }
    let (peer, file) = (peer.to_owned(), file.to_owned());
    let (fence, keep) = (under.map(|(lease, _)| lease.fence), under.is_some_and(|(_, keep)| keep));
    Write { op: Op::Publish { peer, file, fence, version, hash, keep }, path: "/announce", body }
}

/// A client that works under leases.
pub(crate) trait LeaseHolder {
    /// What it draws from.
    fn rng(&mut self) -> &mut StdRng;
    /// Carries out a write and writes down what it came to; false if the lease is of no use any more.
    async fn carry_out(&mut self, write: Write) -> bool;
    /// Sleeps, or returns early when the run is over.
    async fn sleep(&mut self, duration: Duration);

    /// Renews, publishes and keeps the lease for a while; then publishes, releases, lets it run out, or publishes after
    /// it has run out.
    async fn work_under(&mut self, lease: &Lease) {
        for _ in 0..self.rng().random_range(0..3) {
            let renews = self.rng().random_bool(0.5);
            let write = if renews { lease.renew() } else { lease.publish_or_expect(self.rng(), true) };
            if !self.carry_out(write).await {
                return;
            }
        }
        let write = match self.rng().random_range(0..10) {
            0..6 => lease.publish_or_expect(self.rng(), false),
            6..8 => lease.release(),
            8 => return,
            _ => {
                self.sleep(lease.ttl() + Duration::from_millis(100)).await;
                lease.publish_or_expect(self.rng(), false)
            }
        };
        self.carry_out(write).await;
    }
}
