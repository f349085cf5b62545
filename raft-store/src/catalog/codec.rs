//! Canonical bytes: what a snapshot holds (D1, D3).
//!
//! Invariant: the bytes are a function of the replicated state, slot numbers and free lists included, so that a node
//! restored from them numbers everything as the others do. Decoding trusts nothing: every id, order and reference that
//! applying relies on is checked (`validate`) before the indexes are built.

use std::collections::BTreeMap;

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

/// The replicated state at one moment, in the order of the format. It shares its records with the catalog it was taken
/// from, which copies a few hundred of them when it changes one of them first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    scalars: Scalars,
    files: Slab<FileRecord>,
    peers: Slab<PeerRecord>,
    answers: Answers,
}

impl Image {
    /// Appends the canonical bytes: two nodes that applied the same log get the same ones (D1).
    pub fn encode_onto(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.push(FORMAT);
        postcard::to_extend(self, bytes).expect("plain values have an encoding")
    }

    /// SHA-256 over the canonical bytes.
    pub fn digest(&self) -> ContentHash {
        ContentHash(Sha256::digest(self.encode_onto(Vec::new())).into())
    }
}

impl Catalog {
    /// What a snapshot holds, at the cost of a pointer for a few hundred records; nothing derived is copied.
    pub fn image(&self) -> Image {
        Image {
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
            files: self.files.clone(),
            peers: self.peers.clone(),
            answers: self.answers.stored(),
        }
    }

    /// Canonical bytes, see [`Image::encode_onto`].
    pub fn encode(&self) -> Vec<u8> {
        self.image().encode_onto(Vec::new())
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
        self.image().digest()
    }

    /// Builds everything that is derived. The stored tables are valid.
    pub(super) fn with_indexes(mut self) -> Self {
        let (files, peers) = (self.files.clone(), self.peers.clone());
        let mut listing_since = BTreeMap::new();
        for (id, peer) in peers.iter() {
            self.new_sets(id);
            self.peer_ids.insert(peer.id.as_str(), id);
            match peer.forget_at {
                Some(deadline) => drop(self.due.insert(deadline, Due::Peer(id))),
                None => self.totals.peers_live += 1,
            }
            if let Some(listing) = &peer.listing {
                listing_since.insert(id, listing.started);
            }
        }
        for (id, file) in files.iter() {
            self.names.insert(&file.name, id);
            if file.hash.is_some() {
                self.totals.files += 1;
                self.totals.bytes += u128::from(file.size.unwrap_or(0));
            }
            self.totals.tombstones += u64::from(file.is_tombstone());
            for holder in &file.holders {
                let is_named = listing_since.get(&holder.peer).is_none_or(|started| holder.touched >= *started);
                self.sets_mut(holder.peer).restore(id, is_named);
            }
            file.refused.iter().for_each(|peer| {
                self.sets_mut(*peer).refused.insert(id);
            });
            self.index_contention(id, file);
        }
        peers.iter().for_each(|(id, _)| self.want_digest(id));
        self.index_answers();
        self
    }

    fn index_contention(&mut self, id: u32, file: &FileRecord) {
        let Some(contention) = &file.contention else { return };
        self.contended.insert(id);
        if let Some(lease) = &contention.lease {
            self.due.insert(lease.deadline, Due::Lease(id));
            self.sets_mut(lease.peer).leases.insert(id);
            self.totals.leases += 1;
        }
        if let Some(offer) = &contention.offer {
            self.due.insert(offer.deadline, Due::Offer(id));
            self.sets_mut(offer.peer).places.insert(id, offer.ticket);
            self.totals.waiting += 1;
        }
        for waiter in &contention.line {
            self.sets_mut(waiter.peer).places.insert(id, waiter.ticket);
            self.totals.waiting += 1;
        }
    }

    fn index_answers(&mut self) {
        self.answers = std::mem::take(&mut self.answers).with_indexes();
        for (owner, keys) in self.answers.owners.iter() {
            for (session, known) in keys.sessions.iter() {
                self.due.insert(known.due, Due::Session { owner: owner.clone(), session: session.clone() });
            }
            for (key, known) in keys.opaque.iter() {
                self.due.insert(known.due, Due::OpaqueKey { owner: owner.clone(), key: key.clone() });
            }
        }
    }
}
