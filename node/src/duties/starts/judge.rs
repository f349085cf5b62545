//! Judges a start by what is known of its directory. Pure.
//!
//! Invariants
//! * The recorded start is accepted again, and no other start with its number or a lower one.
//! * What a start acknowledged counts only against later starts.

use raft_store::storage::KnownStore;

use crate::identities::superseded;
use crate::transport::Notice;

/// The judgement of a start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the one that was recorded.
    Known,
    /// It is newer than the recorded one, or the same start in another process. With the process that was recorded
    /// before, and its address.
    Newer(Option<(u64, String)>),
    /// The directory is an older copy.
    OlderCopy(String),
}

pub(super) fn judge(known: Option<&KnownStore>, notice: &Notice) -> Judgement {
    let Some(known) = known else { return Judgement::Newer(None) };
    if let Some(start) = known.start {
        if start == notice.start && known.boot == notice.boot {
            return Judgement::Known;
        }
        if let Some(reason) = superseded(start, notice.start, &known.address) {
            return Judgement::OlderCopy(reason);
        }
    }
    if let Some(seen) = known.acknowledged_before(notice.boot)
        && notice.last_log < Some(seen)
    {
        let ends = notice.last_log.map_or("is empty".to_owned(), |last| format!("ends at log index {}", last.index));
        return Judgement::OlderCopy(format!("its log {ends}, and it had acknowledged log index {}", seen.index));
    }
    Judgement::Newer(known.start.map(|_| (known.boot, known.address.clone())))
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;
    use raft_store::raft::{CommittedLeader, LogId};
    use raft_store::storage::{StartId, Starts};

    use super::*;
    use crate::identities::{Side, is_superseded};

    fn log_id(term: u64, index: u64) -> LogId {
        let leader: CommittedLeader = openraft::impls::leader_id_std::LeaderId::<u64, u64>::new(term, 1).to_committed();
        LogId::new(leader, index)
    }

    fn notice(number: u64, nonce: u64, last_log: Option<LogId>) -> Notice {
        let start = StartId { number, nonce };
        Notice { side: Side { node: 2, store: 9 }, start, boot: nonce, last_log, address: "b:1".into() }
    }

    fn known(number: u64, nonce: u64, acknowledged: Option<LogId>) -> KnownStore {
        let mut starts = Starts::default();
        starts.record(9, StartId { number, nonce }, nonce, "a:1");
        if let Some(upto) = acknowledged {
            starts.acknowledge(9, upto, nonce);
        }
        starts.store(9).cloned().expect("recorded")
    }

    /// C3: a start with a lower number than the recorded one, or the same number in another process, is an older copy.
    #[test]
    fn a_number_that_was_seen_before_is_an_older_copy() {
        let known = known(5, 50, None);
        assert_eq!(judge(Some(&known), &notice(5, 50, None)), Judgement::Known);
        assert!(matches!(judge(Some(&known), &notice(5, 51, None)), Judgement::OlderCopy(_)));
        assert!(matches!(judge(Some(&known), &notice(4, 40, None)), Judgement::OlderCopy(_)));
        let before = Some((50, "a:1".to_owned()));
        assert_eq!(judge(Some(&known), &notice(6, 60, None)), Judgement::Newer(before));
        assert_eq!(judge(None, &notice(1, 10, None)), Judgement::Newer(None));
        // Restarted before a majority had recorded it: the same start, and the process before may still run (C5).
        let again = Notice { boot: 7, ..notice(5, 50, None) };
        assert_eq!(judge(Some(&known), &again), Judgement::Newer(Some((50, "a:1".to_owned()))));
    }

    /// C3: so is a start whose log ends before an entry that the directory was seen to acknowledge.
    #[test]
    fn a_log_that_lacks_what_it_acknowledged_is_an_older_copy() {
        let known = known(5, 50, Some(log_id(2, 30)));
        assert!(matches!(judge(Some(&known), &notice(6, 60, Some(log_id(2, 29)))), Judgement::OlderCopy(_)));
        assert!(matches!(judge(Some(&known), &notice(6, 60, None)), Judgement::OlderCopy(_)));
        assert!(matches!(judge(Some(&known), &notice(6, 60, Some(log_id(2, 30)))), Judgement::Newer(_)));
        assert!(matches!(judge(Some(&known), &notice(6, 60, Some(log_id(3, 31)))), Judgement::Newer(_)));
        // The announcement was delayed, while the node went on acknowledging: a majority had recorded its start.
        let mut late = Starts::default();
        late.record(9, StartId { number: 4, nonce: 40 }, 40, "a:1");
        late.acknowledge(9, log_id(2, 30), 50);
        let late = late.store(9).cloned().expect("recorded");
        assert!(matches!(judge(Some(&late), &notice(5, 50, Some(log_id(2, 29)))), Judgement::Newer(_)));
        // A start that no majority had recorded is also the start of the next process.
        let again = Notice { boot: 7, ..notice(5, 50, Some(log_id(2, 29))) };
        assert!(matches!(judge(Some(&late), &again), Judgement::OlderCopy(_)));
    }

    /// C5: a process whose successor was recorded does not speak for its directory any more.
    #[test]
    fn a_process_with_a_recorded_successor_is_superseded() {
        let known = known(5, 50, None);
        assert!(is_superseded(Some(&known), StartId { number: 4, nonce: 1 }).is_some());
        assert!(is_superseded(Some(&known), StartId { number: 5, nonce: 1 }).is_some());
        assert!(is_superseded(Some(&known), StartId { number: 5, nonce: 50 }).is_none());
        assert!(is_superseded(Some(&known), StartId { number: 6, nonce: 1 }).is_none());
        assert!(is_superseded(None, StartId::default()).is_none());
    }
}
