//! Slots for connections to this node; decides which connection is closed when all are taken.
//!
//! Invariants (N4)
//! * There are never more connections than slots, in total and per address.
//! * A connection that is being answered is never closed to make room. One that is idle, or has not sent the whole head
//!   of its request, may be. So silent callers cannot keep others out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Connections that are scanned to find an idle one.
const SCANNED_MAX: usize = 1_024;
/// Scans of all connections during which the head of a request may go on arriving.
const HEAD_SCANS_MAX: u8 = 3;

/// Slots for connections of one kind.
#[derive(Debug)]
pub struct ConnectionSlots {
    max: usize,
    per_address: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// Where the next search for an idle connection continues, so that it does not start with the same busy ones again.
    cursor: u64,
    held: BTreeMap<u64, Arc<Held>>,
    by_address: HashMap<IpAddr, usize>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Held {
    address: Option<IpAddr>,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// Scans since the head of a request began to arrive, the one to come included; 0 while none does. Counted
    /// instead of timed, so that a request reads no clock.
    head: AtomicU8,
    leave: AtomicBool,
    waker: AtomicWaker,
}

impl Held {
    fn tell_to_leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Inner {
    fn remove(&mut self, id: u64) -> Option<Arc<Held>> {
        let held = self.held.remove(&id)?;
        if let Some(address) = held.address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(held)
    }

    /// Tells an idle connection to leave, one of this address if one is named.
    fn evict(&mut self, address: Option<IpAddr>) -> bool {
        let from = self.cursor;
        let in_turn = self.held.range(from..).chain(self.held.range(..from)).take(SCANNED_MAX);
        let mut last = from;
        let mut found = None;
        for (id, held) in in_turn {
            last = *id;
            if (address.is_none() || held.address == address) && held.busy.load(Ordering::Relaxed) == 0 {
                found = Some(*id);
                break;
            }
        }
        self.cursor = last + 1;
        let Some(held) = found.and_then(|id| self.remove(id)) else { return false };
        held.tell_to_leave();
        true
    }
}

impl ConnectionSlots {
    /// `max` slots in all, and `per_address` for one address.
    pub fn new(max: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, per_address, inner: Mutex::default() })
    }

    /// A free slot, or that of an idle connection; `None` if all others are busy.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionSlot> {
        let mut inner = self.inner.lock();
        let of_address = address.and_then(|address| inner.by_address.get(&address)).copied().unwrap_or_default();
        if of_address >= self.per_address && !inner.evict(address) {
            return None;
        }
        if inner.held.len() >= self.max && !inner.evict(None) {
            return None;
        }
        let id = inner.next;
        inner.next += 1;
        let held = Arc::new(Held { address, ..Held::default() });
        inner.held.insert(id, Arc::clone(&held));
        if let Some(address) = address {
            *inner.by_address.entry(address).or_default() += 1;
        }
        drop(inner);
        Some(ConnectionSlot { slots: Arc::clone(self), id, held, waker: None })
    }

    /// Scans all connections; to be called at equal intervals. A head that has been arriving for a few scans is late,
    /// and its connection is told to leave.
    pub fn scan(&self) {
        for held in self.inner.lock().held.values() {
            let scans = held.head.load(Ordering::Relaxed);
            if scans >= HEAD_SCANS_MAX && held.busy.load(Ordering::Relaxed) == 0 {
                held.tell_to_leave();
            } else if scans > 0 {
                // Unless the head has ended meanwhile.
                let _ = held.head.compare_exchange(scans, scans + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
}

/// A connection's slot; given back when it is dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    held: Arc<Held>,
    /// Whom the held slot wakes.
    waker: Option<Waker>,
}

impl ConnectionSlot {
    /// Resolves when the connection should close: to make room, or because the head of a request does not end. A poll
    /// only reads memory that is hardly ever written.
    pub fn poll_leave(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            self.held.waker.register(context.waker());
            self.waker = Some(context.waker().clone());
        }
        if self.held.leave.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The same, to await.
    pub async fn leave(&mut self) {
        std::future::poll_fn(|context| self.poll_leave(context)).await;
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.held.busy.load(Ordering::Relaxed) > 0
    }

    /// A handle to note the connection's activity with.
    pub fn activity(&self) -> Activity {
        Activity(Arc::clone(&self.held))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.inner.lock().remove(self.id);
    }
}

/// Notes what a connection is doing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Held>);

impl Activity {
    /// Bytes arrived: the head of a request, unless one is being answered.
    pub fn arrived(&self) {
        if self.0.busy.load(Ordering::Relaxed) == 0 && self.0.head.load(Ordering::Relaxed) == 0 {
            self.0.head.store(1, Ordering::Relaxed);
        }
    }

    /// A whole head arrived; the request is being answered until the guard is dropped.
    pub fn begin(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        self.0.head.store(0, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Busy(Arc<Held>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn has_to_leave(slot: &mut ConnectionSlot) -> bool {
        slot.leave().now_or_never().is_some()
    }

    #[test]
    fn an_idle_connection_makes_room_and_a_busy_one_stays() {
        let slots = ConnectionSlots::new(2, 2);
        let mut first = slots.take(None).expect("free");
        let mut second = slots.take(None).expect("free");
        let answering = first.activity().begin();
        let third = slots.take(None).expect("the second is idle");
        assert!(has_to_leave(&mut second) && !has_to_leave(&mut first));
        let both = third.activity().begin();
        assert!(slots.take(None).is_none(), "N4: both are busy");
        drop((answering, both));
        drop(second);
        assert!(slots.take(None).is_some());
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let slots = ConnectionSlots::new(4, 2);
        let mut greedy: Vec<_> = (0..3).map(|_| slots.take(address(1)).expect("for an idle one of the same")).collect();
        assert_eq!(greedy.iter_mut().filter_map(|slot| slot.leave().now_or_never()).count(), 1);
        let busy: Vec<_> = greedy.iter().map(|slot| slot.activity().begin()).collect();
        assert!(slots.take(address(1)).is_none(), "N4: its share is used");
        assert!(slots.take(address(2)).is_some(), "N4: others have room");
        drop((busy, greedy));
        assert!(slots.inner.lock().by_address.is_empty(), "nothing is kept of connections that ended");
    }

    #[test]
    fn a_head_that_does_not_end_is_late() {
        let slots = ConnectionSlots::new(1, 1);
        let mut slot = slots.take(None).expect("free");
        let scans = || (0..HEAD_SCANS_MAX).for_each(|_| slots.scan());
        scans();
        assert!(!has_to_leave(&mut slot), "nothing was asked");
        slot.activity().arrived();
        let answering = slot.activity().begin();
        slot.activity().arrived();
        scans();
        drop(answering);
        scans();
        assert!(!has_to_leave(&mut slot), "it was answered and is idle");
        slot.activity().arrived();
        slots.scan();
        slot.activity().arrived();
        (2..HEAD_SCANS_MAX).for_each(|_| slots.scan());
        assert!(!has_to_leave(&mut slot));
        slots.scan();
        assert!(has_to_leave(&mut slot), "N4: more bytes do not prolong it");
    }
}
