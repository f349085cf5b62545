//! Idempotency keys of the form `session:sequence`, and the floor below which no answer is awaited any more (X2).
//!
//! Invariant: a key is used for one operation only, and the floor sent with any request never exceeds the sequence of
//! an operation whose answer is still awaited. Once an operation is given up, later floors pass it. A late copy of it
//! on the network is then refused with `key_expired` instead of being applied behind the caller's back.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The keys of one client: a random session and a counter.
#[derive(Debug)]
pub(super) struct Keys(Arc<Session>);

#[derive(Debug)]
struct Session {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    awaited: BTreeSet<u64>,
}

/// One operation's key. Drop it once the answer is no longer awaited.
#[derive(Debug)]
pub(super) struct Key {
    session: Arc<Session>,
    sequence: u64,
}

impl Keys {
    pub(super) fn new() -> Self {
        let name = format!("{:016x}", rand::random::<u64>());
        Self(Arc::new(Session { name, state: Mutex::new(State { next: 1, awaited: BTreeSet::new() }) }))
    }

    pub(super) fn begin(&self) -> Key {
        let mut state = self.0.state.lock();
        let sequence = state.next;
        state.next += 1;
        state.awaited.insert(sequence);
        Key { session: Arc::clone(&self.0), sequence }
    }
}

impl Key {
    /// Value of the `Idempotency-Key` header.
    pub(super) fn header(&self) -> String {
        format!("{}:{}", self.session.name, self.sequence)
    }

    /// Current value of the `Idempotency-Floor` header: at most this key's own sequence.
    pub(super) fn floor(&self) -> u64 {
        self.session.state.lock().awaited.first().copied().unwrap_or(self.sequence)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.session.state.lock().awaited.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_lowest_sequence_still_awaited() {
        let keys = Keys::new();
        let (first, second) = (keys.begin(), keys.begin());
        assert_ne!(first.header(), second.header());
        assert_eq!((first.floor(), second.floor()), (1, 1));
        drop(first);
        assert_eq!(second.floor(), 2);
        let third = keys.begin();
        drop(second);
        assert_eq!(third.floor(), 3);
    }

    #[test]
    fn sessions_differ() {
        assert_ne!(Keys::new().0.name, Keys::new().0.name);
    }
}
