//! The leader whose lost connection is being investigated, so that there is at most one attempt to replace it at a
//! time.

use parking_lot::Mutex;
use raft_store::types::NodeId;

/// See the module.
#[derive(Debug, Default)]
pub struct FailoverAttempts {
    state: Mutex<Attempts>,
}

#[derive(Debug, Default)]
struct Attempts {
    under_way: bool,
    /// The node whose connection ended since the attempt under way began.
    ended: Option<NodeId>,
}

impl FailoverAttempts {
    /// Notes that a leader's connection ended; true if the caller has to begin an attempt.
    pub fn note(&self, leader: NodeId) -> bool {
        let mut state = self.state.lock();
        state.ended = Some(leader);
        !std::mem::replace(&mut state.under_way, true)
    }

    /// The next leader to investigate; `None` ends the attempt.
    pub fn next(&self) -> Option<NodeId> {
        let mut state = self.state.lock();
        let ended = state.ended.take();
        state.under_way = ended.is_some();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_during_an_attempt_makes_one_more() {
        let attempts = FailoverAttempts::default();
        assert!(attempts.note(1), "begin");
        assert_eq!(attempts.next(), Some(1));
        assert!(!attempts.note(1) && !attempts.note(1), "one is under way");
        assert_eq!(attempts.next(), Some(1));
        assert_eq!(attempts.next(), None);
        assert!(attempts.note(2), "it was over");
    }
}
