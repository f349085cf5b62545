//! The table of answers: what each idempotency key was answered (X1, X2, X4, X5).
//!
//! Invariant: an answer leaves the table only because its session's floor passed it, because its key is opaque and old,
//! or because its whole session was idle for [`SESSION_RETENTION_MS`]; never to make room. The table knows peers by
//! their ids alone, so that their expiry does not touch it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::KeyTag;
use super::reply::{Rejection, Reply};
use super::segments::SegmentedMap;
use super::state::{Deadline, Limits};
use crate::types::{ContentHash, PeerId};

/// How long a session's answers are kept after its last new key, in milliseconds of log time. Every session leaves its
/// last answer above its floor; without an end they would fill the table. A library retries for 5 minutes at most (X3).
pub(super) const SESSION_RETENTION_MS: u64 = 24 * 60 * 60 * 1_000;

/// Everything remembered, by the peer that asked. Every level is in copy-on-write segments: however many answers there
/// are, a snapshot shares them, and the next key of a peer copies a few hundred of them at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) owners: SegmentedMap<PeerId, Arc<Owner>>,
    /// Answers in all owners' tables.
    #[serde(skip)]
    pub(super) total: u64,
}

/// One peer's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) sessions: SegmentedMap<Arc<str>, Session>,
    pub(super) opaque: SegmentedMap<Arc<str>, OpaqueKey>,
    /// Opaque keys by first use. Derived.
    #[serde(skip)]
    pub(super) order: SegmentedMap<u64, Arc<str>>,
}

/// Keys of the form `session:sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Sequences below it are settled.
    pub(super) floor: u64,
    /// When the session's last key was new.
    pub(super) used: u64,
    /// When to look whether it is idle; moved only then.
    pub(super) due: Deadline,
    /// By sequence and chunk (X4).
    pub(super) answers: SegmentedMap<(u64, u32), Answer>,
}

/// A key of any other form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpaqueKey {
    /// Position of its first use; greater for newer keys.
    pub(super) first_used: u64,
    pub(super) due: Deadline,
    pub(super) chunks: SegmentedMap<u32, Answer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Tells another request under the same key (X1).
    pub(super) body: ContentHash,
    /// The encoded result; empty for plain success, the most frequent one.
    result: Box<[u8]>,
}

/// Where a key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyForm<'a> {
    Session { session: &'a str, sequence: u64 },
    Opaque,
}

/// What the table says about a key.
#[derive(Debug)]
pub(super) enum Admission {
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
    pub(super) fn new(body: ContentHash, result: &Result<Reply, Rejection>) -> Self {
        let bytes = match result {
            Ok(Reply::Done) => Vec::new(),
            result => postcard::to_stdvec(result).expect("plain values have an encoding"),
        };
        Self { body, result: bytes.into_boxed_slice() }
    }

    /// The answer; `None` only for bytes that [`Answer::new`] did not make, which `decode` refuses.
    pub(super) fn result(&self) -> Option<Result<Reply, Rejection>> {
        if self.result.is_empty() {
            return Some(Ok(Reply::Done));
        }
        postcard::from_bytes(&self.result).ok()
    }
}

impl<'a> KeyForm<'a> {
    /// `session:sequence` with a canonical decimal sequence; so that no two keys mean the same one.
    pub(super) fn of(key: &'a str) -> Self {
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
    /// Raises a known session's floor to what the key states, and decides whether the command is to be applied.
    pub(super) fn admit(&mut self, owner: &PeerId, tag: &KeyTag, limits: &Limits) -> Admission {
        let answer = match KeyForm::of(&tag.key) {
            KeyForm::Session { session, sequence } => {
                let stated = tag.floor.unwrap_or(0);
                let owner = self.owners.get_mut(owner).map(Arc::make_mut);
                let known = owner.and_then(|owner| owner.sessions.get_mut(session));
                if let Some(known) = known {
                    self.total -= known.raise_floor(stated);
                    if sequence < known.floor {
                        return Admission::Refused(Rejection::KeyExpired);
                    }
                    known.answers.get(&(sequence, tag.chunk))
                } else if sequence < stated {
                    return Admission::Refused(Rejection::KeyExpired);
                } else {
                    None
                }
            }
            KeyForm::Opaque => {
                let known = self.owners.get(owner).and_then(|owner| owner.opaque.get(tag.key.as_str()));
                known.and_then(|known| known.chunks.get(&tag.chunk))
            }
        };
        let Some(answer) = answer else {
            if self.total >= limits.answers {
                let what = format!("it remembers {} answers already", limits.answers);
                return Admission::Refused(Rejection::Overloaded { what });
            }
            return Admission::New;
        };
        if answer.body != tag.body {
            return Admission::Refused(Rejection::KeyReused);
        }
        match answer.result() {
            Some(Ok(Reply::Denied { position: Some(_), .. })) => Admission::Waiting,
            Some(result) => Admission::Seen(result),
            None => Admission::New,
        }
    }

    /// Stores a session key's answer. `due` is the deadline of a session that is new.
    ///
    /// Returns true if the session is new, so that `due` has to be watched.
    pub(super) fn put_session(
        &mut self,
        owner: &PeerId,
        (session, sequence): (&str, u64),
        tag: &KeyTag,
        (now, due): (u64, Deadline),
        answer: Answer,
    ) -> bool {
        let sessions = &mut self.owner_or_new(owner).sessions;
        if let Some(known) = sessions.get_mut(session) {
            known.used = now;
            let answer_is_new = known.answers.insert((sequence, tag.chunk), answer).is_none();
            self.total += u64::from(answer_is_new);
            return false;
        }
        let mut answers = SegmentedMap::default();
        answers.insert((sequence, tag.chunk), answer);
        sessions.insert(Arc::from(session), Session { floor: tag.floor.unwrap_or(0), used: now, due, answers });
        self.total += 1;
        true
    }

    /// A peer's keys, to be changed; none if it has none yet.
    fn owner_or_new(&mut self, owner: &PeerId) -> &mut Owner {
        if !self.owners.contains_key(owner) {
            self.owners.insert(owner.clone(), Arc::default());
        }
        self.owner_mut(owner).expect("it is there or was just added")
    }

    /// A peer's keys, to be changed.
    fn owner_mut(&mut self, owner: &PeerId) -> Option<&mut Owner> {
        self.owners.get_mut(owner).map(Arc::make_mut)
    }

    /// Stores an opaque key's answer, and returns the deadline it had before, if it was known.
    pub(super) fn put_opaque(
        &mut self,
        owner: &PeerId,
        tag: &KeyTag,
        due: Deadline,
        answer: Answer,
    ) -> (Arc<str>, Option<Deadline>) {
        let owner = self.owner_or_new(owner);
        if let Some((key, known)) = owner.opaque.get_key_value(tag.key.as_str()) {
            let (key, before) = (key.clone(), known.due);
            let mut answer_is_new = false;
            if let Some(known) = owner.opaque.get_mut(&key) {
                known.due = due;
                answer_is_new = known.chunks.insert(tag.chunk, answer).is_none();
            }
            self.total += u64::from(answer_is_new);
            return (key, Some(before));
        }
        let key: Arc<str> = Arc::from(tag.key.as_str());
        let mut chunks = SegmentedMap::default();
        chunks.insert(tag.chunk, answer);
        owner.opaque.insert(key.clone(), OpaqueKey { first_used: due.position, due, chunks });
        owner.order.insert(due.position, key.clone());
        self.total += 1;
        (key, None)
    }

    /// Forgets a peer's oldest opaque key if it has more than the limit (X2); returns its deadline.
    pub(super) fn evict_opaque(&mut self, owner: &PeerId, limit: usize) -> Option<Deadline> {
        let keys = self.owner_mut(owner)?;
        if keys.opaque.len() <= limit {
            return None;
        }
        let (_, oldest) = keys.order.pop_first()?;
        let forgotten = keys.opaque.remove(&oldest)?;
        self.total -= forgotten.chunks.len() as u64;
        Some(forgotten.due)
    }

    pub(super) fn remove_owner_if_empty(&mut self, owner: &PeerId) {
        if self.owners.get(owner).is_some_and(|keys| keys.sessions.is_empty() && keys.opaque.is_empty()) {
            self.owners.remove(owner);
        }
    }
}
