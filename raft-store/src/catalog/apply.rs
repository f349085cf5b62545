//! Applying an entry: clock, clean-up, then the commands in order (T1, D1).
//!
//! Invariant: the result depends on the entry and the state alone.

use super::command::{Batch, Op};
use super::reply::{Applied, Event, Rejection, Reply};
use super::state::Catalog;

/// Events that most commands cause at most: a lease ends with a version, or a copy comes with it.
const EVENTS_PER_COMMAND: usize = 2;

impl Catalog {
    /// Applies one log entry: moves the clock, ends what is over, then runs the commands in order.
    ///
    /// `entry_term` is the term of the entry's own log id (T2).
    pub fn apply(&mut self, entry_term: u64, batch: &Batch) -> Applied {
        self.move_clock(entry_term, batch.stamp);
        self.clean_up();
        self.events.reserve(EVENTS_PER_COMMAND * batch.commands.len());
        let replies = batch.commands.iter().map(|command| self.run(entry_term, command)).collect();
        Applied { replies, events: std::mem::take(&mut self.events) }
    }

    /// Applies one operation, whatever its key.
    pub(super) fn execute(&mut self, entry_term: u64, op: &Op) -> Result<Reply, Rejection> {
        let result = match op {
            Op::Register(register) => return self.register(register),
            Op::Announce(announce) => self.announce(announce),
            Op::AnnounceMany { peer, files } => self.announce_many(peer, files),
            Op::Acquire { peer, file, ttl_ms, wait, token } => self.acquire(peer, file, *ttl_ms, *wait, *token),
            Op::Renew { peer, file, token, ttl_ms } => self.renew(peer, file, token, *ttl_ms),
            Op::Release { peer, file, token } => self.release(peer, file, token),
            Op::Leave { peer, file } => self.leave(peer, file),
            Op::Delete { peer, file, everywhere, token } => self.delete(peer, file, *everywhere, token.as_ref()),
            Op::ExpirePeer { peer, incarnation, term } => {
                if *term == entry_term {
                    self.expire_peer(peer, *incarnation);
                }
                return Ok(Reply::Done);
            }
            Op::DropWaiter { peer, file, ticket, term } => {
                if *term == entry_term {
                    self.drop_waiter(peer, file, *ticket);
                }
                return Ok(Reply::Done);
            }
            Op::SetReplicas { replicas } => {
                self.set_replicas((*replicas).max(1));
                return Ok(Reply::Done);
            }
        };
        if result.is_ok()
            && let Some(peer) = op.peer()
        {
            self.sign_of_life(peer);
        }
        result
    }

    fn set_replicas(&mut self, replicas: u32) {
        if std::mem::replace(&mut self.replicas, replicas) != replicas {
            self.emit(Event::ReplicasSet { replicas });
        }
    }
}
