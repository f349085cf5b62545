//! The recent events of this node's applied log, for `GET /events`.
//!
//! Invariant: a reader gets every event after the position it asked for, or is told that some were compacted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use raft_store::catalog::Event;
use raft_store::types::Attribute;
use tokio::sync::watch;

/// Events kept in memory.
pub const EVENTS_KEPT_MAX: usize = 65_536;
/// Bytes of the changed attributes in them: one transaction may have as many as fit an entry.
pub const ATTRIBUTE_BYTES_KEPT_MAX: usize = 64 * 1_024 * 1_024;

/// An event and its place in the log: `INDEX.SEQ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Log index of the entry.
    pub log_index: u64,
    /// Position within the entry, from 0.
    pub sequence: u32,
    /// What happened in the entry.
    entry: Arc<Vec<Event>>,
}

impl LoggedEvent {
    /// What happened.
    pub fn event(&self) -> &Event {
        &self.entry[self.sequence as usize]
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// Entries that made events, by log index.
    entries: VecDeque<(u64, Arc<Vec<Event>>)>,
    /// Events in them.
    events: usize,
    /// Bytes of attributes in them.
    attribute_bytes: usize,
    /// Everything after this log index is kept; 0 before anything was dropped.
    complete_after: u64,
}

/// The bytes that changed attributes take in an entry's events.
fn attribute_bytes(events: &[Event]) -> usize {
    let bytes = |event: &Event| match event {
        Event::AttributesChanged { changed, removed, .. } => {
            let texts = changed.iter().filter_map(|(_, value)| value.as_text()).map(str::len);
            (changed.len() + removed.len()) * size_of::<Attribute>() + texts.sum::<usize>()
        }
        _ => 0,
    };
    events.iter().map(bytes).sum()
}

/// The recent events.
#[derive(Debug)]
pub struct EventLog {
    kept: RwLock<Kept>,
    newest: watch::Sender<u64>,
}

/// The position asked for is no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events up to log index {complete_after} are compacted; read the state and follow from there")]
pub struct Compacted {
    /// Everything after this log index is kept.
    pub complete_after: u64,
}

impl EventLog {
    /// An empty log whose events begin after `applied`, the state the node started from.
    pub fn new(applied: u64) -> Self {
        let kept = Kept { complete_after: applied, ..Kept::default() };
        Self { kept: RwLock::new(kept), newest: watch::channel(applied).0 }
    }

    /// Appends an entry's events.
    pub fn push(&self, log_index: u64, events: &Arc<Vec<Event>>) {
        if !events.is_empty() {
            let mut dropped = Vec::new();
            let mut kept = self.kept.write();
            kept.events += events.len();
            kept.attribute_bytes += attribute_bytes(events);
            kept.entries.push_back((log_index, events.clone()));
            while (kept.events > EVENTS_KEPT_MAX || kept.attribute_bytes > ATTRIBUTE_BYTES_KEPT_MAX)
                && let Some((oldest, events)) = kept.entries.pop_front()
            {
                kept.complete_after = oldest;
                kept.events -= events.len();
                kept.attribute_bytes -= attribute_bytes(&events);
                dropped.push(events);
            }
            // Freed after the lock is released.
            drop(kept);
        }
        self.newest.send_replace(log_index);
    }

    /// Forgets everything: events up to `applied` were lost.
    pub fn gap(&self, applied: u64) {
        *self.kept.write() = Kept { complete_after: applied, ..Kept::default() };
        self.newest.send_replace(applied);
    }

    /// Up to `limit` events after `(log_index, sequence)`; a missing sequence means after the whole entry.
    pub fn after(&self, position: (u64, Option<u32>), limit: usize) -> Result<Vec<LoggedEvent>, Compacted> {
        let kept = self.kept.read();
        let (log_index, sequence) = position;
        let resumable =
            if sequence.is_some() { log_index > kept.complete_after } else { log_index >= kept.complete_after };
        if !resumable {
            return Err(Compacted { complete_after: kept.complete_after });
        }
        let start = kept.entries.partition_point(|(index, _)| *index < log_index);
        let events = kept.entries.range(start..).flat_map(|(log_index, entry)| {
            let logged = |sequence| LoggedEvent { log_index: *log_index, sequence, entry: entry.clone() };
            (0..entry.len() as u32).map(logged)
        });
        let passed = |event: &LoggedEvent| {
            event.log_index == log_index && sequence.is_none_or(|sequence| event.sequence <= sequence)
        };
        Ok(events.skip_while(passed).take(limit).collect())
    }

    /// Changes with every applied entry.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Waits until the entry at a log index was seen; false if it takes longer than `within`. The planner follows the
    /// same feed and is told first, so it has seen the entry as well.
    pub async fn reach(&self, log_index: u64, within: Duration) -> bool {
        if self.newest() >= log_index {
            return true;
        }
        let mut newest = self.newest.subscribe();
        tokio::time::timeout(within, newest.wait_for(|newest| *newest >= log_index)).await.is_ok()
    }

    /// Log index of the newest entry seen.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }
}

#[cfg(test)]
mod tests {
    use raft_store::catalog::Event;

    use super::*;

    fn event(replicas: u32) -> Event {
        Event::ReplicasSet { replicas }
    }

    fn places(log: &EventLog, from: (u64, Option<u32>)) -> Vec<(u64, u32)> {
        log.after(from, 100).expect("kept").iter().map(|event| (event.log_index, event.sequence)).collect()
    }

    #[test]
    fn large_attributes_leave_room_for_fewer_events() {
        use raft_store::types::{AttributeKey, AttributeValue, Attributes, FileName, PeerId, TxnId};
        let log = EventLog::new(0);
        let changed = (0..32).map(|n| {
            let key = AttributeKey::parse(&format!("k{n}")).expect("valid");
            (key, AttributeValue::text("x".repeat(1_024)).expect("valid"))
        });
        let event = Event::AttributesChanged {
            file: FileName::parse("f").expect("valid"),
            number: 0,
            peer: PeerId::parse("p").expect("valid"),
            txn: TxnId { index: 1, position: 0 },
            changed: changed.collect::<Attributes>(),
            removed: Vec::new(),
            is_left: true,
        };
        let entry = Arc::new(vec![event]);
        let entries = ATTRIBUTE_BYTES_KEPT_MAX / attribute_bytes(&entry) + 10;
        (1..=entries as u64).for_each(|index| log.push(index, &entry));
        assert!(log.after((9, None), 1).is_err() && log.after((10, None), 1).is_ok(), "the oldest ten are dropped");
    }

    #[test]
    fn events_resume_exactly_after_a_position() {
        let log = EventLog::new(5);
        log.push(6, &Arc::new(vec![event(1), event(2)]));
        log.push(7, &Arc::default());
        log.push(8, &Arc::new(vec![event(3)]));
        assert_eq!(places(&log, (5, None)), [(6, 0), (6, 1), (8, 0)]);
        assert_eq!(places(&log, (6, Some(0))), [(6, 1), (8, 0)]);
        assert_eq!(places(&log, (6, None)), [(8, 0)]);
        assert_eq!(places(&log, (9, None)), []);
        assert!(log.after((4, None), 1).is_err(), "what the node did not see is compacted");
    }

    #[test]
    fn dropped_events_are_compacted_not_skipped() {
        let log = EventLog::new(0);
        for index in 1..=(EVENTS_KEPT_MAX as u64 + 10) {
            log.push(index, &Arc::new(vec![event(1)]));
        }
        assert_eq!(log.after((9, None), 1), Err(Compacted { complete_after: 10 }));
        assert_eq!(places(&log, (10, None)).first(), Some(&(11, 0)));
    }
}
