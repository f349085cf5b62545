//! The history of a simulated run, in simulated time, and what its clients share.
//!
//! Invariant: as in real runs an operation is written down before it is sent and after its answer arrived, so the same
//! checkers judge it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::history::{Event, Micros, Op, OpId, Record};
use crate::verify::Written;

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    next_op: OpId,
    over: bool,
    written: Written,
    counts: BTreeMap<&'static str, u64>,
    /// Which node should hand leadership over, and to which.
    transfer: Option<(u64, u64)>,
    /// When the newest write that was acknowledged had been sent.
    acknowledged: Option<Micros>,
}

/// Cheap to share.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    inner: Arc<Mutex<Inner>>,
}

/// Now in simulated time; must be asked on a simulated machine.
pub(super) fn now() -> Micros {
    turmoil::sim_elapsed().map_or(0, |elapsed| Micros::try_from(elapsed.as_micros()).unwrap_or(Micros::MAX))
}

impl Journal {
    /// Writes down what happens at `at`.
    pub(super) fn record_at(&self, at: Micros, record: Record) {
        self.inner.lock().events.push(Event { at, record });
    }

    /// Writes down what happens now.
    pub(super) fn record(&self, record: Record) {
        self.record_at(now(), record);
    }

    /// Writes down that an operation is about to be sent, and gives it its number.
    pub(super) fn invoke(&self, client: &str, op: Op, key: Option<String>) -> OpId {
        let id = {
            let mut inner = self.inner.lock();
            if let Op::Publish { file, hash, .. } = &op {
                let hashes = inner.written.published.entry(file.clone()).or_default();
                if !hashes.contains(hash) {
                    hashes.push(hash.clone());
                }
            }
            if let Op::Txn(txn) = &op {
                inner.written.attributed.extend(txn.names().into_iter().map(str::to_owned));
            }
            inner.next_op += 1;
            inner.next_op
        };
        self.record(Record::Invoke { id, client: client.to_owned(), op, key, to: None });
        id
    }

    /// Counts that something happened.
    pub(super) fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    /// What was counted.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.lock().counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
    }

    /// Has a client ask `leader` to hand over to `target`.
    pub(super) fn ask_transfer(&self, leader: u64, target: u64) {
        self.inner.lock().transfer = Some((leader, target));
    }

    /// The transfer to ask for, once.
    pub(super) fn take_transfer(&self) -> Option<(u64, u64)> {
        self.inner.lock().transfer.take()
    }

    /// A write that was sent at `sent` was acknowledged.
    pub(super) fn acknowledged(&self, sent: Micros) {
        let mut inner = self.inner.lock();
        inner.acknowledged = inner.acknowledged.max(Some(sent));
    }

    /// When the newest acknowledged write had been sent.
    pub(super) fn newest_acknowledged(&self) -> Option<Micros> {
        self.inner.lock().acknowledged
    }

    /// Tells the clients to end.
    pub(super) fn end(&self) {
        self.inner.lock().over = true;
    }

    /// Whether the clients should end.
    pub(super) fn is_over(&self) -> bool {
        self.inner.lock().over
    }

    /// What clients may have changed; nothing is written down here after that.
    pub(super) fn written(&self) -> Written {
        std::mem::take(&mut self.inner.lock().written)
    }

    /// Everything in order of time.
    pub(super) fn take(&self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.inner.lock().events);
        events.sort_by_key(|event| event.at);
        events
    }
}
