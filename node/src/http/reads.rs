//! The reads: search, peers, file, why, lease, stats. Each copies what it needs out of the catalog under its lock and
//! answers without it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use client::api::{
    FilePeer, FileResponse, HolderEntry, LeaseStatus, LinePlace, PeerAddress, PeerEntry, ReplicaCount, SearchHit,
    StatsResponse, headers,
};
use raft_store::catalog::{Catalog, FileView, LeaseView};
use raft_store::types::{FileName, InvalidValue};
use serde::de::DeserializeOwned;

use super::answer::{DerivedFrom, ok_json};
use super::consistency::{Admitted, ReadParams, Source, admit};
use super::error::ApiError;
use super::route::Parts;
use crate::config::SEARCH_LIMIT_MAX;
use crate::node::Node;
use crate::search::Mode;
use crate::search::names::{SEARCHES_WAITING_MAX, TURN_WAIT};
use crate::sys::clock::unix_seconds;

/// Hits of a search that does not say.
const SEARCH_LIMIT_DEFAULT: usize = 50;

/// A read request, admitted or not yet.
pub struct Read {
    node: Arc<Node>,
    parts: Parts,
}

impl Read {
    /// Takes a request apart.
    pub fn new(node: Arc<Node>, request: Request) -> Result<Self, ApiError> {
        Ok(Self { node, parts: Parts { body: Bytes::new(), ..Parts::of(request)? } })
    }

    /// Query parameters; unknown ones are ignored, wrong values of known ones are refused.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&self.parts.uri)
            .map(|query| query.0)
            .map_err(|error| ApiError::BadRequest(format!("query: {}", error.body_text())))
    }

    /// Waits until this node may answer; otherwise the leader's answer.
    pub async fn admit(&self) -> Result<Option<Response>, ApiError> {
        self.admit_from(Source::Catalog).await
    }

    /// The same where the answer comes from derived state, which has to have come as far.
    async fn admit_from(&self, source: Source) -> Result<Option<Response>, ApiError> {
        let params: ReadParams = self.params()?;
        match admit(&self.node, &self.parts, params, source).await? {
            Admitted::Here => Ok(None),
            Admitted::Answered(answer) => Ok(Some(answer)),
        }
    }
}

/// Runs a read handler; failures become problem bodies.
macro_rules! read_handler {
    ($(#[$doc:meta])* $name:ident => $inner:path) => {
        $(#[$doc])*
        pub async fn $name(
            State(node): State<Arc<Node>>,
            request: Request,
        ) -> Result<Response, ApiError> {
            $inner(Read::new(node, request)?).await
        }
    };
}

read_handler! {
    /// `GET /search`.
    search => search_inner
}
read_handler! {
    /// `GET /peers` and `GET /peers?file=NAME`.
    peers => peers_inner
}
read_handler! {
    /// `GET /file?name=NAME`.
    file => file_inner
}
read_handler! {
    /// `GET /why?file=NAME`.
    why => why_inner
}
read_handler! {
    /// `GET /lease?file=NAME`.
    lease => lease_inner
}
read_handler! {
    /// `GET /stats`.
    stats => stats_inner
}

fn name(text: Option<String>, parameter: &str) -> Result<FileName, ApiError> {
    let text = text.ok_or_else(|| ApiError::BadRequest(format!("the parameter `{parameter}` is missing")))?;
    FileName::parse(text).map_err(|error: InvalidValue| ApiError::BadName(error.to_string()))
}

/// The file, if its current version exists.
fn existing(catalog: &Catalog, name: &FileName) -> Result<FileView, ApiError> {
    catalog
        .file(name)
        .filter(|file| file.version > 0 && !file.deleted)
        .ok_or_else(|| ApiError::NotFound(format!("no file named {name}")))
}

#[derive(serde::Deserialize)]
struct SearchParams {
    q: Option<String>,
    limit: Option<usize>,
    mode: Option<SearchMode>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum SearchMode {
    Fuzzy,
    Substring,
    Prefix,
}

async fn search_inner(read: Read) -> Result<Response, ApiError> {
    let params: SearchParams = read.params()?;
    let limit = params.limit.unwrap_or(SEARCH_LIMIT_DEFAULT);
    if limit == 0 || limit > SEARCH_LIMIT_MAX {
        return Err(ApiError::BadRequest(format!("limit is {limit}; it must be between 1 and {SEARCH_LIMIT_MAX}")));
    }
    if let Some(answer) = read.admit_from(Source::Names).await? {
        return Ok(answer);
    }
    let query = params.q.unwrap_or_default();
    let mode = match params.mode {
        None | Some(SearchMode::Fuzzy) => Mode::Fuzzy,
        Some(SearchMode::Substring) => Mode::Substring,
        Some(SearchMode::Prefix) => Mode::Prefix,
    };
    let node = read.node;
    let too_many = || {
        ApiError::Overloaded(format!(
            "more searches wait than {SEARCHES_WAITING_MAX}, or for longer than {TURN_WAIT:?}"
        ))
    };
    let turn = node.names.turn().await.ok_or_else(too_many)?;
    // A scan of many names is not work for a thread that answers heartbeats.
    let executor = node.executor.clone();
    let answered = executor.compute(move || {
        let _turn = turn;
        found(&node, &query, mode, limit)
    });
    answered.await.map_err(|error| ApiError::Overloaded(error.to_string()))?
}

/// Files without a live holder leave search results (P5): the catalog decides, at or past the index's position.
fn found(node: &Node, query: &str, mode: Mode, limit: usize) -> Result<Response, ApiError> {
    let opened = node.names.open(query, mode).map_err(|progress| ApiError::Loading { progress })?;
    // Now: by the end of the search the index may be newer than what is searched.
    let derived = DerivedFrom { applied: opened.followed, as_of: node.names_as_of(opened.followed) };
    let found = opened.finish(limit, |name| node.catalog().is_found(name));
    let hits: Vec<_> = {
        let catalog = node.catalog();
        found.hits.into_iter().filter_map(|(name, score)| hit(&catalog, &name, score)).collect()
    };
    let mut response = ok_json(&hits, None);
    response.headers_mut().insert(HeaderName::from_static(headers::TOTAL), HeaderValue::from(found.total));
    Ok(with_source(response, derived))
}

fn hit(catalog: &Catalog, name: &FileName, score: f64) -> Option<SearchHit> {
    let file = catalog.file(name)?;
    let current = file.holders.iter().filter(|holder| holder.live && holder.current);
    Some(SearchHit {
        version: file.version,
        size: file.size.unwrap_or(0),
        hash: file.hash?,
        score,
        peers: current
            .map(|holder| PeerAddress { id: holder.peer.clone(), address: holder.address.to_string() })
            .collect(),
        file_name: file.name,
    })
}

#[derive(serde::Deserialize)]
struct FileParam {
    file: Option<String>,
}

async fn peers_inner(read: Read) -> Result<Response, ApiError> {
    let params: FileParam = read.params()?;
    let wanted = params.file.map(|file| name(Some(file), "file")).transpose()?;
    if let Some(answer) = read.admit().await? {
        return Ok(answer);
    }
    let node = &read.node;
    let catalog = node.catalog();
    let Some(wanted) = wanted else {
        let peers: Vec<_> = catalog.peers().filter(|peer| peer.live).collect();
        drop(catalog);
        let entries: Vec<_> = peers
            .into_iter()
            .map(|peer| PeerEntry {
                last_seen: node.last_seen_unix(&peer.id),
                id: peer.id,
                address: peer.address,
                zone: peer.zone,
                files: peer.holdings,
            })
            .collect();
        return Ok(ok_json(&entries, None));
    };
    let file = existing(&catalog, &wanted)?;
    drop(catalog);
    let live = file.holders.into_iter().filter(|holder| holder.live);
    let entries: Vec<_> = live
        .map(|holder| FilePeer {
            last_seen: node.last_seen_unix(&holder.peer),
            id: holder.peer,
            address: holder.address.to_string(),
            version: holder.version,
            current: holder.current,
        })
        .collect();
    Ok(ok_json(&entries, None))
}

#[derive(serde::Deserialize)]
struct NameParam {
    name: Option<String>,
}

async fn file_inner(read: Read) -> Result<Response, ApiError> {
    let params: NameParam = read.params()?;
    let wanted = name(params.name, "name")?;
    if let Some(answer) = read.admit().await? {
        return Ok(answer);
    }
    let (file, lease) = {
        let catalog = read.node.catalog();
        (existing(&catalog, &wanted)?, catalog.lease(&wanted))
    };
    let live = file.holders.iter().filter(|holder| holder.live && holder.current).count();
    let Some(hash) = file.hash else { return Err(ApiError::NotFound(format!("no file named {wanted}"))) };
    Ok(ok_json(
        &FileResponse {
            version: file.version,
            size: file.size.unwrap_or(0),
            hash,
            holders: file
                .holders
                .into_iter()
                .map(|holder| HolderEntry {
                    id: holder.peer,
                    address: holder.address.to_string(),
                    version: holder.version,
                    current: holder.current,
                    live: holder.live,
                })
                .collect(),
            lease: lease.map(|lease| lease_status(&read.node, lease)),
            replicas: ReplicaCount { desired: file.replicas_desired, live: u32::try_from(live).unwrap_or(u32::MAX) },
            attributes: serde_json::Map::new(),
            name: file.name,
        },
        None,
    ))
}

fn lease_status(node: &Node, lease: LeaseView) -> LeaseStatus {
    let applied = node.catalog().now();
    // Log time goes on with the leader; without one this node does not know how much is left (R5).
    let known = node.confirmed_leader().is_some();
    let remaining_ms = known.then(|| lease.deadline.saturating_sub(node.clock.now(applied)));
    LeaseStatus {
        file_name: lease.file,
        holder: lease.holder,
        fencing_token: lease.fencing_token.unwrap_or(0),
        expiration: remaining_ms.map(|left| unix_seconds() + left.div_ceil(1_000)),
        remaining_ms,
        line: (1..).zip(lease.line).map(|(position, waiter)| LinePlace { peer_id: waiter.peer, position }).collect(),
    }
}

async fn lease_inner(read: Read) -> Result<Response, ApiError> {
    let params: FileParam = read.params()?;
    let wanted = name(params.file, "file")?;
    if let Some(answer) = read.admit().await? {
        return Ok(answer);
    }
    let lease = read.node.catalog().lease(&wanted);
    let lease = lease.ok_or_else(|| ApiError::NotFound(format!("nobody has the lease of {wanted}")))?;
    Ok(ok_json(&lease_status(&read.node, lease), None))
}

async fn why_inner(read: Read) -> Result<Response, ApiError> {
    let params: FileParam = read.params()?;
    let wanted = name(params.file, "file")?;
    if let Some(answer) = read.admit_from(Source::Planner).await? {
        return Ok(answer);
    }
    let derived = planned_from(&read.node);
    let catalog = read.node.catalog();
    existing(&catalog, &wanted)?;
    // Only the leader plans; a follower that answers stale knows the holders and says that it plans nothing.
    match read.node.leadership.why(&catalog, &wanted, read.node.leads_confirmed()) {
        Some(why) => Ok(with_source(ok_json(&why, None), derived)),
        None => Err(ApiError::NotFound(format!("no file named {wanted}"))),
    }
}

async fn stats_inner(read: Read) -> Result<Response, ApiError> {
    if let Some(answer) = read.admit_from(Source::Planner).await? {
        return Ok(answer);
    }
    let derived = planned_from(&read.node);
    Ok(with_source(ok_json(&stats_of(&read.node), None), derived))
}

/// How far the plan has come: everything that follows the log has come as far as the events, which come last.
fn planned_from(node: &Node) -> DerivedFrom {
    let applied = node.events.newest();
    DerivedFrom { applied, as_of: node.names_as_of(applied) }
}

fn with_source(mut response: Response, derived: DerivedFrom) -> Response {
    response.extensions_mut().insert(derived);
    response
}

/// The figures of `/stats`, as this node knows them.
pub(super) fn stats_of(node: &Node) -> StatsResponse {
    let counts = node.catalog().counts();
    let planned = node.planned();
    let stored = node.stats.read();
    StatsResponse {
        peers: counts.peers_live,
        files: counts.files,
        bytes: counts.bytes,
        under_replicated: planned.map(|planned| planned.under_replicated),
        tasks: planned.map(|planned| planned.tasks),
        leases: counts.leases,
        waiting: counts.waiting,
        answers: counts.answers,
        log_bytes: stored.log_bytes,
        log_entries: stored.log_entries,
        snapshot_bytes: stored.snapshot_bytes,
        snapshot_index: stored.snapshot_index.unwrap_or(0),
        grace_remaining_ms: planned.map(|planned| planned.grace_remaining_ms),
    }
}
