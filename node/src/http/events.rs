//! `GET /events`: the applied events as server-sent events, which resume without gaps or repeats (L7).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use client::contract::{self, Events, IndexEvent, LeaseEndCause, LineEndCause};
use futures::stream::{self, Stream};
use raft_store::catalog::{Event, LeaseEnd, LineEnd};

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use crate::events::LoggedEvent;
use crate::node::Node;

/// Most events sent in one piece.
const PIECE_EVENTS: usize = 256;
/// Interval of the comments that keep an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Position = (u64, Option<u32>);

fn position(text: &str) -> Result<Position, ApiError> {
    let wrong = || ApiError::BadRequest(format!("'{text}' is not an event position; expected INDEX or INDEX.SEQ"));
    match text.split_once('.') {
        None => Ok((text.parse().map_err(|_| wrong())?, None)),
        Some((index, sequence)) => {
            Ok((index.parse().map_err(|_| wrong())?, Some(sequence.parse().map_err(|_| wrong())?)))
        }
    }
}

impl Handle for Events {
    /// The position to resume after.
    type Checked = Option<String>;

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        Ok(sent.query.from)
    }

    async fn answer(call: &Call, from: Self::Checked) -> Result<Reply<Body>, ApiError> {
        let node = &call.node;
        let resumed = call.parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let from = match resumed.or(from.as_deref()) {
            Some(text) => position(text)?,
            None => (node.events.newest(), None),
        };
        // Checked once before the answer starts, so that a compacted position gets a 410 and not a broken stream.
        node.events.after(from, 1).map_err(|compacted| ApiError::Compacted(compacted.to_string()))?;
        Ok(Reply::Answer(Body::from_stream(follow(node.clone(), from))))
    }
}

fn follow(node: Arc<Node>, from: Position) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let watch = node.events.watch();
    stream::unfold((node, from, watch, true), |(node, mut from, mut watch, first)| async move {
        if first {
            return Some((Ok(Bytes::from_static(b": raftshare events\n\n")), (node, from, watch, false)));
        }
        loop {
            watch.borrow_and_update();
            // The stream of a reader that fell too far behind ends: it has to read the state and start over.
            let events = node.events.after(from, PIECE_EVENTS).ok()?;
            if let Some(last) = events.last() {
                from = (last.log_index, Some(last.sequence));
                return Some((Ok(render(&events)), (node, from, watch, false)));
            }
            match tokio::time::timeout(KEEP_ALIVE, watch.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Ok(Bytes::from_static(b": alive\n\n")), (node, from, watch, false))),
            }
        }
    })
}

fn render(events: &[LoggedEvent]) -> Bytes {
    let mut text = String::new();
    for event in events {
        let LoggedEvent { log_index, sequence, .. } = event;
        // Events contain only strings, numbers and lists of them, which always encode.
        let form = serde_json::to_value(in_contract(event.event().clone())).unwrap_or_default();
        let (kind, data) = (form["event"].as_str().unwrap_or_default(), &form["data"]);
        text.push_str(&format!("id: {log_index}.{sequence}\nevent: {kind}\ndata: {data}\n\n"));
    }
    text.into()
}

/// Converts an event to the contract's form; the encoding of the log never leaves the node.
fn in_contract(event: Event) -> IndexEvent {
    match event {
        Event::PeerRegistered { peer, incarnation, live } => {
            contract::PeerRegistered { peer_id: peer, incarnation, live }.into()
        }
        Event::PeerListed { peer } => contract::PeerListed { peer_id: peer }.into(),
        Event::PeerExpired { peer } => contract::PeerExpired { peer_id: peer }.into(),
        Event::PeerForgotten { peer } => contract::PeerForgotten { peer_id: peer }.into(),
        Event::FilePublished { file, number: _, version, hash, peer, fencing_token } => {
            contract::FilePublished { file, version, hash, peer_id: peer, fencing_token }.into()
        }
        Event::FileDeleted { file, number: _, version, peer } => {
            contract::FileDeleted { file, version, peer_id: peer }.into()
        }
        Event::HolderAdded { file, peer, version, current } => {
            contract::HolderAdded { file, peer_id: peer, version, current }.into()
        }
        Event::HolderDropped { file, peer, refused } => contract::HolderDropped { file, peer_id: peer, refused }.into(),
        Event::LeaseGranted { file, peer, fencing_token, deadline: _ } => {
            contract::LeaseGranted { file, peer_id: peer, fencing_token }.into()
        }
        Event::LeaseRenewed { file, peer, fencing_token, deadline: _ } => {
            contract::LeaseRenewed { file, peer_id: peer, fencing_token }.into()
        }
        Event::LeaseEnded { file, peer, fencing_token, cause } => {
            contract::LeaseEnded { file, peer_id: peer, fencing_token, cause: lease_end(cause) }.into()
        }
        Event::LineJoined { file, peer, ticket } => contract::LineJoined { file, peer_id: peer, ticket }.into(),
        Event::LeaseOffered { file, peer, deadline: _ } => contract::LeaseOffered { file, peer_id: peer }.into(),
        Event::LineLeft { file, peer, cause } => {
            contract::LineLeft { file, peer_id: peer, cause: line_end(cause) }.into()
        }
        Event::AttributesChanged { file, number: _, peer, txn, changed, removed, is_left: _ } => {
            contract::AttributesChanged { file, peer_id: peer, txn, changed, removed }.into()
        }
        Event::ReplicasSet { replicas } => contract::ReplicasSet { replicas }.into(),
        Event::MembersChanged { voters, learners } => contract::MembersChanged { voters, learners }.into(),
    }
}

fn lease_end(cause: LeaseEnd) -> LeaseEndCause {
    match cause {
        LeaseEnd::Expired => LeaseEndCause::Expired,
        LeaseEnd::Released => LeaseEndCause::Released,
        LeaseEnd::Published => LeaseEndCause::Published,
        LeaseEnd::TakenOver => LeaseEndCause::TakenOver,
    }
}

fn line_end(cause: LineEnd) -> LineEndCause {
    match cause {
        LineEnd::Left => LineEndCause::Left,
        LineEnd::Silent => LineEndCause::Silent,
        LineEnd::PassedOver => LineEndCause::PassedOver,
        LineEnd::Forgotten => LineEndCause::Forgotten,
    }
}
