//! Prints replies, refusals, events and views for the scripts, with labels instead of hashes and tokens.

use std::collections::BTreeMap;

use super::arguments::hash_of;
use crate::catalog::{Event, FileView, Grant, HolderView, LeaseView, Outcome, PeerView, Rejection, Reply};
use crate::types::{ContentHash, LeaseToken, PeerId};

/// Which label a hash or token was made from.
#[derive(Default)]
pub(in crate::catalog) struct Labels {
    bytes: BTreeMap<ContentHash, String>,
    tokens: BTreeMap<LeaseToken, String>,
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or("none".into(), |value| value.to_string())
}

fn joined(parts: impl Iterator<Item = String>) -> String {
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

    fn hash(&self, hash: &Option<ContentHash>) -> String {
        or_none(hash.map(|hash| self.bytes.get(&hash).cloned().unwrap_or_else(|| hash.to_string())))
    }

    pub(super) fn outcome(&self, outcome: &Outcome) -> String {
        let result = match &outcome.result {
            Ok(reply) => self.reply(reply),
            Err(rejection) => format!("refused: {}", self.rejection(rejection)),
        };
        if outcome.replayed { format!("{result} (replayed)") } else { result }
    }

    fn reply(&self, reply: &Reply) -> String {
        match reply {
            Reply::Registered { incarnation, listing, conflicts } => {
                let conflicts = joined(conflicts.iter().map(|conflict| {
                    format!("{} is {}@{}", conflict.name, self.hash(&conflict.hash), conflict.current_version)
                }));
                format!("registered incarnation={incarnation} listing={listing:?} conflicts={conflicts}")
            }
            Reply::Announced { version, fencing_token } => {
                format!("announced version={version} fencing={}", or_none(*fencing_token))
            }
            Reply::AnnouncedMany(results) => joined(results.iter().map(|result| match result {
                Ok(version) => format!("version={version}"),
                Err(rejection) => self.rejection(rejection),
            })),
            Reply::Granted(grant) => self.grant(grant),
            Reply::Denied { holder, deadline, position } => {
                format!("denied holder={holder} until={deadline} position={}", or_none(*position))
            }
            Reply::Done => "done".into(),
        }
    }

    fn grant(&self, grant: &Grant) -> String {
        let Grant { file, token, fencing_token, ttl_ms, deadline, version } = grant;
        let token = self.tokens.get(token).map_or("?", String::as_str);
        format!("granted {file}@{version} token={token} fencing={fencing_token} ttl={ttl_ms} until={deadline}")
    }

    fn rejection(&self, rejection: &Rejection) -> String {
        match rejection {
            Rejection::UnknownPeer { peer } => format!("unknown peer {peer}"),
            Rejection::NotFound { file } => format!("not found: {file}"),
            Rejection::NotHolder { file } => format!("not a holder of {file}"),
            Rejection::LeaseRequired { current_version, holder } => {
                format!("lease required, current={current_version} holder={}", or_none(holder.as_ref()))
            }
            Rejection::LeaseExpired { current_version, holder, fencing_token } => {
                let (holder, fencing) = (or_none(holder.as_ref()), or_none(*fencing_token));
                format!("lease expired, current={current_version} holder={holder} fencing={fencing}")
            }
            Rejection::VersionConflict { current_version, hash, size, holder } => {
                let (hash, size, holder) = (self.hash(hash), or_none(*size), or_none(holder.as_ref()));
                format!("version conflict, current={hash}@{current_version} size={size} holder={holder}")
            }
            Rejection::HashConflict { current_version, hash, size } => {
                format!("hash conflict, current={}@{current_version} size={}", self.hash(hash), or_none(*size))
            }
            Rejection::KeyReused => "key reused".into(),
            Rejection::KeyExpired => "key expired".into(),
            Rejection::Overloaded { what } => format!("overloaded: {what}"),
        }
    }

    pub(super) fn event(&self, event: &Event) -> String {
        match event {
            Event::PeerRegistered { peer, incarnation, live } => {
                format!("peer {peer} registered incarnation={incarnation} live={live}")
            }
            Event::PeerListed { peer } => format!("peer {peer} listed"),
            Event::PeerExpired { peer } => format!("peer {peer} expired"),
            Event::PeerForgotten { peer } => format!("peer {peer} forgotten"),
            Event::FilePublished { file, number: _, version, hash, peer, fencing_token } => {
                format!(
                    "{file}@{version} published by {peer} bytes={} fencing={fencing_token}",
                    self.hash(&Some(*hash))
                )
            }
            Event::FileDeleted { file, number: _, version, peer } => format!("{file}@{version} deleted by {peer}"),
            Event::HolderAdded { file, peer, version, current } => {
                format!("{peer} holds {file}@{version}{}", if *current { "" } else { " (stale)" })
            }
            Event::HolderDropped { file, peer, refused } => {
                format!("{peer} no longer holds {file}{}", if *refused { " (refused)" } else { "" })
            }
            Event::LeaseGranted { file, peer, fencing_token, deadline } => {
                format!("{file} leased to {peer} fencing={fencing_token} until={deadline}")
            }
            Event::LeaseRenewed { file, peer, fencing_token, deadline } => {
                format!("{file} renewed by {peer} fencing={fencing_token} until={deadline}")
            }
            Event::LeaseEnded { file, peer, fencing_token, cause } => {
                format!("{file} lease of {peer} ended fencing={fencing_token}: {cause:?}")
            }
            Event::LineJoined { file, peer, ticket } => format!("{peer} joined the line of {file} ticket={ticket}"),
            Event::LeaseOffered { file, peer, deadline } => format!("{file} offered to {peer} until={deadline}"),
            Event::LineLeft { file, peer, cause } => format!("{peer} left the line of {file}: {cause:?}"),
            Event::ReplicasSet { replicas } => format!("replicas={replicas}"),
            Event::MembersChanged { voters, learners } => format!("voters={voters:?} learners={learners:?}"),
        }
    }

    pub(super) fn file(&self, file: Option<FileView>) -> String {
        let Some(file) = file else { return "no such file".into() };
        let holders = joined(file.holders.iter().map(|holder| self.holder(holder)));
        let refused = joined(file.refused.iter().map(PeerId::to_string));
        let deleted = if file.deleted { " deleted" } else { "" };
        format!(
            "{}@{}{deleted} bytes={} size={} fencing={} holders={holders} refused={refused} replicas={}",
            file.name,
            file.version,
            self.hash(&file.hash),
            or_none(file.size),
            file.fencing_token,
            file.replicas_desired
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
