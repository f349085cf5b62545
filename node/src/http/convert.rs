//! Converts events to the types of the contract; the log's own encoding never leaves the node.

use raft_store::catalog::{Event, LeaseEnd, LineEnd};
use serde_json::{Value, json};

/// The event's kind, and its data.
pub fn event_json(event: &Event) -> (&'static str, Value) {
    match event {
        Event::PeerRegistered { peer, incarnation, live } => {
            ("peer-registered", json!({"peerId": peer, "incarnation": incarnation, "live": live}))
        }
        Event::PeerListed { peer } => ("peer-listed", json!({"peerId": peer})),
        Event::PeerExpired { peer } => ("peer-expired", json!({"peerId": peer})),
        Event::PeerForgotten { peer } => ("peer-forgotten", json!({"peerId": peer})),
        Event::FilePublished { file, number: _, version, hash, peer, fencing_token } => (
            "file-published",
            json!({"file": file, "version": version, "hash": hash, "peerId": peer, "fencingToken": fencing_token}),
        ),
        Event::FileDeleted { file, number: _, version, peer } => {
            ("file-deleted", json!({"file": file, "version": version, "peerId": peer}))
        }
        Event::HolderAdded { file, peer, version, current } => {
            ("holder-added", json!({"file": file, "peerId": peer, "version": version, "current": current}))
        }
        Event::HolderDropped { file, peer, refused } => {
            ("holder-dropped", json!({"file": file, "peerId": peer, "refused": refused}))
        }
        Event::LeaseGranted { file, peer, fencing_token, deadline: _ } => {
            ("lease-granted", json!({"file": file, "peerId": peer, "fencingToken": fencing_token}))
        }
        Event::LeaseRenewed { file, peer, fencing_token, deadline: _ } => {
            ("lease-renewed", json!({"file": file, "peerId": peer, "fencingToken": fencing_token}))
        }
        Event::LeaseEnded { file, peer, fencing_token, cause } => (
            "lease-ended",
            json!({"file": file, "peerId": peer, "fencingToken": fencing_token, "cause": lease_end(*cause)}),
        ),
        Event::LineJoined { file, peer, ticket } => {
            ("line-joined", json!({"file": file, "peerId": peer, "ticket": ticket}))
        }
        Event::LeaseOffered { file, peer, deadline: _ } => ("lease-offered", json!({"file": file, "peerId": peer})),
        Event::LineLeft { file, peer, cause } => {
            ("line-left", json!({"file": file, "peerId": peer, "cause": line_end(*cause)}))
        }
        Event::ReplicasSet { replicas } => ("replicas-set", json!({"replicas": replicas})),
        Event::MembersChanged { voters, learners } => {
            ("members-changed", json!({"voters": voters, "learners": learners}))
        }
    }
}

fn lease_end(cause: LeaseEnd) -> &'static str {
    match cause {
        LeaseEnd::Expired => "expired",
        LeaseEnd::Released => "released",
        LeaseEnd::Published => "published",
        LeaseEnd::TakenOver => "taken-over",
    }
}

fn line_end(cause: LineEnd) -> &'static str {
    match cause {
        LineEnd::Left => "left",
        LineEnd::Silent => "silent",
        LineEnd::PassedOver => "passed-over",
        LineEnd::Forgotten => "forgotten",
    }
}
