//! `GET /events`: the applied events as server-sent events, resumable exactly (L7).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures::stream::{self, Stream};
use serde::Deserialize;

use super::error::ApiError;
use crate::events::LoggedEvent;
use crate::node::Node;

/// Events sent in one piece.
const PIECE_EVENTS: usize = 256;
/// A comment keeps an idle connection open this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Query of `/events`.
#[derive(Deserialize)]
pub struct EventsParams {
    from: Option<String>,
}

type Position = (u64, Option<u32>);

fn position(text: &str) -> Result<Position, ApiError> {
    let wrong = || ApiError::BadRequest(format!("'{text}' is no event position; expected INDEX or INDEX.SEQ"));
    match text.split_once('.') {
        None => Ok((text.parse().map_err(|_| wrong())?, None)),
        Some((index, sequence)) => {
            Ok((index.parse().map_err(|_| wrong())?, Some(sequence.parse().map_err(|_| wrong())?)))
        }
    }
}

/// Handler of `GET /events`.
pub async fn events(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    query: Result<Query<EventsParams>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(params) = query.map_err(|error| ApiError::BadRequest(error.body_text()))?;
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let from = match resumed.or(params.from.as_deref()) {
        Some(text) => position(text)?,
        None => (node.events.newest(), None),
    };
    // Asked once before the answer begins, so that a compacted position is a 410 and not a broken stream.
    node.events.after(from, 1).map_err(|compacted| ApiError::Compacted(compacted.to_string()))?;
    let mut response = Response::new(Body::from_stream(follow(node, from)));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn follow(node: Arc<Node>, from: Position) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let watch = node.events.watch();
    stream::unfold((node, from, watch, true), |(node, mut from, mut watch, first)| async move {
        if first {
            return Some((Ok(Bytes::from_static(b": raftshare events\n\n")), (node, from, watch, false)));
        }
        loop {
            watch.borrow_and_update();
            // A reader that fell behind what is kept has to read the state and start over: its stream ends.
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
        let (kind, data) = super::convert::event_json(event.event());
        text.push_str(&format!("id: {log_index}.{sequence}\nevent: {kind}\ndata: {data}\n\n"));
    }
    text.into()
}
