//! Canonical bytes: what a snapshot holds (D1, D3).
//!
//! Invariant: the bytes are a function of the replicated state, slot numbers and free lists included, so that a node
//! restored from them numbers everything as the others do. Decoding trusts nothing: every id, order and reference that
//! applying relies on is checked (`validate`) before the indexes are built.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::answers::Answers;
use super::slab::Slab;
use super::state::{Catalog, Due, FileRecord, Limits, PeerRecord};
use super::{DecodeError, validate};
use crate::types::ContentHash;

/// The format this build writes, as the first byte.
const FORMAT: u8 = 1;

/// Scalars in the order of the format.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Scalars {
    clock: u64,
    sequence: u64,
    positions: u64,
    incarnations: u64,
    fencing_tokens: u64,
    tickets: u64,
    replicas: u32,
    limits: Limits,
}

/// The replicated state in the order of the format, to be read.
#[derive(Deserialize)]
struct Image {
    scalars: Scalars,
    files: Slab<FileRecord>,
    peers: Slab<PeerRecord>,
    answers: Answers,
}

/// The same, to be written.
#[derive(Serialize)]
struct ImageRef<'a> {
    scalars: Scalars,
    files: &'a Slab<FileRecord>,
    peers: &'a Slab<PeerRecord>,
    answers: &'a Answers,
}

impl Catalog {
    /// Canonical bytes: two nodes that applied the same log get the same ones (D1).
    pub fn encode(&self) -> Vec<u8> {
        let image = ImageRef {
            scalars: Scalars {
                clock: self.clock,
                sequence: self.sequence,
                positions: self.positions,
                incarnations: self.incarnations,
                fencing_tokens: self.fencing_tokens,
                tickets: self.tickets,
                replicas: self.replicas,
                limits: self.limits,
            },
            files: &self.files,
            peers: &self.peers,
            answers: &self.answers,
        };
        postcard::to_extend(&image, vec![FORMAT]).expect("plain values have an encoding")
    }

    /// Reads what [`Catalog::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = |why: String| DecodeError::Damaged(why);
        let (format, rest) = bytes.split_first().ok_or_else(|| damaged("it is empty".into()))?;
        if *format != FORMAT {
            return Err(DecodeError::UnknownVersion { found: *format, known: FORMAT });
        }
        let (image, rest) = postcard::take_from_bytes::<Image>(rest).map_err(|error| damaged(error.to_string()))?;
        if !rest.is_empty() {
            return Err(damaged(format!("{} bytes follow its end", rest.len())));
        }
        let Image { scalars, files, peers, answers } = image;
        let stored = Self {
            clock: scalars.clock,
            sequence: scalars.sequence,
            positions: scalars.positions,
            incarnations: scalars.incarnations,
            fencing_tokens: scalars.fencing_tokens,
            tickets: scalars.tickets,
            replicas: scalars.replicas,
            files,
            peers,
            answers,
            ..Self::with_limits(scalars.limits)
        };
        validate::stored(&stored).map_err(damaged)?;
        Ok(stored.with_indexes())
    }

    /// SHA-256 over the canonical bytes.
    pub fn digest(&self) -> ContentHash {
        ContentHash(Sha256::digest(self.encode()).into())
    }

    /// Builds everything that is derived. The stored tables are valid.
    pub(super) fn with_indexes(mut self) -> Self {
        let files = self.files.clone();
        for (id, file) in files.iter() {
            self.names.insert(file.name.clone(), id);
            if file.hash.is_some() {
                self.totals.files += 1;
                self.totals.bytes += u128::from(file.size.unwrap_or(0));
            }
            self.totals.tombstones += u64::from(file.is_tombstone());
            file.holders.iter().for_each(|holder| {
                Arc::make_mut(&mut self.peers[holder.peer].holdings).insert(id);
            });
            file.refused.iter().for_each(|peer| {
                self.peers[*peer].refused.insert(id);
            });
            self.index_contention(id, file);
        }
        let peers = self.peers.clone();
        for (id, peer) in peers.iter() {
            self.peer_ids.insert(peer.id.clone(), id);
            match peer.forget_at {
                Some(deadline) => drop(self.due.insert(deadline, Due::Peer(id))),
                None => self.totals.peers_live += 1,
            }
        }
        self.index_answers();
        self
    }

    fn index_contention(&mut self, id: u32, file: &FileRecord) {
        let Some(contention) = &file.contention else { return };
        self.contended.insert(id);
        if let Some(lease) = &contention.lease {
            self.due.insert(lease.deadline, Due::Lease(id));
            self.peers[lease.peer].leases.insert(id);
            self.totals.leases += 1;
        }
        if let Some(offer) = &contention.offer {
            self.due.insert(offer.deadline, Due::Offer(id));
            self.peers[offer.peer].places.insert(id, offer.ticket);
            self.totals.waiting += 1;
        }
        for waiter in &contention.line {
            self.peers[waiter.peer].places.insert(id, waiter.ticket);
            self.totals.waiting += 1;
        }
    }

    fn index_answers(&mut self) {
        for (id, owner) in &mut self.answers.owners {
            let owner = Arc::make_mut(owner);
            for (name, session) in &owner.sessions {
                self.answers.total += session.answers.len() as u64;
                self.due.insert(session.due, Due::Session { owner: id.clone(), session: name.clone() });
            }
            for (name, key) in &owner.opaque {
                self.answers.total += key.chunks.len() as u64;
                owner.order.insert(key.first_used, name.clone());
                self.due.insert(key.due, Due::OpaqueKey { owner: id.clone(), key: name.clone() });
            }
        }
    }
}
