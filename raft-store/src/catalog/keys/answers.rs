//! The idempotency table: what each idempotency key was answered (X1, X2, X4, X5).
//!
//! Invariant: an answer leaves the table only because its session's floor passed it, because its key is opaque and old,
//! or because its whole session was idle for [`SESSION_RETENTION_MS`]; never to make room. The table knows peers by
//! their ids alone, so that their expiry does not touch it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::owners::Owners;
use crate::catalog::command::KeyTag;
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::Reply;
use crate::catalog::state::{Deadline, Limits};
use crate::catalog::tables::slab::Id;
use crate::catalog::tables::small_map::SmallMap;
use crate::types::{ContentHash, PeerId};

/// How long a session's answers are kept after its last new key, in milliseconds of log time. Every session leaves its
/// last answer above its floor; without an end they would fill the table. A library retries for 5 minutes at most (X3).
pub(in crate::catalog) const SESSION_RETENTION_MS: u64 = 24 * 60 * 60 * 1_000;

/// Bytes of an encoded answer that need no memory of their own: enough for most.
const INLINE_RESULT_BYTES: usize = 16;

/// Everything remembered, by the peer that asked. Every level is copied on write, in parts: however many answers there
/// are, a snapshot shares them, and the next key of a peer copies a few hundred of them at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Answers {
    pub(in crate::catalog) owners: Owners,
    /// Answers in all owners' tables.
    #[serde(skip)]
    pub(in crate::catalog) total: u64,
}

/// Keys of the form `session:sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Session {
    /// Sequences below it are settled.
    pub(in crate::catalog) floor: u64,
    /// When the session's last key was new.
    pub(in crate::catalog) used: u64,
    /// When to look whether it is idle; moved only then.
    pub(in crate::catalog) due: Deadline,
    /// By sequence and chunk (X4).
    pub(in crate::catalog) answers: SmallMap<(u64, u32), Answer, 1>,
}

/// A key of any other form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct OpaqueKey {
    /// Position of its first use; greater for newer keys.
    pub(in crate::catalog) first_used: u64,
    pub(in crate::catalog) due: Deadline,
    pub(in crate::catalog) chunks: SmallMap<u32, Answer, 1>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Answer {
    /// Tells another request under the same key (X1).
    pub(in crate::catalog) body: ContentHash,
    /// The encoded result; empty for plain success, the most frequent one.
    result: SmallVec<[u8; INLINE_RESULT_BYTES]>,
}

/// Where a key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum KeyForm<'a> {
    Session { session: &'a str, sequence: u64 },
    Opaque,
}

/// What the table says about a key.
#[derive(Debug)]
pub(in crate::catalog) enum Admission {
    /// Not seen: apply the command and remember the answer.
    New,
    /// Seen, and its peer waits in line since: apply it again (L5).
    Waiting,
    /// Seen: this was the answer.
    Seen(Result<Reply, Rejection>),
    /// Not to be applied.
    Refused(Rejection),
}

impl Answer {
    pub(in crate::catalog) fn new(body: ContentHash, result: &Result<Reply, Rejection>) -> Self {
        let result = match result {
            Ok(Reply::Done) => SmallVec::new(),
            result => postcard::to_extend(result, SmallVec::new()).expect("plain values have an encoding"),
        };
        Self { body, result }
    }

    /// The answer; `None` only for bytes that [`Answer::new`] did not make, which `decode` refuses.
    pub(in crate::catalog) fn result(&self) -> Option<Result<Reply, Rejection>> {
        if self.result.is_empty() {
            return Some(Ok(Reply::Done));
        }
        postcard::from_bytes(&self.result).ok()
    }
}

impl<'a> KeyForm<'a> {
    /// `session:sequence` with a canonical decimal sequence; so that no two keys mean the same one.
    pub(in crate::catalog) fn of(key: &'a str) -> Self {
        if let Some((session, digits)) = key.rsplit_once(':')
            && (digits == "0" || !digits.starts_with(['0', '+']))
            && let Ok(sequence) = digits.parse()
        {
            return KeyForm::Session { session, sequence };
        }
        KeyForm::Opaque
    }
}

impl Session {
    /// Forgets what is below a floor; answers how many that were.
    fn raise_floor(&mut self, floor: u64) -> u64 {
        let mut settled = 0;
        if floor > self.floor {
            self.floor = floor;
            while self.answers.first_key_value().is_some_and(|((sequence, _), _)| *sequence < floor) {
                self.answers.pop_first();
                settled += 1;
            }
        }
        settled
    }
}

impl Answers {
    /// Decides whether the command is to be applied; the owner is known by its slot, if it has one.
    ///
    /// A session's floor rises to what the key states: here, or if the command is to be applied, with its answer
    /// ([`Answers::put_session`]), or instead of one ([`Answers::raise_floor`]).
    ///
    /// Reads only, for the usual case that a key is new: each change would have to ask first whether a snapshot
    /// shares what it changes, all the way down.
    pub(in crate::catalog) fn admit(&mut self, owner: Option<Id>, tag: &KeyTag, limits: &Limits) -> Admission {
        let keys = owner.map(|slot| self.owners.get_at(slot));
        let known = match KeyForm::of(&tag.key) {
            KeyForm::Session { session, sequence } => {
                let known = keys.and_then(|keys| keys.sessions.get(session));
                let floor = known.map_or(0, |known| known.floor).max(tag.floor.unwrap_or(0));
                if sequence < floor {
                    self.raise_floor(owner, tag);
                    return Admission::Refused(Rejection::KeyExpired);
                }
                known.and_then(|known| known.answers.get(&(sequence, tag.chunk)))
            }
            KeyForm::Opaque => {
                let known = keys.and_then(|keys| keys.opaque.get(tag.key.as_str()));
                known.and_then(|known| known.chunks.get(&tag.chunk))
            }
        };
        let Some(answer) = known else {
            if self.is_full(owner, limits).is_some() {
                self.raise_floor(owner, tag);
            }
            return match self.is_full(owner, limits) {
                Some(what) => Admission::Refused(Rejection::Overloaded { what }),
                None => Admission::New,
            };
        };
        let admission = if answer.body != tag.body {
            Admission::Refused(Rejection::KeyReused)
        } else {
            match answer.result() {
                Some(Ok(Reply::Denied { position: Some(_), .. })) => return Admission::Waiting,
                Some(result) => Admission::Seen(result),
                None => return Admission::New,
            }
        };
        self.raise_floor(owner, tag);
        admission
    }

    /// Why there is no room for another answer of this owner, if there is none (X5).
    fn is_full(&self, owner: Option<Id>, limits: &Limits) -> Option<String> {
        if self.total >= limits.answers {
            return Some(format!("it remembers {} answers already", limits.answers));
        }
        let own = owner.map_or(0, |slot| self.owners.get_at(slot).answers);
        (own >= limits.answers_per_peer).then(|| {
            format!(
                "it remembers {} answers to this peer already; state with Idempotency-Floor which ones are settled",
                limits.answers_per_peer
            )
        })
    }

    /// Forgets what a known session's key says is settled.
    pub(in crate::catalog) fn raise_floor(&mut self, owner: Option<Id>, tag: &KeyTag) {
        if let (KeyForm::Session { session, .. }, Some(floor)) = (KeyForm::of(&tag.key), tag.floor)
            && let Some(slot) = owner
        {
            let keys = self.owners.get_mut_at(slot);
            let settled = keys.sessions.get_mut(session).map_or(0, |known| known.raise_floor(floor));
            keys.answers -= settled;
            self.total -= settled;
        }
    }

    /// Raises a session's floor to what the key states, and stores its answer. The owner comes with its slot, if it has
    /// one; `due` is the deadline of a session that is new.
    ///
    /// Returns true if the session is new, so that `due` has to be watched.
    pub(in crate::catalog) fn put_session(
        &mut self,
        (owner, slot): (&PeerId, Option<Id>),
        (session, sequence): (&str, u64),
        tag: &KeyTag,
        (now, due): (u64, Deadline),
        answer: Answer,
    ) -> bool {
        let keys = match slot {
            Some(slot) => self.owners.get_mut_at(slot),
            None => self.owners.get_or_new(owner),
        };
        let sessions = &mut keys.sessions;
        if let Some(known) = sessions.get_mut(session) {
            known.used = now;
            let settled = known.raise_floor(tag.floor.unwrap_or(0));
            let added = u64::from(known.answers.insert((sequence, tag.chunk), answer).is_none());
            keys.answers = keys.answers + added - settled;
            self.total = self.total + added - settled;
            return false;
        }
        let mut answers = SmallMap::default();
        answers.insert((sequence, tag.chunk), answer);
        sessions.insert(Arc::from(session), Session { floor: tag.floor.unwrap_or(0), used: now, due, answers });
        keys.answers += 1;
        self.total += 1;
        true
    }

    /// Stores an opaque key's answer, and returns the deadline it had before, if it was known.
    pub(in crate::catalog) fn put_opaque(
        &mut self,
        owner: &PeerId,
        tag: &KeyTag,
        due: Deadline,
        answer: Answer,
    ) -> (Arc<str>, Option<Deadline>) {
        let keys = self.owners.get_or_new(owner);
        if let Some((key, known)) = keys.opaque.get_key_value(tag.key.as_str()) {
            let (key, before) = (key.clone(), known.due);
            let mut answer_is_new = false;
            if let Some(known) = keys.opaque.get_mut(&key) {
                known.due = due;
                answer_is_new = known.chunks.insert(tag.chunk, answer).is_none();
            }
            keys.answers += u64::from(answer_is_new);
            self.total += u64::from(answer_is_new);
            return (key, Some(before));
        }
        let key: Arc<str> = Arc::from(tag.key.as_str());
        let mut chunks = SmallMap::default();
        chunks.insert(tag.chunk, answer);
        keys.opaque.insert(key.clone(), OpaqueKey { first_used: due.position, due, chunks });
        keys.order.insert(due.position, key.clone());
        keys.answers += 1;
        self.total += 1;
        (key, None)
    }

    /// Forgets a peer's oldest opaque key if it has more than the limit (X2); returns its deadline.
    pub(in crate::catalog) fn evict_opaque(&mut self, owner: &PeerId, limit: usize) -> Option<Deadline> {
        let keys = self.owners.get_mut(owner)?;
        if keys.opaque.len() <= limit {
            return None;
        }
        let (_, oldest) = keys.order.pop_first()?;
        let forgotten = keys.opaque.remove(&oldest)?;
        keys.answers -= forgotten.chunks.len() as u64;
        self.total -= forgotten.chunks.len() as u64;
        Some(forgotten.due)
    }

    /// What is stored, without what is derived: for a snapshot, which only encodes it.
    pub(in crate::catalog) fn stored(&self) -> Self {
        Self { owners: self.owners.stored(), total: 0 }
    }

    /// Builds what is derived.
    pub(in crate::catalog) fn with_indexes(self) -> Self {
        let owners = self.owners.with_indexes();
        let total = owners.iter().map(|(_, keys)| keys.answers).sum();
        Self { owners, total }
    }

    /// Whether every owner is found by its id.
    pub(in crate::catalog) fn is_consistent(&self) -> bool {
        self.owners.is_consistent()
    }
}
