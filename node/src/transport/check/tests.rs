//! What passes the checks, and what does not.

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
        let membership: Membership<NodeId, Member> = postcard::from_bytes(&encoded.expect("encodes")).expect("decodes");
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
    assert!(check(&head(found(id(5, 9))), &found(id(5, 9))).is_err(), "openraft panics: contradicts what is committed");
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
