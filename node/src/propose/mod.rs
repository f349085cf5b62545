//! The single write path. Commands are coalesced into entries, stamped, and proposed. Every outcome says whether it is
//! definite (W5).
//!
//! Handlers put commands into one bounded queue. One task drains it, builds an entry of at most
//! `limits::ENTRY_COMMANDS_MAX` commands and `limits::ENTRY_BYTES_MAX` bytes, and keeps a few proposals in flight, so
//! that one flush serves many writers. An entry waits for more commands only while others are in flight. Each entry has
//! one timer, for its oldest command: a timer per command would cost as much as queueing it.
//!
//! Invariant: an entry is stamped right before it is proposed, with the anchor of the term it is proposed in (T2). An
//! error is called definite only if Raft never accepted the entry.

pub mod cut;
mod in_flight;
mod log_clock;
mod queue;

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

use self::in_flight::{InFlight, UnderWay};
pub use self::log_clock::{Anchor, LogClock};
pub use self::queue::QUEUE_COMMANDS_MAX;
use self::queue::{Answer, Pending, Queue};
use crate::config::REQUEST_DEADLINE;
use crate::deadline::left;
use crate::raft::Raft;
use crate::sys::clock;
use crate::sys::pulse::Pulse;

/// A command is proposed only if it has this much time left, or a quarter of its time if that is less. Otherwise its
/// caller would hardly hear the outcome.
const TIME_LEFT_MIN: Duration = Duration::from_millis(250);

/// The outcome of a command that was applied.
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

/// Ends the coalescer when the last handle to it is dropped.
struct Entrance(Arc<Queue>);

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Refuses whatever still waits when the coalescer ends.
struct Exit(Arc<Queue>);

impl Drop for Exit {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The latest moment at which a command is answered, and how much time it must have left when it is proposed.
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

    /// A deadline that a caller named, which may be short.
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
        self.propose_by(command, Due::usual(clock::now() + REQUEST_DEADLINE)).await
    }

    /// The same, and waits until `due` at most; a command that is not proposed by then never is (W6).
    pub async fn propose_by(&self, command: Command, due: Due) -> Result<Committed, ProposeError> {
        let Due { at: due, margin } = due;
        let (answer, applied) = oneshot::channel();
        // Encoded here, by each caller for itself, and never again on the way to the disks of a majority.
        let command = EncodedCommand::new(command);
        // A command that came in before a pause was noticed is refused when its entry is made, if not earlier.
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
    let (entries, mut under_way) = watch::channel(UnderWay::default());
    'entries: loop {
        queue.until(1).await;
        if queue.is_over() {
            return;
        }
        // While the entry has to wait the queue fills, and the entry gets larger.
        loop {
            // Everything that waited was refused. Start over, so that the next command is counted before it is
            // proposed.
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
                () = sleep_until(due) => queue.refuse_expired(clock::now()),
            }
        }
        let batch = still_wanted(queue.take(), pulse.beat());
        if batch.is_empty() {
            continue;
        }
        let in_flight = InFlight::take(&entries, batch.len());
        let (raft, clock) = (raft.clone(), clock.clone());
        tokio::spawn(async move {
            propose_entry(&raft, &clock, batch).await;
            drop(in_flight);
        });
    }
}

/// Drops commands whose caller is gone, and refuses those that are almost out of time or waited while the node was
/// paused. Their callers hear that nothing was proposed, rather than that the outcome is unknown.
fn still_wanted(batch: Vec<Pending>, pauses: u64) -> Vec<Pending> {
    let now = clock::now();
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

/// Proposes an entry and answers each of its commands in time. Returns once the outcome of the entry is known, which
/// may be later.
async fn propose_entry(raft: &Raft, clock: &LogClock, batch: Vec<Pending>) {
    let (commands, mut callers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|pending| (pending.command, Some((pending.due, pending.answer)))).unzip();
    // Without an anchor this node does not lead yet, or no longer: it proposes nothing (T2).
    let Some(anchor) = clock.anchor() else {
        return answer_all(callers, &ProposeError::NotLeader { leader: None });
    };
    let mut written = pin!(write(raft, Proposal::of(Some(anchor.stamp()), commands)));
    // In the order of the outcomes; a caller that was answered already has left a gap.
    let written = loop {
        let Some(due) = callers.iter().flatten().map(|(due, _)| *due).min() else {
            // Nobody waits any more, but the entry is in flight and still counts.
            drop(written.await);
            return;
        };
        match timeout_at(due, &mut written).await {
            Ok(written) => break written,
            Err(_) => {
                let late =
                    callers.iter_mut().filter(|caller| caller.as_ref().is_some_and(|(due, _)| *due <= clock::now()));
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

/// openraft distinguishes a proposal that it refused from an entry that it lost. Only the first is definite.
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
        let later = clock::now() + REQUEST_DEADLINE;
        let (in_time, mut proposed) = pending(later, 3);
        let (late, mut expired) = pending(clock::now() + TIME_LEFT_MIN, 3);
        let (before_the_pause, mut paused) = pending(later, 2);
        let (gone, caller) = pending(later, 3);
        drop(caller);
        let wanted = still_wanted(vec![before_the_pause, in_time, late, gone], 3);
        assert!(wanted.len() == 1 && proposed.try_recv().is_err());
        assert!(matches!(expired.try_recv(), Ok(Err(ProposeError::Expired))));
        assert!(matches!(paused.try_recv(), Ok(Err(ProposeError::Paused))));
    }
}
