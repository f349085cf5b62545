//! The single write path: commands are coalesced into entries, stamped, and proposed; every outcome says whether it is
//! definite (W5).
//!
//! Handlers put commands into one bounded queue. One task drains it, builds an entry of at most
//! `limits::ENTRY_COMMANDS_MAX` commands and `limits::ENTRY_BYTES_MAX` bytes, and keeps a few proposals in flight, so
//! that one flush serves many writers. An entry waits for more commands only while others are in flight. Each entry has
//! one timer, for its oldest command: a timer per command would cost as much as queueing it.
//!
//! Invariant: an entry is stamped with the anchor of the term it is proposed in, right before it is proposed (T2); and
//! an error is called definite only if Raft never took the entry.

mod queue;
mod under_way;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use raft_store::catalog::{Command, Op, Outcome};
use raft_store::proposal::{EncodedCommand, Proposal};
use raft_store::raft::{Member, TypeConfig};
use raft_store::types::NodeId;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub use self::queue::QUEUE_COMMANDS_MAX;
use self::queue::{Answer, Pending, Queue};
use self::under_way::{Place, UnderWay};
use crate::clock::LogClock;
use crate::config::REQUEST_DEADLINE;
use crate::deadline::left;
use crate::node::Raft;
use crate::pulse::Pulse;

/// Time that a command has left when it is proposed, or a quarter of what it has in all; with less its caller
/// would hardly hear what became of it.
const TIME_LEFT_MIN: Duration = Duration::from_millis(250);

/// What became of a command that was applied.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The log index of its entry (`Raftshare-Index`).
    pub log_index: u64,
    /// Its answer.
    pub outcome: Outcome,
}

/// Why a command has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Definite: this node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<(NodeId, Member)>,
    },
    /// Definite: the queue is full.
    #[error("{QUEUE_COMMANDS_MAX} writes are waiting already")]
    Overloaded,
    /// Definite: earlier writes kept it waiting, and it was not proposed.
    #[error("no majority confirmed earlier writes in time, and this one was not proposed")]
    Expired,
    /// Definite: the node was paused while it waited (W6).
    #[error("this node was paused while the write waited, and it was not proposed")]
    Paused,
    /// Unknown: the entry was given to Raft, and its fate is not known here.
    #[error("the write was proposed, and its outcome is not known: {0}")]
    Unknown(String),
    /// Unknown: the node's storage failed while the write was under way (W4).
    #[error("the node's storage failed: {0}")]
    Storage(String),
}

/// The entrance of the write path; cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    entrance: Arc<Entrance>,
    /// Commands ever handed in.
    handed_in: Arc<AtomicU64>,
    pulse: Arc<Pulse>,
}

/// With the last one who may hand in commands the coalescer ends.
struct Entrance(Arc<Queue>);

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// With the coalescer ends what waits for it.
struct Exit(Arc<Queue>);

impl Drop for Exit {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// When a command is answered at the latest, and what it must have left when it is proposed.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    at: Instant,
    margin: Duration,
}

impl Due {
    /// The node's own deadline.
    pub fn usual(at: Instant) -> Self {
        Self { at, margin: TIME_LEFT_MIN }
    }

    /// One that a caller named, which may be short.
    pub fn named(at: Instant) -> Self {
        Self { at, margin: TIME_LEFT_MIN.min(left(at) / 4) }
    }
}

impl Proposer {
    /// Starts the coalescer.
    pub fn start(raft: Raft, clock: Arc<LogClock>, pulse: Arc<Pulse>) -> Self {
        let queue = Arc::new(Queue::new());
        tokio::spawn(coalesce(raft, clock, pulse.clone(), Exit(queue.clone())));
        Self { entrance: Arc::new(Entrance(queue)), handed_in: Arc::default(), pulse }
    }

    /// Proposes one command and waits until it is applied, [`REQUEST_DEADLINE`] at most.
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        self.propose_by(command, Due::usual(Instant::now() + REQUEST_DEADLINE)).await
    }

    /// The same, and waits until `due` at most; a command that is not proposed by then never is (W6).
    pub async fn propose_by(&self, command: Command, due: Due) -> Result<Committed, ProposeError> {
        let Due { at: due, margin } = due;
        let (answer, applied) = oneshot::channel();
        // Encoded here, by each caller for itself, and never again on its way to the disks of a majority.
        let command = EncodedCommand::new(command);
        // One that came in before a pause was noticed is refused at the latest when its entry is made.
        let pauses = self.pulse.pauses();
        self.entrance.0.push(Pending { command, due, margin, pauses, answer })?;
        self.handed_in.fetch_add(1, Ordering::Relaxed);
        applied.await.unwrap_or_else(|_| Err(ProposeError::Unknown("the node is shutting down".into())))
    }

    /// Proposes a command of the node's own, without a key.
    pub async fn propose_op(&self, op: Op) -> Result<Committed, ProposeError> {
        self.propose(Command { key: None, op }).await
    }

    /// Commands ever handed in, by anybody.
    pub fn handed_in(&self) -> u64 {
        self.handed_in.load(Ordering::Relaxed)
    }

    /// Commands waiting for the coalescer.
    pub fn queued(&self) -> usize {
        self.entrance.0.len()
    }
}

async fn coalesce(raft: Raft, clock: Arc<LogClock>, pulse: Arc<Pulse>, exit: Exit) {
    let queue = &*exit.0;
    let (places, mut under_way) = watch::channel(UnderWay::default());
    'entries: loop {
        queue.until(1).await;
        if queue.is_over() {
            return;
        }
        // While the entry has to wait the queue fills, and the entry gets larger.
        loop {
            // All that waited were refused; what comes now begins anew, or it would go without a place.
            let Some(due) = queue.due() else { continue 'entries };
            let wanted = under_way.borrow_and_update().wanted();
            let enough = async {
                match wanted {
                    Some(count) => queue.until(count).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = enough => break,
                _ = under_way.changed() => {}
                () = sleep_until(due) => queue.refuse_expired(Instant::now()),
            }
        }
        let batch = still_wanted(queue.take(), pulse.beat());
        if batch.is_empty() {
            continue;
        }
        let place = Place::take(&places, batch.len());
        let (raft, clock) = (raft.clone(), clock.clone());
        tokio::spawn(async move {
            propose_entry(&raft, &clock, batch).await;
            drop(place);
        });
    }
}

/// Leaves out whose caller is gone, and refuses who is almost out of time, or waited while the node was paused: they
/// are told that nothing was proposed, rather than that nobody knows.
fn still_wanted(batch: Vec<Pending>, pauses: u64) -> Vec<Pending> {
    let now = Instant::now();
    let mut wanted = Vec::with_capacity(batch.len());
    for pending in batch {
        if pending.answer.is_closed() {
            continue;
        }
        if pending.pauses != pauses {
            let _ = pending.answer.send(Err(ProposeError::Paused));
        } else if pending.due <= now + pending.margin {
            pending.refuse();
        } else {
            wanted.push(pending);
        }
    }
    wanted
}

/// Proposes an entry and answers its commands, each by its time; returns once the entry's fate
/// is known, which may be later.
async fn propose_entry(raft: &Raft, clock: &LogClock, batch: Vec<Pending>) {
    let (commands, mut callers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|pending| (pending.command, Some((pending.due, pending.answer)))).unzip();
    // Without an anchor this node does not lead yet, or no longer: it proposes nothing (T2).
    let Some(anchor) = clock.anchor() else {
        return answer_all(callers, &ProposeError::NotLeader { leader: None });
    };
    let mut written = pin!(write(raft, Proposal::of(Some(anchor.stamp()), commands)));
    // In the order of the outcomes; who was answered already has left a gap.
    let written = loop {
        let Some(due) = callers.iter().flatten().map(|(due, _)| *due).min() else {
            // Nobody waits any more, but it is under way and keeps its place; its fate is nobody's news.
            drop(written.await);
            return;
        };
        match timeout_at(due, &mut written).await {
            Ok(written) => break written,
            Err(_) => {
                let late =
                    callers.iter_mut().filter(|caller| caller.as_ref().is_some_and(|(due, _)| *due <= Instant::now()));
                answer_all(
                    late.map(Option::take).collect(),
                    &ProposeError::Unknown("no majority confirmed it in time".into()),
                );
            }
        }
    };
    match written {
        Ok((log_index, outcomes)) => {
            for (caller, outcome) in callers.into_iter().zip(outcomes) {
                if let Some((_, answer)) = caller {
                    let _ = answer.send(Ok(Committed { log_index, outcome }));
                }
            }
        }
        Err(error) => answer_all(callers, &error),
    }
}

fn answer_all(callers: Vec<Option<(Instant, Answer)>>, error: &ProposeError) {
    for (_, answer) in callers.into_iter().flatten() {
        let _ = answer.send(Err(error.clone()));
    }
}

/// Proposes an entry that changes nothing, where all members take the digest of their state
/// (N3). Returns its log index.
pub async fn checkpoint(raft: &Raft) -> Result<u64, ProposeError> {
    match timeout(REQUEST_DEADLINE, write(raft, Proposal::checkpoint())).await {
        Ok(written) => written.map(|(log_index, _)| log_index),
        Err(_) => Err(ProposeError::Unknown("no majority confirmed it in time".into())),
    }
}

/// Gives one entry to Raft and waits until it is applied.
pub async fn write(raft: &Raft, proposal: Proposal) -> Result<(u64, Vec<Outcome>), ProposeError> {
    match raft.client_write(proposal).await {
        Ok(response) => Ok((response.log_id.index, response.data.0)),
        Err(error) => Err(classify(error)),
    }
}

/// openraft tells a proposal it refused from an entry it lost: only the first is definite.
fn classify(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            ProposeError::NotLeader { leader: to.leader_id.zip(to.leader_node) }
        }
        RaftError::APIError(error) => ProposeError::Unknown(error.to_string()),
        RaftError::Fatal(fatal) => ProposeError::Storage(fatal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use raft_store::catalog::SetReplicas;

    use super::*;

    fn pending(due: Instant, pauses: u64) -> (Pending, oneshot::Receiver<Result<Committed, ProposeError>>) {
        let (answer, answered) = oneshot::channel();
        let command = EncodedCommand::new(Command { key: None, op: SetReplicas { replicas: 2 }.into() });
        (Pending { command, due, margin: TIME_LEFT_MIN, pauses, answer }, answered)
    }

    /// W6: nothing that waited through a pause, or is about to be given up, is proposed; its
    /// caller hears that it was not.
    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_or_through_a_pause_is_refused() {
        let later = Instant::now() + REQUEST_DEADLINE;
        let (in_time, mut proposed) = pending(later, 3);
        let (late, mut expired) = pending(Instant::now() + TIME_LEFT_MIN, 3);
        let (before_the_pause, mut paused) = pending(later, 2);
        let (gone, caller) = pending(later, 3);
        drop(caller);
        let wanted = still_wanted(vec![before_the_pause, in_time, late, gone], 3);
        assert!(wanted.len() == 1 && proposed.try_recv().is_err());
        assert!(matches!(expired.try_recv(), Ok(Err(ProposeError::Expired))));
        assert!(matches!(paused.try_recv(), Ok(Err(ProposeError::Paused))));
    }
}
