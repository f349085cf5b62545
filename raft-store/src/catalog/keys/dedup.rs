//! Exactly once: a command with a key is applied if the key is new, and otherwise answered from the idempotency table
//! (X1).
//!
//! Invariant: a command whose key has an answer changes nothing. The one exception is a waiter's key: its command is
//! applied again until it is granted (L5).

use super::answers::{Admission, Answer, KeyForm, SESSION_RETENTION_MS};
use crate::catalog::command::{Command, CommandId, KeyTag};
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::{Outcome, Reply};
use crate::catalog::state::{Catalog, Due};
use crate::catalog::tables::slab::Id;
use crate::types::{PeerId, limits};

impl Catalog {
    /// Runs one command of an entry.
    pub(in crate::catalog) fn run(&mut self, at: CommandId, command: &Command) -> Outcome {
        self.sequence += 1;
        let (Some(owner), Some(tag)) = (command.op.peer(), &command.key) else {
            return Outcome { result: command.op.apply(self, at), replayed: false };
        };
        let limits = self.limits;
        // One lookup is enough: applying a command neither adds nor removes owners.
        let (slot, registered) = self.keys_of(owner);
        match self.answers.admit(slot, tag, &limits) {
            Admission::New | Admission::Waiting => {
                let result = command.op.apply(self, at);
                // Unregistered peers have no answers: one client could fill the table under any number of ids (X5).
                let registered = registered || result.as_ref().is_ok_and(Reply::registers);
                if registered && result.as_ref().err().is_none_or(Rejection::is_remembered) {
                    self.remember((owner, slot), tag, Answer::new(tag.body, &result));
                } else {
                    self.answers.raise_floor(slot, tag);
                }
                Outcome { result, replayed: false }
            }
            Admission::Seen(Ok(Reply::Granted(grant))) => Outcome { result: self.refresh(grant), replayed: true },
            Admission::Seen(result) => Outcome { result, replayed: true },
            Admission::Refused(rejection) => Outcome { result: Err(rejection), replayed: false },
        }
    }

    /// The slot of a peer's keys, if it has any, and whether the peer is registered. The peer's sets cache the slot:
    /// applying a command looks the peer up anyway, and this saves a second search for its keys.
    fn keys_of(&mut self, owner: &PeerId) -> (Option<Id>, bool) {
        let Some(peer) = self.peer_slot(owner) else { return (self.answers.owners.slot(owner), false) };
        let forgotten = self.answers.owners.forgotten();
        if let Some((slot, then)) = self.sets(peer).keys
            && then == forgotten
        {
            return (Some(slot), true);
        }
        let Some(slot) = self.answers.owners.slot(owner) else { return (None, true) };
        self.sets_mut(peer).keys = Some((slot, forgotten));
        (Some(slot), true)
    }

    fn remember(&mut self, (owner, slot): (&PeerId, Option<Id>), tag: &KeyTag, answer: Answer) {
        match KeyForm::of(&tag.key) {
            KeyForm::Session { session, sequence } => {
                let due = self.deadline_in(SESSION_RETENTION_MS);
                if self.answers.put_session((owner, slot), (session, sequence), tag, (self.clock, due), answer) {
                    self.due.insert(due, Due::Session { owner: owner.clone(), session: session.into() });
                }
            }
            KeyForm::Opaque => {
                let due = self.deadline_in(limits::KEY_RETENTION_MS);
                let (key, before) = self.answers.put_opaque(owner, tag, due, answer);
                if let Some(before) = before {
                    self.due.remove(&before);
                }
                self.due.insert(due, Due::OpaqueKey { owner: owner.clone(), key });
                let kept = self.limits.opaque_keys_per_peer as usize;
                if let Some(forgotten) = self.answers.evict_opaque(owner, kept) {
                    self.due.remove(&forgotten);
                }
            }
        }
    }

    /// Forgets one chunk of an opaque key that is old enough (X2), and the key with its last chunk.
    pub(in crate::catalog) fn forget_opaque_piece(&mut self, owner: &PeerId, key: &str) {
        let Some(keys) = self.answers.owners.get_mut(owner) else { return };
        let Some(known) = keys.opaque.get_mut(key) else { return };
        let due = known.due;
        if let Some((_, answer)) = known.chunks.pop_last() {
            self.answers.txns.forgotten(&answer);
            keys.answers -= 1;
            self.answers.total -= 1;
        }
        if known.chunks.is_empty() {
            let first_used = known.first_used;
            keys.opaque.remove(key);
            keys.order.remove(&first_used);
            self.due.remove(&due);
            self.answers.owners.remove_if_empty(owner);
        }
    }

    /// Forgets one answer of an idle session, and the session with its last answer. A session that was used is checked
    /// again later.
    ///
    /// The floor rises above what is forgotten, so that a session that returns midway applies nothing twice.
    pub(in crate::catalog) fn forget_session_piece(&mut self, owner: &PeerId, session: &str) {
        let now = self.clock;
        let Some(keys) = self.answers.owners.get_mut(owner) else { return };
        let Some(known) = keys.sessions.get_mut(session) else { return };
        let before = known.due;
        let idle_at = known.used.saturating_add(SESSION_RETENTION_MS);
        if idle_at > now {
            self.positions += 1;
            known.due.at = idle_at;
            known.due.position = self.positions;
            let due = known.due;
            self.due.remove(&before);
            self.due.insert(due, Due::Session { owner: owner.clone(), session: session.into() });
            return;
        }
        if let Some(((sequence, _), answer)) = known.answers.pop_first() {
            self.answers.txns.forgotten(&answer);
            known.floor = known.floor.max(sequence.saturating_add(1));
            keys.answers -= 1;
            self.answers.total -= 1;
        }
        if known.answers.is_empty() {
            keys.sessions.remove(session);
            self.due.remove(&before);
            self.answers.owners.remove_if_empty(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Batch, Listing, Stamp, check, tests::fixtures};
    use crate::types::ContentHash;

    /// Registers a peer under a key; returns whether the answer was a remembered one.
    fn register(catalog: &mut Catalog, at: u64, peer: &str, key: &str) -> bool {
        let key = Some(KeyTag { key: key.into(), chunk: 0, floor: None, body: ContentHash([1; 32]) });
        let commands = vec![Command { key, op: fixtures::register(peer, Listing::Whole(Vec::new())) }];
        let mut applied = catalog.apply(fixtures::entry(at), &Batch { stamp: Some(Stamp { term: 1, at }), commands });
        check(catalog).expect("invariants");
        let outcome = applied.replies.pop().expect("one command");
        assert!(outcome.result.is_ok(), "{outcome:?}");
        outcome.replayed
    }

    #[test]
    fn a_peer_whose_keys_were_forgotten_is_not_given_anothers() {
        let mut catalog = Catalog::default();
        register(&mut catalog, 1, "a", "first");
        assert!(register(&mut catalog, 2, "a", "first"), "its keys are known");
        // The slot of the forgotten keys passes to another peer.
        let later = 2 + limits::KEY_RETENTION_MS;
        register(&mut catalog, later, "b", "same");
        assert!(catalog.answers.owners.slot(&fixtures::peer("a")).is_none(), "forgotten");
        assert!(!register(&mut catalog, later, "a", "same"), "its own key was never used");
        assert!(register(&mut catalog, later, "a", "same"));
    }
}
