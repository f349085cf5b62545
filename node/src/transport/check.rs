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
mod tests;
