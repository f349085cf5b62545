//! Commands that wait to become part of an entry.
//!
//! Invariants
//! * There are [`QUEUE_COMMANDS_MAX`] at most, in the order in which they were queued.
//! * The batching task is woken when there are as many commands as it waits for, or enough bytes for an entry. Under
//!   load that is once per entry, not once per command. A channel would wake it for each command, which cost more than
//!   queueing it.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::proposal::EncodedCommand;
use raft_store::types::limits;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Committed, ProposeError};

/// Commands that may wait for the coalescer; beyond it a write is refused as `overloaded`.
pub const QUEUE_COMMANDS_MAX: usize = 8_192;

/// The channel on which a caller waits for its answer.
pub(super) type Answer = oneshot::Sender<Result<Committed, ProposeError>>;

/// A command and its caller.
pub(super) struct Pending {
    pub(super) command: EncodedCommand,
    /// The latest moment at which its caller is answered.
    pub(super) due: Instant,
    /// How much time it must have left when it is proposed; with less its caller would hardly hear the outcome.
    pub(super) margin: Duration,
    /// How many pauses the node had had when the command came (W6).
    pub(super) pauses: u64,
    pub(super) answer: Answer,
}

impl Pending {
    /// Answers that it was not proposed.
    pub(super) fn refuse(self) {
        let _ = self.answer.send(Err(ProposeError::Expired));
    }
}

/// See the module.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Notified when there are as many commands as [`Waiting::wake_at`] says, and when the queue is closed.
    ready: Notify,
}

struct Waiting {
    commands: VecDeque<Pending>,
    /// Bytes that the commands add to an entry.
    bytes: usize,
    /// How many commands the waiting task wants; nobody waits at [`usize::MAX`]. The number stays when that task stops
    /// waiting; if it is then woken in vain, it checks again.
    wake_at: usize,
    /// Whether each command is due no earlier than those before it. That is so unless callers name their own deadlines.
    in_order: bool,
    closed: bool,
}

impl Waiting {
    fn has(&self, count: usize) -> bool {
        self.closed || self.commands.len() >= count || self.bytes >= limits::ENTRY_BYTES_MAX
    }

    fn pop(&mut self) -> Option<Pending> {
        let first = self.commands.pop_front()?;
        self.bytes -= first.command.bytes();
        Some(first)
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        let waiting =
            Waiting { commands: VecDeque::new(), bytes: 0, wake_at: usize::MAX, in_order: true, closed: false };
        Self { waiting: Mutex::new(waiting), ready: Notify::new() }
    }

    /// Number of commands.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().commands.len()
    }

    /// Adds a command, unless there are too many or nobody takes them any more.
    pub(super) fn push(&self, pending: Pending) -> Result<(), ProposeError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.commands.len() >= QUEUE_COMMANDS_MAX {
            return Err(ProposeError::Overloaded);
        }
        let in_order = waiting.commands.back().is_none_or(|before| before.due <= pending.due);
        waiting.in_order = in_order && (waiting.in_order || waiting.commands.is_empty());
        waiting.bytes += pending.command.bytes();
        waiting.commands.push_back(pending);
        let wake = waiting.wake_at != usize::MAX && waiting.has(waiting.wake_at);
        if wake {
            waiting.wake_at = usize::MAX;
        }
        drop(waiting);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until there are so many commands, or as many bytes as fit into an entry, or nobody
    /// hands in any more. One caller at a time.
    pub(super) async fn until(&self, count: usize) {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if waiting.has(count) {
                    waiting.wake_at = usize::MAX;
                    return;
                }
                waiting.wake_at = count;
            }
            self.ready.notified().await;
        }
    }

    /// When the oldest command has to be answered.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.lock();
        match waiting.in_order {
            true => waiting.commands.front().map(|oldest| oldest.due),
            false => waiting.commands.iter().map(|pending| pending.due).min(),
        }
    }

    /// Refuses the commands whose time is over at that moment.
    pub(super) fn refuse_expired(&self, moment: Instant) {
        let mut expired = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            if waiting.in_order {
                while waiting.commands.front().is_some_and(|oldest| oldest.due <= moment) {
                    expired.extend(waiting.pop());
                }
            } else {
                let (over, left): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut waiting.commands).into_iter().partition(|one| one.due <= moment);
                (expired, waiting.commands) = (over, VecDeque::from(left));
                waiting.bytes = waiting.commands.iter().map(|pending| pending.command.bytes()).sum();
            }
        }
        expired.into_iter().for_each(Pending::refuse);
    }

    /// Takes the oldest commands, as many as fit into one entry.
    pub(super) fn take(&self) -> Vec<Pending> {
        let mut waiting = self.waiting.lock();
        let mut entry = Vec::with_capacity(waiting.commands.len().min(limits::ENTRY_COMMANDS_MAX));
        let mut bytes = 0;
        while let Some(next) = waiting.commands.front()
            && entry.len() < limits::ENTRY_COMMANDS_MAX
            && (entry.is_empty() || bytes + next.command.bytes() <= limits::ENTRY_BYTES_MAX)
        {
            bytes += next.command.bytes();
            entry.extend(waiting.pop());
        }
        entry
    }

    /// Takes no more commands.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.ready.notify_one();
    }

    /// True if no command is left and none will come.
    pub(super) fn is_over(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.closed && waiting.commands.is_empty()
    }

    /// Drops what waits, so that the callers hear that nobody took it.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = {
            let mut waiting = self.waiting.lock();
            waiting.bytes = 0;
            std::mem::take(&mut waiting.commands)
        };
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use raft_store::catalog::{Command, Listing, Op, Register};
    use raft_store::types::PeerId;

    use super::*;
    use crate::config::REQUEST_DEADLINE;
    use crate::sys::clock;

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
        let due = clock::now() + REQUEST_DEADLINE;
        Pending { command, due, margin: Duration::ZERO, pauses: 0, answer: oneshot::channel().0 }
    }

    fn filled(bytes: impl IntoIterator<Item = usize>) -> Queue {
        let queue = Queue::new();
        bytes.into_iter().for_each(|bytes| assert!(queue.push(pending(bytes)).is_ok()));
        queue
    }

    #[test]
    fn an_entry_takes_what_waits_up_to_its_limits() {
        let queue = filled(vec![1; limits::ENTRY_COMMANDS_MAX + 5]);
        assert_eq!((queue.take().len(), queue.len()), (limits::ENTRY_COMMANDS_MAX, 5));
        assert_eq!((queue.take().len(), queue.len()), (5, 0));
    }

    #[test]
    fn what_does_not_fit_goes_first_into_the_next_entry() {
        let queue = filled([limits::ENTRY_BYTES_MAX / 2, limits::ENTRY_BYTES_MAX, 1]);
        assert_eq!(queue.take().len(), 1);
        let too_large_for_any = queue.take();
        assert_eq!(too_large_for_any.len(), 1, "it goes alone, and whoever reads it decides");
        assert!(queue.take()[0].command.bytes() < 100 && queue.len() == 0);
    }

    #[test]
    fn who_takes_them_is_woken_once_there_are_enough() {
        let queue = filled([1, 1]);
        assert!(queue.until(2).now_or_never().is_some());
        let mut three = Box::pin(queue.until(3));
        assert!(three.as_mut().now_or_never().is_none());
        assert!(queue.push(pending(1)).is_ok());
        assert!(three.now_or_never().is_some());
        let mut many = Box::pin(queue.until(100));
        assert!(many.as_mut().now_or_never().is_none());
        assert!(queue.push(pending(limits::ENTRY_BYTES_MAX)).is_ok());
        assert!(many.now_or_never().is_some(), "an entry's worth of bytes");
    }

    #[test]
    fn there_is_a_limit() {
        let queue = filled(vec![1; QUEUE_COMMANDS_MAX]);
        assert!(queue.push(pending(1)).is_err());
        assert!(!queue.take().is_empty() && queue.push(pending(1)).is_ok());
    }

    #[test]
    fn whose_time_is_over_is_refused_and_nobody_else() {
        let queue = Queue::new();
        let (mut first, mut second) = (pending(1), pending(1));
        second.due += REQUEST_DEADLINE;
        let due = first.due;
        let (answer, mut refused) = oneshot::channel();
        first.answer = answer;
        let (answer, mut kept) = oneshot::channel();
        second.answer = answer;
        assert!(queue.push(first).is_ok() && queue.push(second).is_ok());
        assert_eq!(queue.due(), Some(due));
        queue.refuse_expired(due);
        assert!(matches!(refused.try_recv(), Ok(Err(ProposeError::Expired))));
        assert!(kept.try_recv().is_err() && queue.len() == 1);
    }

    #[test]
    fn a_caller_with_less_patience_is_refused_before_those_ahead_of_it() {
        let queue = filled([1, 1, 1]);
        let mut hasty = pending(1);
        hasty.due = clock::now();
        let due = hasty.due;
        let (answer, mut refused) = oneshot::channel();
        hasty.answer = answer;
        assert!(queue.push(hasty).is_ok() && queue.push(pending(1)).is_ok());
        assert_eq!(queue.due(), Some(due));
        queue.refuse_expired(due);
        assert!(matches!(refused.try_recv(), Ok(Err(ProposeError::Expired))));
        assert_eq!((queue.len(), queue.take().len()), (4, 4), "the others wait on");
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
        let queue = filled([1]);
        queue.close();
        assert!(queue.push(pending(1)).is_err() && !queue.is_over());
        assert!(queue.until(100).now_or_never().is_some());
        assert!(queue.take().len() == 1 && queue.is_over());
    }
}
