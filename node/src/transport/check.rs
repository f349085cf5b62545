//! Checks what other nodes send before openraft sees it. openraft would take a message that no correct node sends for
//! damage to its own store and stop the node, or would let the message into the log.
//!
//! Invariants (N1, N2)
//! * A Raft message counts only in its sender's own name.
//! * What passes cannot make openraft panic, cannot become a storage error, and cannot use up the terms.
//! * What a correct node sends always passes, however late it comes.

use openraft::EntryPayload;
use openraft::async_runtime::WatchReceiver;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use raft_store::raft::{Entry, LogId, Member, SnapshotMeta, TypeConfig, Vote};
use raft_store::storage::RECORD_BYTES_MAX;
use raft_store::types::NodeId;

use super::frame::FrameError;
use super::{Request, Response, SnapshotHead};
use crate::raft::Raft;

/// How far a term may lie ahead of the one it is compared with: more elections than a cluster holds in a hundred years.
/// Beyond it a single message could use up the terms, and with them all elections.
const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// Highest log index that is accepted from another node; entries after it can still be counted.
const INDEX_MAX: u64 = 1 << 60;
/// Bytes of a log record besides its commands, at most.
const ENVELOPE_BYTES: usize = 64;
/// Members that a membership may list.
const MEMBERS_MAX: usize = 1_024;
/// Longest address of a member, in bytes; more than `config` lets in, so that no leader has one that followers refuse.
const ADDRESS_BYTES_MAX: usize = 4_096;

/// Why a message is refused.
type Refusal = String;

/// What the receiver knows of itself.
#[derive(Debug, Clone, Copy)]
struct Own {
    node: NodeId,
    term: u64,
    committed: Option<LogId>,
}

impl Own {
    /// As Raft's metrics say; they may be behind Raft, never ahead of it.
    fn of(raft: &Raft) -> Self {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        Self { node: metrics.id, term: metrics.current_term, committed: metrics.local_committed }
    }

    /// A vote in the name of the node that sent it.
    fn vote(&self, sender: NodeId, vote: &Vote, committed: bool) -> Result<(), Refusal> {
        let (term, voted_for) = (vote.leader_id.term, vote.leader_id.voted_for);
        if voted_for != sender {
            return Err(format!("node {sender} speaks in the name of node {voted_for}"));
        }
        if sender == self.node {
            return Err(format!("node {sender} speaks in the name of this node"));
        }
        if vote.committed != committed {
            return Err("a candidate speaks as a leader, or a leader as a candidate".to_owned());
        }
        self.term(term)
    }

    fn term(&self, term: u64) -> Result<(), Refusal> {
        if term > self.term.saturating_add(TERMS_AHEAD_MAX) {
            return Err(format!("term {term} is too far ahead of term {}", self.term));
        }
        Ok(())
    }

    /// Whether a log id of a leader agrees with what is committed here. The leader of an older term is left to Raft.
    fn agrees(&self, leader: &Vote, log_id: &LogId) -> Result<(), Refusal> {
        let Some(committed) = &self.committed else { return Ok(()) };
        let (term, own) = (term_of(log_id), term_of(committed));
        let contradicts = log_id.index <= committed.index && term > own
            || log_id.index == committed.index && term != own
            || log_id.index > committed.index && term < own;
        if leader.leader_id.term >= self.term && contradicts {
            return Err(format!("log id {log_id} contradicts {committed}, which is committed here"));
        }
        Ok(())
    }
}

/// Checks a request of a member; `sender` is the node of the connection's hello.
pub(super) fn request(raft: &Raft, sender: NodeId, request: &Request) -> Result<(), FrameError> {
    let checked = match request {
        Request::Append(rpc) => append(&Own::of(raft), sender, rpc),
        Request::Vote(rpc) | Request::PreVote(rpc) => {
            let own = Own::of(raft);
            own.vote(sender, &rpc.vote, false).and_then(|()| last_of(rpc.vote.leader_id.term, rpc.last_log_id.as_ref()))
        }
        Request::Transfer(rpc) => {
            let (own, vote) = (Own::of(raft), rpc.from_leader());
            own.vote(sender, vote, true).and_then(|()| last_of(vote.leader_id.term, rpc.last_log_id()))
        }
        _ => Ok(()),
    };
    checked.map_err(|refusal| FrameError::Refused(format!("{refusal} (from node {sender})")))
}

/// Checks that the entry of a last log id can exist in this term.
fn last_of(term: u64, log_id: Option<&LogId>) -> Result<(), Refusal> {
    match log_id {
        Some(log_id) if log_id.index > INDEX_MAX || term_of(log_id) > term => {
            Err(format!("log id {log_id} cannot exist in term {term}"))
        }
        _ => Ok(()),
    }
}

fn append(own: &Own, sender: NodeId, rpc: &AppendEntriesRequest<TypeConfig>) -> Result<(), Refusal> {
    own.vote(sender, &rpc.vote, true)?;
    let term = rpc.vote.leader_id.term;
    last_of(term, rpc.leader_commit.as_ref())?;
    last_of(term, rpc.prev_log_id.as_ref())?;
    let mut previous = rpc.prev_log_id;
    if let Some(previous) = &previous {
        own.agrees(&rpc.vote, previous)?;
    }
    for entry in &rpc.entries {
        let log_id = entry.log_id();
        let (expected, least) = previous.map_or((0, 0), |previous| (previous.index + 1, term_of(&previous)));
        if log_id.index != expected || term_of(&log_id) < least {
            return Err(format!("entry {log_id} does not follow the one before it, which is at index {expected} - 1"));
        }
        last_of(term, Some(&log_id))?;
        own.agrees(&rpc.vote, &log_id)?;
        payload(entry)?;
        previous = Some(log_id);
    }
    Ok(())
}

fn payload(entry: &Entry) -> Result<(), Refusal> {
    match &entry.payload {
        EntryPayload::Blank => Ok(()),
        EntryPayload::Normal(proposal) if proposal.bytes() + ENVELOPE_BYTES > RECORD_BYTES_MAX => {
            Err(format!("entry {} has {} bytes of commands", entry.log_id(), proposal.bytes()))
        }
        EntryPayload::Normal(_) => Ok(()),
        EntryPayload::Membership(membership) => {
            let voters = membership.get_joint_config();
            members(voters, membership.nodes().count(), |id| membership.get_node(id), membership.nodes())
        }
    }
}

fn members<'m>(
    voters: &[std::collections::BTreeSet<NodeId>],
    count: usize,
    member: impl Fn(&NodeId) -> Option<&'m Member>,
    mut all: impl Iterator<Item = (&'m NodeId, &'m Member)>,
) -> Result<(), Refusal> {
    if voters.is_empty() || voters.len() > 2 || voters.iter().any(|config| config.is_empty()) {
        return Err("a membership without voters, or with more than two sets of them".to_owned());
    }
    if count > MEMBERS_MAX || all.any(|(_, member)| member.address.len() > ADDRESS_BYTES_MAX) {
        return Err("a membership that is too large".to_owned());
    }
    match voters.iter().flatten().find(|id| member(id).is_none()) {
        Some(id) => Err(format!("a membership that does not say where its voter {id} is")),
        None => Ok(()),
    }
}

/// Checks a snapshot of a member: `found` is what its bytes say about themselves.
pub fn check_snapshot(raft: &Raft, sender: NodeId, head: &SnapshotHead, found: &SnapshotMeta) -> Result<(), String> {
    snapshot(&Own::of(raft), sender, head, found)
}

fn snapshot(own: &Own, sender: NodeId, head: &SnapshotHead, found: &SnapshotMeta) -> Result<(), Refusal> {
    own.vote(sender, &head.vote, true)?;
    if head.meta != *found {
        return Err("the snapshot is not the one that its head announces".to_owned());
    }
    let Some(last) = &found.last_log_id else { return Err("a snapshot of nothing".to_owned()) };
    let term = head.vote.leader_id.term;
    last_of(term, Some(last))?;
    own.agrees(&head.vote, last)?;
    let stored = &found.last_membership;
    if stored.log_id().as_ref().is_some_and(|log_id| log_id.index > last.index || term_of(log_id) > term_of(last)) {
        return Err("the snapshot's membership is newer than the snapshot".to_owned());
    }
    let membership = stored.membership();
    let voters = membership.get_joint_config();
    members(voters, membership.nodes().count(), |id| membership.get_node(id), membership.nodes())
}

/// The limits of a response, which follow from the request that it answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    term: u64,
    last: Option<LogId>,
}

impl Asked {
    /// The limits that follow from this request.
    pub(super) fn by(request: &Request) -> Self {
        match request {
            Request::Append(rpc) => Self {
                term: rpc.vote.leader_id.term,
                last: rpc.entries.last().map(RaftEntry::log_id).or(rpc.prev_log_id),
            },
            Request::Vote(rpc) | Request::PreVote(rpc) => Self { term: rpc.vote.leader_id.term, last: None },
            Request::Transfer(rpc) => Self { term: rpc.from_leader().leader_id.term, last: None },
            Request::Snapshot(head) => Self { term: head.vote.leader_id.term, last: None },
            _ => Self::default(),
        }
    }

    /// Checks a response to it.
    pub(super) fn check(&self, response: &Response) -> Result<(), FrameError> {
        let checked = match response {
            Response::Append(AppendEntriesResponse::HigherVote(vote)) => self.vote(vote),
            Response::Append(AppendEntriesResponse::PartialSuccess(upto)) if *upto > self.last => {
                Err("more entries were taken than were sent".to_owned())
            }
            Response::Vote(answer) => {
                let last = answer.last_log_id.as_ref();
                self.vote(&answer.vote).and_then(|()| last_of(self.term.saturating_add(TERMS_AHEAD_MAX), last))
            }
            Response::Snapshot(answer) => self.vote(&answer.vote),
            _ => Ok(()),
        };
        checked.map_err(FrameError::Refused)
    }

    fn vote(&self, vote: &Vote) -> Result<(), Refusal> {
        if vote.leader_id.term > self.term.saturating_add(TERMS_AHEAD_MAX) {
            return Err(format!("term {} is too far ahead of term {}", vote.leader_id.term, self.term));
        }
        Ok(())
    }
}

fn term_of(log_id: &LogId) -> u64 {
    **log_id.committed_leader_id()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::Membership;
    use proptest::prelude::*;
    use raft_store::raft::StoredMembership;

    use super::*;

    const LEADER: NodeId = 1;

    fn own() -> Own {
        Own { node: 2, term: 5, committed: Some(id(4, 10)) }
    }

    fn id(term: u64, index: u64) -> LogId {
        use openraft::vote::RaftLeaderId;
        let leader = openraft::impls::leader_id_std::LeaderId { term, voted_for: LEADER };
        LogId::new(leader.to_committed(), index)
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry { log_id: id(term, index), payload: EntryPayload::Blank }
    }

    fn rpc(previous: Option<LogId>, entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
        let leader_commit = previous;
        AppendEntriesRequest { vote: Vote::new_committed(5, LEADER), prev_log_id: previous, entries, leader_commit }
    }

    fn checked(rpc: &AppendEntriesRequest<TypeConfig>) -> Result<(), Refusal> {
        append(&own(), LEADER, rpc)
    }

    #[test]
    fn what_a_leader_sends_passes() {
        for (previous, entries) in [
            (None, vec![]),
            (None, vec![entry(0, 0), entry(1, 1)]),
            (Some(id(4, 10)), vec![entry(4, 11), entry(5, 12)]),
            (Some(id(2, 3)), vec![entry(4, 4)]),
            (Some(id(5, 99)), vec![]),
        ] {
            checked(&rpc(previous, entries)).expect("a correct append");
        }
        // A leader of an older term may contradict what is committed since; Raft tells it so.
        let old = AppendEntriesRequest { vote: Vote::new_committed(3, LEADER), ..rpc(Some(id(3, 12)), vec![]) };
        checked(&old).expect("left to Raft");
    }

    #[test]
    fn appends_that_no_leader_sends_are_refused() {
        let good = || rpc(Some(id(4, 10)), vec![entry(5, 11)]);
        checked(&good()).expect("the others differ from it in one thing");
        let vote = |vote| AppendEntriesRequest { vote, ..good() };
        let wrong = [
            ("another's name", vote(Vote::new_committed(5, 3))),
            ("a candidate's vote", vote(Vote::new(5, LEADER))),
            ("the last term there is", vote(Vote::new_committed(u64::MAX, LEADER))),
            ("a hole", rpc(Some(id(4, 10)), vec![entry(5, 12)])),
            ("a hole between entries", rpc(Some(id(4, 10)), vec![entry(5, 11), entry(5, 13)])),
            ("a hole at the beginning", rpc(None, vec![entry(0, 1)])),
            ("falling terms", rpc(Some(id(5, 10)), vec![entry(4, 11)])),
            ("a term after the leader's", rpc(Some(id(4, 10)), vec![entry(6, 11)])),
            ("a previous entry after the leader's term", rpc(Some(id(6, 10)), vec![])),
            ("an index that nothing can follow", rpc(Some(id(4, u64::MAX)), vec![])),
            ("a committed index that nothing can follow", {
                AppendEntriesRequest { leader_commit: Some(id(4, u64::MAX)), ..good() }
            }),
            ("another entry where one is committed", rpc(Some(id(3, 9)), vec![entry(5, 10)])),
            ("another previous entry where one is committed", rpc(Some(id(5, 10)), vec![])),
        ];
        for (what, rpc) in wrong {
            assert!(checked(&rpc).is_err(), "N2: {what} passed: {rpc:?}");
        }
        assert!(append(&own(), 3, &good()).is_err(), "N1: node 3 spoke in the name of node {LEADER}");
        let mirrored = Own { node: LEADER, ..own() };
        assert!(append(&mirrored, LEADER, &good()).is_err(), "N1: a node spoke to itself");
    }

    fn member() -> Member {
        Member { address: "127.0.0.1:1".into(), store_id: 1 }
    }

    #[test]
    fn memberships_without_a_quorum_are_refused() {
        let nodes = |ids: &[NodeId]| ids.iter().map(|id| (*id, member())).collect::<BTreeMap<_, _>>();
        let with = |voters: Vec<Vec<NodeId>>, ids: &[NodeId]| {
            let voters: Vec<BTreeSet<NodeId>> = voters.into_iter().map(|config| config.into_iter().collect()).collect();
            // What arrives is decoded without openraft's own check.
            let encoded = postcard::to_stdvec(&(voters, nodes(ids)));
            let membership: Membership<NodeId, Member> =
                postcard::from_bytes(&encoded.expect("encodes")).expect("decodes");
            let entry = Entry { log_id: id(5, 11), payload: EntryPayload::Membership(membership) };
            checked(&rpc(Some(id(4, 10)), vec![entry]))
        };
        with(vec![vec![1, 2]], &[1, 2, 3]).expect("two voters and a learner");
        with(vec![vec![1], vec![2]], &[1, 2]).expect("a joint configuration");
        assert!(with(vec![], &[1]).is_err(), "nobody votes");
        assert!(with(vec![vec![1], vec![]], &[1]).is_err(), "no quorum is possible");
        assert!(with(vec![vec![1, 9]], &[1]).is_err(), "a voter without an address");
        assert!(with(vec![vec![1]; 3], &[1]).is_err(), "no joint configuration has three parts");
    }

    #[test]
    fn a_snapshot_has_to_be_what_its_head_says() {
        let membership =
            Membership::new(vec![[1, 2].into()], BTreeMap::from([(1, member()), (2, member())])).expect("consistent");
        let found = |last: LogId| SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(id(1, 1)), membership.clone()),
        };
        let head = |meta: SnapshotMeta| SnapshotHead { vote: Vote::new_committed(5, LEADER), meta, bytes: 1 };
        let check = |head: &SnapshotHead, found: &SnapshotMeta| snapshot(&own(), LEADER, head, found);
        check(&head(found(id(5, 20))), &found(id(5, 20))).expect("what a leader sends");
        assert!(check(&head(found(id(5, 21))), &found(id(5, 20))).is_err(), "another head");
        assert!(check(&head(found(id(6, 20))), &found(id(6, 20))).is_err(), "openraft panics: after the leader's term");
        assert!(
            check(&head(found(id(5, 9))), &found(id(5, 9))).is_err(),
            "openraft panics: contradicts what is committed"
        );
        assert!(check(&head(found(id(3, 20))), &found(id(3, 20))).is_err(), "older than what is committed, and longer");
        let nothing = SnapshotMeta { last_log_id: None, ..found(id(5, 20)) };
        assert!(check(&head(nothing.clone()), &nothing).is_err(), "a snapshot of nothing");
        let newer = SnapshotMeta {
            last_log_id: Some(id(5, 20)),
            last_membership: StoredMembership::new(Some(id(5, 21)), membership.clone()),
        };
        assert!(check(&head(newer.clone()), &newer).is_err(), "a membership from after the snapshot");
    }

    #[test]
    fn answers_cannot_use_up_the_terms_or_confirm_what_was_not_sent() {
        let asked = Asked::by(&Request::Append(rpc(Some(id(4, 10)), vec![entry(5, 11)])));
        let append = |response| asked.check(&Response::Append(response));
        append(AppendEntriesResponse::Success).expect("taken");
        append(AppendEntriesResponse::PartialSuccess(Some(id(5, 11)))).expect("what was sent");
        append(AppendEntriesResponse::HigherVote(Vote::new(9, 3))).expect("a later term");
        assert!(append(AppendEntriesResponse::PartialSuccess(Some(id(5, 12)))).is_err());
        assert!(append(AppendEntriesResponse::HigherVote(Vote::new(u64::MAX, 3))).is_err());
    }

    proptest! {
        #[test]
        fn what_passes_has_no_holes_and_no_foreign_terms(
            vote in (0..9_u64, 0..3_u64, any::<bool>()),
            previous in prop::option::of((0..9_u64, 0..14_u64)),
            entries in prop::collection::vec((0..9_u64, 0..16_u64), 0..4),
        ) {
            let (term, node, committed) = vote;
            let vote = if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) };
            let previous = previous.map(|(term, index)| id(term, index));
            let entries: Vec<_> = entries.into_iter().map(|(term, index)| entry(term, index)).collect();
            let rpc = AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: None };
            if checked(&rpc).is_ok() {
                prop_assert!(committed && node == LEADER);
                let first = previous.map_or(0, |previous| previous.index + 1);
                for (index, entry) in (first..).zip(&rpc.entries) {
                    prop_assert_eq!(entry.log_id().index, index);
                    prop_assert!(term_of(&entry.log_id()) <= term);
                }
            }
        }
    }
}
