//! A state that is given to a member whose own is wrong (N3), part by part.
//!
//! Invariant: a node keeps at most one encoded state in memory for others, and drops it when nobody has asked for a
//! part of it for [`IDLE`].

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::sys::clock;
use crate::transport::StatePart;

/// Bytes of one part.
const STATE_PART_BYTES: usize = 192 * 1_024;
/// How long one part may take. A member that asked more recently than this is still fetching the state.
pub const PART_DEADLINE: Duration = Duration::from_secs(2);
/// A state that nobody has asked for a part of for this long is dropped.
const IDLE: Duration = Duration::from_secs(30);

/// The state that is given away.
#[derive(Default)]
pub struct StateOutbox(Mutex<Content>);

#[derive(Default)]
enum Content {
    #[default]
    Nothing,
    /// The state is being encoded.
    Encoding,
    Ready(Encoded),
}

struct Encoded {
    at: u64,
    bytes: Bytes,
    used: Instant,
}

/// The answer to a member that asks for the beginning of a state.
#[derive(Debug)]
pub enum Offer {
    /// The beginning.
    Part(StatePart),
    /// Nothing yet: the state is being encoded.
    Encoding,
    /// Nothing yet: the caller has to encode the state now, and call [`StateOutbox::fill`].
    Encode,
    /// Nothing: another member is fetching a state that does not reach far enough.
    Busy,
}

impl StateOutbox {
    /// Drops a state that nobody asks for any more.
    pub fn expire(&self) {
        let mut content = self.0.lock();
        if matches!(&*content, Content::Ready(encoded) if encoded.used.elapsed() > IDLE) {
            *content = Content::Nothing;
        }
    }

    /// A part of the state that covers exactly this log index.
    pub fn part(&self, at: u64, offset: u64) -> Option<StatePart> {
        let mut content = self.0.lock();
        let Content::Ready(encoded) = &mut *content else { return None };
        (encoded.at == at).then(|| encoded.part(offset))
    }

    /// The beginning of a state that covers at least `wanted`.
    pub fn offer(&self, wanted: u64) -> Offer {
        let mut content = self.0.lock();
        match &mut *content {
            Content::Encoding => Offer::Encoding,
            Content::Ready(encoded) if encoded.at >= wanted => Offer::Part(encoded.part(0)),
            Content::Ready(encoded) if encoded.used.elapsed() < PART_DEADLINE => Offer::Busy,
            Content::Ready(_) | Content::Nothing => {
                *content = Content::Encoding;
                Offer::Encode
            }
        }
    }

    /// Puts in the state that was encoded, and the log index that it covers; `None` if it could not be.
    pub fn fill(&self, encoded: Option<(u64, Bytes)>) {
        *self.0.lock() = match encoded {
            Some((at, bytes)) => Content::Ready(Encoded { at, bytes, used: clock::now() }),
            None => Content::Nothing,
        };
    }
}

impl Encoded {
    fn part(&mut self, offset: u64) -> StatePart {
        self.used = clock::now();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let upto = from.saturating_add(STATE_PART_BYTES).min(self.bytes.len());
        StatePart { at: self.at, total: self.bytes.len() as u64, bytes: self.bytes.slice(from..upto).to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(at: u64, bytes: usize) -> StateOutbox {
        let outbox = StateOutbox::default();
        outbox.fill(Some((at, Bytes::from(vec![7; bytes]))));
        outbox
    }

    #[tokio::test(start_paused = true)]
    async fn one_state_is_kept_and_one_member_at_a_time_served() {
        let outbox = StateOutbox::default();
        assert!(matches!(outbox.offer(5), Offer::Encode));
        assert!(matches!(outbox.offer(5), Offer::Encoding), "one is encoded at a time");
        outbox.fill(Some((6, Bytes::from_static(b"state"))));
        assert!(matches!(outbox.offer(5), Offer::Part(StatePart { at: 6, total: 5, .. })));
        assert!(matches!(outbox.offer(7), Offer::Busy), "somebody fetches the older one");
        tokio::time::advance(PART_DEADLINE).await;
        assert!(matches!(outbox.offer(7), Offer::Encode));
        outbox.fill(None);
        assert!(matches!(outbox.offer(7), Offer::Encode), "it failed, and is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn parts_make_up_the_whole_and_an_idle_state_is_dropped() {
        let outbox = outbox(6, STATE_PART_BYTES + 10);
        assert_eq!(outbox.part(6, 0).map(|part| part.bytes.len()), Some(STATE_PART_BYTES));
        assert_eq!(outbox.part(6, STATE_PART_BYTES as u64).map(|part| part.bytes.len()), Some(10));
        assert_eq!(outbox.part(6, u64::MAX).map(|part| part.bytes.len()), Some(0));
        assert!(outbox.part(7, 0).is_none(), "another state");
        outbox.expire();
        assert!(outbox.part(6, 0).is_some());
        tokio::time::advance(IDLE + Duration::from_millis(1)).await;
        outbox.expire();
        assert!(outbox.part(6, 0).is_none());
    }
}
