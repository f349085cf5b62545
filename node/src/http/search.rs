//! `GET /search`: hits from the name index, with the catalog's data for each.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use client::contract::{PeerAddress, Search, SearchHit, SearchQuery, headers};
use raft_store::catalog::Catalog;
use raft_store::types::FileName;

use super::consistency::Source;
use super::error::ApiError;
use super::filters::Filters;
use super::handle::{Call, Handle, Sent};
use super::reply::{DerivedFrom, Reply, json};
use crate::config::SEARCH_LIMIT_MAX;
use crate::node::Node;
use crate::search::Mode;
use crate::search::names::{SEARCHES_WAITING_MAX, TURN_WAIT};

/// Default limit of a search.
const SEARCH_LIMIT_DEFAULT: usize = 50;

impl Handle for Search {
    type Checked = Asked;
    const SOURCE: Source = Source::Names;

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        let limit = sent.query.limit.unwrap_or(SEARCH_LIMIT_DEFAULT);
        if limit == 0 || limit > SEARCH_LIMIT_MAX {
            return Err(ApiError::BadRequest(format!("limit is {limit}; it must be between 1 and {SEARCH_LIMIT_MAX}")));
        }
        let SearchQuery { q, mode, records, under, attr, limit: _, cursor: _ } = sent.query;
        let filters = Filters::new(records.unwrap_or(false), under.as_deref(), &attr)?;
        Ok(Asked { query: q.unwrap_or_default(), mode: mode.unwrap_or_default(), limit, filters })
    }

    async fn answer(call: &Call, asked: Asked) -> Result<Reply<Vec<SearchHit>>, ApiError> {
        let node = call.node.clone();
        let too_many = || {
            ApiError::Overloaded(format!(
                "{SEARCHES_WAITING_MAX} searches are already waiting, or this one waited {TURN_WAIT:?}"
            ))
        };
        let turn = node.names.turn().await.ok_or_else(too_many)?;
        // A scan of many names would block a thread that answers heartbeats.
        let executor = node.executor.clone();
        let answered = executor.compute(move || {
            let _turn = turn;
            found(&node, &asked)
        });
        answered.await.map_err(|error| ApiError::Overloaded(error.to_string()))?.map(Reply::Whole)
    }
}

/// A checked search.
pub struct Asked {
    query: String,
    mode: Mode,
    limit: usize,
    filters: Filters,
}

/// Leaves out what the filters do not want, and files without a live holder (P5). The catalog decides that, at or past
/// the position of the name index.
fn found(node: &Node, asked: &Asked) -> Result<Response, ApiError> {
    let opened = node.names.open(&asked.query, asked.mode).map_err(|progress| ApiError::Loading { progress })?;
    // Taken now: by the end of the search the index may be newer than what was searched.
    let derived = DerivedFrom { applied: opened.followed, as_of: node.names_as_of(opened.followed) };
    let filters = &asked.filters;
    let is_wanted = |name: &FileName| {
        filters.is_below(name)
            && node.catalog().is_found(name, filters.records, |attributes| filters.accept(attributes))
    };
    let found = opened.finish(asked.limit, is_wanted);
    let hits: Vec<_> = {
        let catalog = node.catalog();
        found.hits.into_iter().filter_map(|(name, score)| hit(&catalog, &name, score)).collect()
    };
    let mut response = json(&hits);
    response.headers_mut().insert(HeaderName::from_static(headers::TOTAL), HeaderValue::from(found.total));
    response.extensions_mut().insert(derived);
    Ok(response)
}

fn hit(catalog: &Catalog, name: &FileName, score: f64) -> Option<SearchHit> {
    let file = catalog.file(name)?;
    if file.hash.is_none() && !file.is_record() {
        return None;
    }
    // A record has no current holders: what peers still hold are older versions.
    let current = file.holders.iter().filter(|holder| holder.live && holder.current);
    Some(SearchHit {
        version: file.hash.map(|_| file.version),
        size: file.hash.map(|_| file.size.unwrap_or(0)),
        hash: file.hash,
        score,
        peers: current
            .map(|holder| PeerAddress { id: holder.peer.clone(), address: holder.address.to_string() })
            .collect(),
        file_name: file.name,
        attributes: file.attributes,
    })
}
