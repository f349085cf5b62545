//! The remembered answers: what the command under each idempotency key was answered (X1, X2, X4, X5).
//!
//! Invariant: an answer leaves the table only when its session's floor passes it, when its key is opaque and old, or
//! when its session has been idle for [`SESSION_RETENTION_MS`]. Nothing is forgotten to make room. The table knows
//! peers by their ids alone, so expiry of a peer does not touch it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::owners::Owners;
use super::txns::Txns;
use crate::catalog::command::KeyTag;
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::Reply;
use crate::catalog::state::{Deadline, Limits};
use crate::catalog::tables::slab::Id;
use crate::catalog::tables::small_map::SmallMap;
use crate::types::{ContentHash, PeerId, TxnId};

/// How long a session's answers are kept after its last new key, in milliseconds of log time. The last answer of every
/// session stays above its floor, so without an end old sessions would fill the table. The client library retries for
/// 5 minutes at most (X3).
pub(in crate::catalog) const SESSION_RETENTION_MS: u64 = 24 * 60 * 60 * 1_000;

/// Bytes of an encoded answer that are stored inline: enough for most answers.
const INLINE_RESULT_BYTES: usize = 16;

/// Bytes that an answer is encoded into without an allocation: enough for all but long lists.
const ENCODED_BYTES: usize = 512;

/// All remembered answers, by the peer that asked. Every level is copy-on-write in parts: a snapshot shares all
/// answers, and the next key of a peer copies a few hundred of them at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Answers {
    pub(in crate::catalog) owners: Owners,
    /// Answers of all peers together. Derived.
    #[serde(skip)]
    pub(in crate::catalog) total: u64,
    /// The transactions among them. Derived.
    #[serde(skip)]
    pub(in crate::catalog) txns: Txns,
}

/// Keys of the form `session:sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Session {
    /// Sequence numbers below it are settled.
    pub(in crate::catalog) floor: u64,
    /// When the session's last key was new.
    pub(in crate::catalog) used: u64,
    /// When to check whether the session is idle; moved only by that check.
    pub(in crate::catalog) due: Deadline,
    /// By sequence number and chunk (X4).
    pub(in crate::catalog) answers: SmallMap<(u64, u32), Answer, 1>,
}

/// A key of any other form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct OpaqueKey {
    /// The position of its first use; newer keys have greater ones.
    pub(in crate::catalog) first_used: u64,
    pub(in crate::catalog) due: Deadline,
    pub(in crate::catalog) chunks: SmallMap<u32, Answer, 1>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Answer {
    /// The hash of the request: detects another request under the same key (X1).
    pub(in crate::catalog) body: ContentHash,
    /// The encoded result; empty for `Reply::Done`, the most frequent one.
    result: SmallVec<[u8; INLINE_RESULT_BYTES]>,
}

/// How the encoding of `Ok` begins, and that of [`Reply::Txn`].
const OK: u8 = 0;
const TXN: u8 = 6;

/// The two forms of a key (X2).
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
    /// Seen, and its peer still waits for the lease: apply the command again (L5).
    Waiting,
    /// Seen; this was the answer.
    Seen(Result<Reply, Rejection>),
    /// Refused: the command must not be applied.
    Refused(Rejection),
}

impl Answer {
    pub(in crate::catalog) fn new(body: ContentHash, result: &Result<Reply, Rejection>) -> Self {
        let result = match result {
            Ok(Reply::Done) => SmallVec::new(),
            result => {
                // Encoded on the stack first, so that what is kept has exactly its size.
                let encoded: SmallVec<[u8; ENCODED_BYTES]> = SmallVec::new();
                let encoded = postcard::to_extend(result, encoded).expect("plain values have an encoding");
                SmallVec::from_slice(&encoded)
            }
        };
        Self { body, result }
    }

    /// The answer. `None` only for bytes that [`Answer::new`] did not write; `decode` refuses those.
    pub(in crate::catalog) fn result(&self) -> Option<Result<Reply, Rejection>> {
        if self.result.is_empty() {
            return Some(Ok(Reply::Done));
        }
        postcard::from_bytes(&self.result).ok()
    }

    /// The id of the transaction that it answers, if it does. Reads the first bytes alone.
    pub(in crate::catalog) fn txn(&self) -> Option<TxnId> {
        let [OK, TXN, rest @ ..] = &*self.result else { return None };
        Some(postcard::take_from_bytes(rest).ok()?.0)
    }
}

impl<'a> KeyForm<'a> {
    /// `session:sequence` needs a canonical decimal number, so that no two keys mean the same one.
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
    /// Raises the floor and forgets the answers below it; returns how many.
    fn raise_floor(&mut self, floor: u64, txns: &mut Txns) -> u64 {
        let mut settled = 0;
        if floor > self.floor {
            self.floor = floor;
            while self.answers.first_key_value().is_some_and(|((sequence, _), _)| *sequence < floor) {
                let Some((_, answer)) = self.answers.pop_first() else { break };
                txns.forgotten(&answer);
                settled += 1;
            }
        }
        settled
    }
}

impl Answers {
    /// Decides whether the command is to be applied. `owner` is the slot of the peer's keys, if it has any.
    ///
    /// The floor of a session rises to what the key states. That happens here if the command is not applied, together
    /// with the answer if one is stored ([`Answers::put_session`]), and otherwise afterwards
    /// ([`Answers::raise_floor`]).
    ///
    /// The usual case, a new key, only reads: a change would check on every level whether a snapshot shares it.
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
                Some(Ok(reply)) if reply.is_provisional() => return Admission::Waiting,
                Some(result) => Admission::Seen(result),
                None => return Admission::New,
            }
        };
        self.raise_floor(owner, tag);
        admission
    }

    /// Why there is no room for another answer of this owner; `None` if there is room (X5).
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

    /// Forgets what the key states as settled, if the session is known.
    pub(in crate::catalog) fn raise_floor(&mut self, owner: Option<Id>, tag: &KeyTag) {
        if let (KeyForm::Session { session, .. }, Some(floor)) = (KeyForm::of(&tag.key), tag.floor)
            && let Some(slot) = owner
        {
            let keys = self.owners.get_mut_at(slot);
            let settled = keys.sessions.get_mut(session).map_or(0, |known| known.raise_floor(floor, &mut self.txns));
            keys.answers -= settled;
            self.total -= settled;
        }
    }

    /// Raises a session's floor to what the key states, and stores the answer. `slot` is that of the owner's keys, if
    /// it has any; `due` becomes the deadline of a new session.
    ///
    /// Returns true if the session is new: the caller then has to watch `due`.
    pub(in crate::catalog) fn put_session(
        &mut self,
        (owner, slot): (&PeerId, Option<Id>),
        (session, sequence): (&str, u64),
        tag: &KeyTag,
        (now, due): (u64, Deadline),
        answer: Answer,
    ) -> bool {
        let txn = answer.txn();
        let keys = match slot {
            Some(slot) => self.owners.get_mut_at(slot),
            None => self.owners.get_or_new(owner),
        };
        let sessions = &mut keys.sessions;
        if let Some(known) = sessions.get_mut(session) {
            known.used = now;
            let settled = known.raise_floor(tag.floor.unwrap_or(0), &mut self.txns);
            let added = u64::from(known.answers.insert((sequence, tag.chunk), answer).is_none());
            keys.answers = keys.answers + added - settled;
            self.total = self.total + added - settled;
            self.txns.stored(txn, || slot.or_else(|| self.owners.slot(owner)));
            return false;
        }
        let mut answers = SmallMap::default();
        answers.insert((sequence, tag.chunk), answer);
        sessions.insert(Arc::from(session), Session { floor: tag.floor.unwrap_or(0), used: now, due, answers });
        keys.answers += 1;
        self.total += 1;
        self.txns.stored(txn, || slot.or_else(|| self.owners.slot(owner)));
        true
    }

    /// Stores the answer of an opaque key. Returns the stored key, and its previous deadline if it was known.
    pub(in crate::catalog) fn put_opaque(
        &mut self,
        owner: &PeerId,
        tag: &KeyTag,
        due: Deadline,
        answer: Answer,
    ) -> (Arc<str>, Option<Deadline>) {
        let txn = answer.txn();
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
            self.txns.stored(txn, || self.owners.slot(owner));
            return (key, Some(before));
        }
        let key: Arc<str> = Arc::from(tag.key.as_str());
        let mut chunks = SmallMap::default();
        chunks.insert(tag.chunk, answer);
        keys.opaque.insert(key.clone(), OpaqueKey { first_used: due.position, due, chunks });
        keys.order.insert(due.position, key.clone());
        keys.answers += 1;
        self.total += 1;
        self.txns.stored(txn, || self.owners.slot(owner));
        (key, None)
    }

    /// Forgets a peer's oldest opaque key if there are more than the limit (X2); returns its deadline.
    pub(in crate::catalog) fn evict_opaque(&mut self, owner: &PeerId, limit: usize) -> Option<Deadline> {
        let keys = self.owners.get_mut(owner)?;
        if keys.opaque.len() <= limit {
            return None;
        }
        let (_, oldest) = keys.order.pop_first()?;
        let forgotten = keys.opaque.remove(&oldest)?;
        forgotten.chunks.values().for_each(|answer| self.txns.forgotten(answer));
        keys.answers -= forgotten.chunks.len() as u64;
        self.total -= forgotten.chunks.len() as u64;
        Some(forgotten.due)
    }

    /// The stored part without what is derived, for a snapshot, which only encodes it.
    pub(in crate::catalog) fn stored(&self) -> Self {
        Self { owners: self.owners.stored(), ..Self::default() }
    }

    /// Rebuilds what is derived.
    pub(in crate::catalog) fn with_indexes(self) -> Self {
        let owners = self.owners.with_indexes();
        let total = owners.iter().map(|(_, keys)| keys.answers).sum();
        let txns = Txns::of(&owners);
        Self { owners, total, txns }
    }

    /// Whether every owner is found by its id.
    pub(in crate::catalog) fn is_consistent(&self) -> bool {
        self.owners.is_consistent()
    }
}
