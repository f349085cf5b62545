//! `GET /v0/search` and `GET /v0/peers`: answered here or by the leader, as reads without a consistency level are (R1).
//!
//! Invariant: only live peers with the current bytes are named, since the original's client takes the first one and
//! compares the hash.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::response::Response;
use client::contract::ReadParams;
use raft_store::catalog::FileView;
use raft_store::types::FileName;
use serde::Deserialize;

use super::wire::{SearchMatch, SearchResponse};
use super::{Asked, Current, answered, peer_info, text};
use crate::config::SEARCH_LIMIT_MAX;
use crate::http::consistency::{Admitted, Source, admit};
use crate::http::error::ApiError;
use crate::http::reply::DerivedFrom;
use crate::http::route::Parts;
use crate::node::Node;
use crate::search::Mode;

/// Parameters. The original ignores those that it does not know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    q: String,
    file: String,
}

/// Answers a read.
pub async fn answer(node: &Arc<Node>, asked: Asked, request: Request) -> Result<Response, ApiError> {
    let parts = Parts { body: Bytes::new(), ..Parts::of(request)? };
    let params = Query::<Params>::try_from_uri(&parts.uri);
    let Query(params) = params.map_err(|error| ApiError::BadRequest(error.body_text()))?;
    let source = if asked == Asked::Search { Source::Names } else { Source::Catalog };
    match admit(node, &parts, ReadParams::default(), source).await? {
        Admitted::Answered(answer) => Ok(answer),
        Admitted::Here if asked == Asked::Search => search(node, params.q).await,
        Admitted::Here => Ok(peers(node, &params.file)),
    }
}

async fn search(node: &Arc<Node>, query: String) -> Result<Response, ApiError> {
    let turn = node.names.turn().await;
    let turn = turn.ok_or_else(|| ApiError::Overloaded("too many searches are waiting".into()))?;
    let node = node.clone();
    let executor = node.executor.clone();
    let found = executor.compute(move || {
        let _turn = turn;
        found(&node, query.trim())
    });
    found.await.map_err(|error| ApiError::Overloaded(error.to_string()))?
}

/// The original's match: the query occurs in the name, whatever the case. All matches by name, up to a limit.
fn found(node: &Node, query: &str) -> Result<Response, ApiError> {
    let wanted = query.to_lowercase();
    let opened = node.names.open(query, Mode::Substring).map_err(|progress| ApiError::Loading { progress })?;
    let derived = DerivedFrom { applied: opened.followed, as_of: node.names_as_of(opened.followed) };
    // The index finds names that have each word of the query; here the query counts as it was typed.
    let is_match = |name: &FileName| {
        name.as_str().to_lowercase().contains(&wanted) && node.catalog().is_found(name, false, |_| true)
    };
    let hits = opened.finish(SEARCH_LIMIT_MAX, is_match).hits;
    let mut files: Vec<FileView> = {
        let catalog = node.catalog();
        hits.iter().filter_map(|(name, _)| catalog.file(name)).collect()
    };
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let matches = files.iter().filter_map(|file| matched(node, file)).collect();
    let mut response = answered(&SearchResponse { matches });
    response.extensions_mut().insert(derived);
    Ok(response)
}

fn peers(node: &Node, name: &str) -> Response {
    let file = FileName::parse(name).ok().and_then(|name| node.catalog().file(&name));
    let found = file.and_then(|file| matched(node, &file));
    found.map_or_else(|| text(StatusCode::NOT_FOUND, "not found"), |found| answered(&found))
}

/// A file with its peers; `None` if the original would have forgotten it, since no live peer has it.
fn matched(node: &Node, file: &FileView) -> Option<SearchMatch> {
    let current = Current::of_view(file)?;
    if !file.holders.iter().any(|holder| holder.live) {
        return None;
    }
    let peers = file.holders.iter().filter(|holder| holder.live && holder.current);
    let peers = peers.map(|holder| peer_info(node, &holder.peer, &holder.address)).collect();
    Some(SearchMatch { file: current.info(&file.name), peers })
}
