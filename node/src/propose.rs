//! The single write path: commands are coalesced into entries, stamped, and proposed; every outcome says whether it is
//! definite (W5).
//!
//! Handlers put commands into one bounded queue. One task drains it, builds an entry of at most
//! [`limits::ENTRY_COMMANDS_MAX`] commands and [`limits::ENTRY_BYTES_MAX`] bytes, and keeps a few proposals in flight, so
//! that one flush serves many writers. An entry waits for more only while others are under way. Time runs by the entry, with the
//! oldest of its commands: a timer for each command would cost as much as handing it in.
//!
//! Invariant: an entry is stamped with the anchor of the term it is proposed in, right before it is proposed (T2); and
//! an error is called definite only if Raft never took the entry.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use raft_store::catalog::{Command, Op, Outcome};
use raft_store::proposal::{EncodedCommand, Proposal};
use raft_store::raft::{Member, TypeConfig};
use raft_store::types::{NodeId, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock::LogClock;
use crate::config::REQUEST_DEADLINE;
use crate::node::Raft;

/// Commands that may wait for the coalescer; beyond it a write is refused as `overloaded`.
pub const QUEUE_COMMANDS_MAX: usize = 8_192;
/// Entries proposed and not yet applied.
const PROPOSALS_IN_FLIGHT: usize = 4;
/// Of these, entries that went out although there was room in them. While so many are under way the next one waits for more
/// commands: each entry costs every voter a flush and the leader several hundred microseconds, whatever is in it.
const PARTIAL_IN_FLIGHT: usize = 2;

/// Time that a command has left when it is proposed; with less its caller would hardly hear what became of it.
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
    /// Unknown: the entry was given to Raft, and its fate is not known here.
    #[error("the write was proposed, and its outcome is not known: {0}")]
    Unknown(String),
    /// Unknown: the node's storage failed while the write was under way (W4).
    #[error("the node's storage failed: {0}")]
    Storage(String),
}

type Answer = oneshot::Sender<Result<Committed, ProposeError>>;

struct Pending {
    command: EncodedCommand,
    /// When its caller is answered at the latest.
    due: Instant,
    answer: Answer,
}

impl Pending {
    /// Answers that it was not proposed.
    fn refuse(self) {
        let _ = self.answer.send(Err(ProposeError::Expired));
    }
}

/// The entrance of the write path; cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Pending>,
    /// Commands ever handed in.
    handed_in: Arc<AtomicU64>,
}

impl Proposer {
    /// Starts the coalescer.
    pub fn start(raft: Raft, clock: Arc<LogClock>) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
        tokio::spawn(coalesce(raft, clock, commands));
        Self { queue, handed_in: Arc::default() }
    }

    /// Proposes one command and waits until it is applied, [`REQUEST_DEADLINE`] at most.
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        let (answer, applied) = oneshot::channel();
        // Encoded here, by each caller for itself, and never again on its way to the disks of a majority.
        let command = EncodedCommand::new(command);
        let due = Instant::now() + REQUEST_DEADLINE;
        self.queue.try_send(Pending { command, due, answer }).map_err(|_| ProposeError::Overloaded)?;
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
        QUEUE_COMMANDS_MAX - self.queue.capacity()
    }
}

/// An entry that is being put together.
struct Filling {
    batch: Vec<Pending>,
    bytes: usize,
    /// Did not fit in any more.
    held_over: Option<Pending>,
}

impl Filling {
    fn new(first: Pending) -> Self {
        let bytes = first.command.bytes();
        let mut batch = Vec::with_capacity(limits::ENTRY_COMMANDS_MAX);
        batch.push(first);
        Self { batch, bytes, held_over: None }
    }

    /// When its oldest command has to be answered.
    fn due(&self) -> Option<Instant> {
        self.batch.first().map(|oldest| oldest.due)
    }

    /// Refuses the commands whose time is over at that moment.
    fn refuse_expired(&mut self, moment: Instant) {
        let kept = self.batch.iter().position(|pending| pending.due > moment).unwrap_or(self.batch.len());
        for pending in self.batch.drain(..kept) {
            self.bytes -= pending.command.bytes();
            pending.refuse();
        }
    }

    fn is_full(&self) -> bool {
        self.held_over.is_some() || self.batch.len() >= limits::ENTRY_COMMANDS_MAX
    }

    fn add(&mut self, next: Pending) {
        if self.bytes + next.command.bytes() > limits::ENTRY_BYTES_MAX {
            self.held_over = Some(next);
        } else {
            self.bytes += next.command.bytes();
            self.batch.push(next);
        }
    }

    /// Takes what is waiting, as far as it fits.
    fn take(&mut self, commands: &mut mpsc::Receiver<Pending>) {
        while !self.is_full()
            && let Ok(next) = commands.try_recv()
        {
            self.add(next);
        }
    }
}

async fn coalesce(raft: Raft, clock: Arc<LogClock>, mut commands: mpsc::Receiver<Pending>) {
    let places = Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT));
    let partial_places = Arc::new(Semaphore::new(PARTIAL_IN_FLIGHT));
    let mut held_over = None;
    loop {
        let first = match held_over.take() {
            Some(pending) => pending,
            None => match commands.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        // While all places are taken the queue fills, and the next entry gets larger. Who is behind in it is due later.
        let place = tokio::select! {
            biased;
            place = places.clone().acquire_owned() => place,
            () = sleep_until(first.due) => {
                first.refuse();
                continue;
            }
        };
        let Ok(place) = place else { return };
        let mut entry = Filling::new(first);
        let partial_place = loop {
            entry.take(&mut commands);
            let Some(due) = entry.due().filter(|_| !entry.is_full()) else { break None };
            tokio::select! {
                biased;
                Ok(place) = partial_places.clone().acquire_owned() => break Some(place),
                Some(next) = commands.recv() => entry.add(next),
                () = sleep_until(due) => entry.refuse_expired(Instant::now()),
            }
        };
        // Who is almost out of time is told that nothing was proposed, rather than that nobody knows.
        entry.refuse_expired(Instant::now() + TIME_LEFT_MIN);
        held_over = entry.held_over;
        let mut batch = entry.batch;
        batch.retain(|pending| !pending.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let (raft, clock) = (raft.clone(), clock.clone());
        tokio::spawn(async move {
            propose_entry(&raft, &clock, batch).await;
            drop((place, partial_place));
        });
    }
}

/// Proposes an entry and answers its commands, each by its time; returns once the entry's fate is known, which may be later.
async fn propose_entry(raft: &Raft, clock: &LogClock, batch: Vec<Pending>) {
    let (commands, mut callers): (Vec<_>, VecDeque<_>) =
        batch.into_iter().map(|pending| (pending.command, (pending.due, pending.answer))).unzip();
    // Without an anchor this node does not lead yet, or no longer: it proposes nothing (T2).
    let Some(anchor) = clock.anchor() else {
        return answer_all(callers, &ProposeError::NotLeader { leader: None });
    };
    let mut written = pin!(write(raft, Proposal::of(Some(anchor.stamp()), commands)));
    let mut given_up = 0;
    let written = loop {
        let Some((due, _)) = callers.front() else {
            // Nobody waits any more, but it is under way and keeps its place; its fate is nobody's news.
            drop(written.await);
            return;
        };
        match timeout_at(*due, &mut written).await {
            Ok(written) => break written,
            Err(_) => {
                let late = callers.iter().take_while(|(due, _)| *due <= Instant::now()).count();
                given_up += late;
                let late = callers.drain(..late).collect();
                answer_all(late, &ProposeError::Unknown("no majority confirmed it in time".into()));
            }
        }
    };
    match written {
        Ok((log_index, outcomes)) => {
            for ((_, answer), outcome) in callers.into_iter().zip(outcomes.into_iter().skip(given_up)) {
                let _ = answer.send(Ok(Committed { log_index, outcome }));
            }
        }
        Err(error) => answer_all(callers, &error),
    }
}

fn answer_all(callers: VecDeque<(Instant, Answer)>, error: &ProposeError) {
    for (_, answer) in callers {
        let _ = answer.send(Err(error.clone()));
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
    use raft_store::catalog::{Listing, Register};
    use raft_store::types::PeerId;

    use super::*;

    /// A registration of so many bytes or a few more.
    fn pending(bytes: usize) -> Pending {
        let register = Register {
            peer: PeerId::parse("p").expect("a valid id"),
            address: "a".repeat(bytes),
            zone: None,
            capacity_bytes: None,
            serving: true,
            listing: Listing::Whole(Vec::new()),
        };
        let command = EncodedCommand::new(Command { key: None, op: Op::Register(register) });
        Pending { command, due: Instant::now() + REQUEST_DEADLINE, answer: oneshot::channel().0 }
    }

    #[test]
    fn an_entry_takes_what_waits_up_to_its_limits() {
        let (queue, mut commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
        for _ in 0..limits::ENTRY_COMMANDS_MAX + 5 {
            assert!(queue.try_send(pending(1)).is_ok());
        }
        let mut entry = Filling::new(pending(1));
        entry.take(&mut commands);
        assert!(entry.is_full() && entry.held_over.is_none());
        assert_eq!((entry.batch.len(), commands.len()), (limits::ENTRY_COMMANDS_MAX, 6));
    }

    #[test]
    fn what_does_not_fit_goes_first_into_the_next_entry() {
        let (queue, mut commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
        for bytes in [limits::ENTRY_BYTES_MAX / 2, limits::ENTRY_BYTES_MAX, 1] {
            assert!(queue.try_send(pending(bytes)).is_ok());
        }
        let mut entry = Filling::new(pending(1));
        entry.take(&mut commands);
        assert_eq!((entry.batch.len(), commands.len()), (2, 1));
        let held_over = entry.held_over.expect("too large for this entry");
        let mut next = Filling::new(held_over);
        next.take(&mut commands);
        assert!(next.is_full() && next.held_over.is_some_and(|last| last.command.bytes() < 100));
    }

    #[test]
    fn whose_time_is_over_is_refused_and_nobody_else() {
        let mut entry = Filling::new(pending(1));
        let (answer, mut refused) = oneshot::channel();
        entry.batch[0].answer = answer;
        let (answer, mut kept) = oneshot::channel();
        entry.add(pending(1));
        entry.batch[1].answer = answer;
        entry.batch[1].due += REQUEST_DEADLINE;
        entry.refuse_expired(entry.batch[0].due);
        assert!(matches!(refused.try_recv(), Ok(Err(ProposeError::Expired))));
        assert!(kept.try_recv().is_err() && entry.batch.len() == 1);
        assert_eq!(entry.bytes, entry.batch[0].command.bytes());
    }
}
