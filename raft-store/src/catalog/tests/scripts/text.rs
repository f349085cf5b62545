//! Prints outcomes and views for the scripts, with labels instead of hashes and tokens.
//!
//! Invariant: a script shows every field of what it prints.

use std::collections::BTreeMap;

use super::arguments::hash_of;
use crate::catalog::{FileView, HolderView, LeaseView, Outcome, PeerView};
use crate::types::{ContentHash, LeaseToken, PeerId};

/// The labels of hashes and tokens.
#[derive(Default)]
pub(in crate::catalog) struct Labels {
    bytes: BTreeMap<ContentHash, String>,
    tokens: BTreeMap<LeaseToken, String>,
}

pub(in crate::catalog) fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or("none".into(), |value| value.to_string())
}

pub(in crate::catalog) fn joined(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

impl Labels {
    pub(super) fn bytes(&mut self, label: &str) -> ContentHash {
        let hash = hash_of(label);
        self.bytes.insert(hash, label.to_owned());
        hash
    }

    pub(super) fn token(&mut self, label: &str) -> LeaseToken {
        let mut token = LeaseToken([0; 16]);
        token.0.copy_from_slice(&hash_of(label).0[..16]);
        self.tokens.insert(token, label.to_owned());
        token
    }

    /// The label of bytes.
    pub(in crate::catalog) fn hash(&self, hash: &Option<ContentHash>) -> String {
        or_none(hash.map(|hash| self.bytes.get(&hash).cloned().unwrap_or_else(|| hash.to_string())))
    }

    /// The label of a token.
    pub(in crate::catalog) fn of_token(&self, token: &LeaseToken) -> &str {
        self.tokens.get(token).map_or("?", String::as_str)
    }

    pub(super) fn outcome(&self, outcome: &Outcome) -> String {
        let result = match &outcome.result {
            Ok(reply) => reply.text(self),
            Err(rejection) => format!("refused: {}", rejection.text(self)),
        };
        if outcome.replayed { format!("{result} (replayed)") } else { result }
    }

    pub(super) fn file(&self, file: Option<FileView>) -> String {
        let Some(file) = file else { return "no such file".into() };
        let holders = joined(file.holders.iter().map(|holder| self.holder(holder)));
        let refused = joined(file.refused.iter().map(PeerId::to_string));
        let deleted = if file.deleted { " deleted" } else { "" };
        format!(
            "{}@{}{deleted} bytes={} size={} fencing={} holders={holders} refused={refused} replicas={}{}",
            file.name,
            file.version,
            self.hash(&file.hash),
            or_none(file.size),
            file.fencing_token,
            file.replicas_desired,
            if file.attributes.is_empty() { String::new() } else { format!(" {:?}", file.attributes) }
        )
    }

    pub(super) fn holder(&self, holder: &HolderView) -> String {
        let stale = if holder.current { "" } else { " stale" };
        let away = if holder.live { "" } else { " away" };
        format!("{} {}@{}{stale}{away}", holder.peer, self.hash(&Some(holder.hash)), holder.version)
    }
}

pub(super) fn lease(lease: Option<LeaseView>) -> String {
    let Some(lease) = lease else { return "no lease".into() };
    let line = joined(lease.line.iter().map(|waiter| format!("{} ticket={}", waiter.peer, waiter.ticket)));
    let (holder, fencing) = (&lease.holder, or_none(lease.fencing_token));
    format!("{} holder={holder} fencing={fencing} until={} line={line}", lease.file, lease.deadline)
}

pub(super) fn peer(peer: &PeerView) -> String {
    let PeerView { id, address, zone, capacity_bytes, incarnation, live, holdings } = peer;
    let (zone, capacity) = (or_none(zone.as_ref()), or_none(*capacity_bytes));
    let state = if *live { "live" } else { "away" };
    format!("{id} {state} incarnation={incarnation} {address} zone={zone} capacity={capacity} holdings={holdings}")
}
