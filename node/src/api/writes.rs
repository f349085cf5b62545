//! The logged writes except leases: register, announce, delete. Each handler: parse → check → here or the leader →
//! propose → answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use client::api::{
    AnnounceManyResponse, AnnounceRequest, AnnounceResponse, AnnounceResult, AppliedState, ConflictEntry,
    DeleteRequest, FileEntry, ListingAnswer, RegisterRequest, RegisterResponse,
};
use raft_store::catalog::{
    Announce, Command, Conflict, Holding, KeyTag, Listing, ListingState, Op, Register, Rejection, Reply,
};
use raft_store::types::{PeerId, Version, limits};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::{no_content, ok_json};
use super::body::{ReadBody, key_tag, parse};
use super::error::{ApiError, code_of};
use super::heavy;
use super::route::{Parts, to_leader};
use crate::config::REQUEST_DEADLINE;
use crate::node::Node;
use crate::propose::Committed;
use crate::{cut, digests};

/// How long an answer waits for the planner to have seen its write, so that the tasks in it are current (M3).
const PLANNER_WAIT: Duration = Duration::from_millis(50);
/// Pause before a write whose leader was lost looks for the next one.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(5);
/// How long after its arrival a write may still set out for another leader; finding one may take `LEADER_WAIT`, and all of it
/// has to fit into the 5 s of R4.
const ELSEWHERE_WITHIN: Duration = Duration::from_millis(1_500);

/// What every write handler is given.
pub struct Write {
    /// The node.
    pub node: Arc<Node>,
    /// The request.
    pub parts: Parts,
    /// Its idempotency key.
    pub key: Option<KeyTag>,
    arrived: Instant,
}

impl Write {
    /// Takes a request apart; fails on an oversized body or a bad key header.
    pub async fn new(
        node: Arc<Node>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: &ReadBody,
    ) -> Result<Self, ApiError> {
        let body = body.bytes()?.clone();
        let key = if body.len() < heavy::LARGE_BODY_BYTES {
            key_tag(&headers, uri.path(), &body)?
        } else {
            let parts = (headers.clone(), uri.clone(), body.clone());
            heavy::run(body.len(), move || key_tag(&parts.0, parts.1.path(), &parts.2)).await?
        };
        Ok(Self { node, parts: Parts { method, uri, headers, body }, key, arrived: Instant::now() })
    }

    /// Leadership may have left this node between the look at who leads and the proposal, which is definite: the request then
    /// goes to the next leader, unless its sender wants to find that itself. Waits a moment before that.
    pub async fn go_elsewhere(&self, refusal: ApiError) -> Result<(), ApiError> {
        if self.parts.was_forwarded() || self.parts.wants_no_hop() || self.node.config.reject_writes_on_followers {
            return Err(refusal);
        }
        if self.arrived.elapsed() > ELSEWHERE_WITHIN {
            return Err(ApiError::NoQuorum);
        }
        tokio::time::sleep(ELSEWHERE_PAUSE).await;
        Ok(())
    }

    /// The leader's answer if this node does not lead; `within` bounds how long that may take.
    pub async fn forwarded(&self, within: Duration) -> Result<Option<Response>, ApiError> {
        to_leader(&self.node, &self.parts, within).await
    }

    /// Proposes a command under this request's key, as its chunk number `chunk`.
    pub async fn propose(&self, op: Op, chunk: u32) -> Result<Committed, ApiError> {
        let peer = op.peer().cloned();
        let key = self.key.clone().map(|key| KeyTag { chunk, ..key });
        let committed = self.node.proposer.propose(Command { key, op }).await?;
        if let Some(peer) = peer {
            self.node.leadership.sign_of_life(&peer);
        }
        Ok(committed)
    }

    /// The peer's tasks, once the planner has seen the write at `log_index`.
    pub async fn tasks(&self, peer: &PeerId, log_index: u64) -> Vec<client::api::Task> {
        let mut seen = self.node.events.watch();
        let _ = tokio::time::timeout(PLANNER_WAIT, seen.wait_for(|seen| *seen >= log_index)).await;
        self.tasks_now(peer)
    }

    /// The peer's tasks as the planner knows them.
    pub fn tasks_now(&self, peer: &PeerId) -> Vec<client::api::Task> {
        let catalog = self.node.catalog();
        self.node.leadership.tasks_for(&catalog, peer)
    }
}

/// Runs a write handler and gives its failures the form of failed writes (W5).
macro_rules! write_handler {
    ($(#[$doc:meta])* $name:ident => $inner:path) => {
        $(#[$doc])*
        pub async fn $name(
            State(node): State<Arc<Node>>,
            method: Method,
            uri: Uri,
            headers: HeaderMap,
            Extension(body): Extension<ReadBody>,
        ) -> Response {
            let outcome = match Write::new(node, method, uri, headers, &body).await {
                Ok(write) => loop {
                    match $inner(&write).await {
                        Err(refusal @ ApiError::NotLeader(_)) => match write.go_elsewhere(refusal).await {
                            Ok(()) => {}
                            Err(error) => break Err(error),
                        },
                        outcome => break outcome,
                    }
                },
                Err(error) => Err(error),
            };
            outcome.unwrap_or_else(|error| error.response(true))
        }
    };
}
pub(super) use write_handler;

write_handler! {
    /// `POST /register` (P1, P2).
    register => register_inner
}
write_handler! {
    /// `POST /announce` (F3–F6).
    announce => announce_inner
}
write_handler! {
    /// `POST /delete` (F7).
    delete => delete_inner
}

/// A committed refusal as an error that still tells its log index.
pub fn refused(rejection: Rejection, log_index: u64) -> Response {
    super::answer::with_index(ApiError::Refused(rejection).response(true), log_index)
}

/// A reply that does not belong to its command: a defect, reported as an unknown outcome rather than hidden.
pub fn unexpected(reply: &Reply) -> ApiError {
    ApiError::Unknown(format!("the index answered {reply:?}"))
}

fn holding(entry: FileEntry) -> Result<Holding, ApiError> {
    if entry.version == Some(0) {
        return Err(ApiError::BadRequest(format!("version of {} must be 1 or greater", entry.name)));
    }
    Ok(Holding { name: entry.name, version: entry.version, size: entry.size, hash: entry.hash })
}

fn check_address(address: &str) -> Result<(), ApiError> {
    let wrong =
        |what: &str| ApiError::BadRequest(format!("address {what}; expected a base URL such as http://10.0.0.5:9001"));
    if address.len() > limits::ADDRESS_BYTES_MAX {
        return Err(wrong("is longer than 512 bytes"));
    }
    let url = reqwest::Url::parse(address).map_err(|_| wrong("is no URL"))?;
    let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if plain { Ok(()) } else { Err(wrong("is no http base URL")) }
}

fn check_register(request: &RegisterRequest) -> Result<(), ApiError> {
    check_address(&request.address)?;
    if request.zone.as_ref().is_some_and(|zone| zone.len() > limits::ADDRESS_BYTES_MAX) {
        return Err(ApiError::BadRequest("zone is longer than 512 bytes".into()));
    }
    if request.listing.as_ref().is_some_and(|page| page.id.is_empty() || page.id.len() > limits::KEY_BYTES_MAX) {
        return Err(ApiError::BadRequest("listing.id must have 1 to 128 bytes".into()));
    }
    if request.files.is_none() && request.digest.is_none() {
        return Err(ApiError::BadRequest("missing field `files` (or `digest` if the holdings did not change)".into()));
    }
    Ok(())
}

async fn register_inner(write: &Write) -> Result<Response, ApiError> {
    let (body, key) = (write.parts.body.clone(), write.key.clone());
    let prepared = heavy::run(body.len(), move || registration(&body, key.as_ref()));
    let (request, listings) = prepared.await?;
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    if request.digest.is_some() {
        // Applying the command then has it at hand; whether it still holds is decided there.
        digests::compute(&write.node, &request.peer_id).await;
    }
    let register = |listing| Register {
        peer: request.peer_id.clone(),
        address: request.address.clone(),
        zone: request.zone.clone(),
        capacity_bytes: request.capacity_bytes,
        serving: request.serving.unwrap_or(true),
        listing,
    };
    let mut merged = RegisterResponse {
        ok: true,
        incarnation: 0,
        tasks: Vec::new(),
        listing: ListingAnswer::Accepted,
        conflicts: Vec::new(),
    };
    let mut log_index = 0;
    for (chunk, listing) in (0..).zip(listings) {
        let committed = write.propose(Op::Register(register(listing)), chunk).await;
        let committed = committed.map_err(|error| partly(chunk, error))?;
        log_index = committed.log_index;
        match committed.outcome.result {
            Err(rejection) if chunk > 0 => return Err(partly(chunk, rejection.into())),
            Err(rejection) => return Ok(refused(rejection, log_index)),
            Ok(Reply::Registered { incarnation, listing, conflicts }) => {
                merged.incarnation = incarnation;
                merged.listing = listing_answer(listing);
                merged.conflicts.extend(conflicts.into_iter().map(conflict_entry));
                if listing == ListingState::Wanted {
                    break;
                }
            }
            Ok(other) => return Err(unexpected(&other)),
        }
    }
    merged.tasks = write.tasks(&request.peer_id, log_index).await;
    Ok(ok_json(&merged, Some(log_index)))
}

/// A registration, and its holdings as they travel in the log.
fn registration(body: &[u8], key: Option<&KeyTag>) -> Result<(RegisterRequest, Vec<Listing>), ApiError> {
    let mut request: RegisterRequest = parse(body)?;
    check_register(&request)?;
    let files = request.files.take().unwrap_or_default();
    let mut files = files.into_iter().map(holding).collect::<Result<Vec<_>, _>>()?;
    let listings = match (request.digest, request.listing.take()) {
        (Some(digest), _) => vec![Listing::Unchanged { digest, count: request.count }],
        (None, page) => {
            // By name, so that a listing never depends on the order of a directory.
            files.sort_by(|a, b| a.name.cmp(&b.name));
            listing_chunks(files, page, key)
        }
    };
    Ok((request, listings))
}

/// A failure after earlier chunks were applied is not definite for the request as a whole (W5, X4).
fn partly(chunk: u32, error: ApiError) -> ApiError {
    match chunk {
        0 => error,
        _ => ApiError::Unknown(format!("the first {chunk} pages of the listing were taken in, then: {error}")),
    }
}

/// The listing as it travels in the log: in one piece if it fits an entry, else in pages of one listing (X4).
fn listing_chunks(files: Vec<Holding>, page: Option<client::api::ListingPage>, key: Option<&KeyTag>) -> Vec<Listing> {
    let mut chunks = cut::chunks(files);
    let last = chunks.len() - 1;
    let (id, completes) = match page {
        Some(page) => (page.id, page.last),
        None if last == 0 => return vec![Listing::Whole(std::mem::take(&mut chunks[0]))],
        None => (own_listing_id(key), true),
    };
    let pages = chunks.into_iter().enumerate();
    pages.map(|(n, files)| Listing::Page { id: id.clone(), last: completes && n == last, files }).collect()
}

/// The same request repeated under its key must continue the same listing, or its remembered pages would void it.
fn own_listing_id(key: Option<&KeyTag>) -> String {
    match key {
        Some(key) => {
            let digest = Sha256::digest(key.key.as_bytes());
            digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        }
        None => format!("{:032x}", rand::random::<u128>()),
    }
}

fn listing_answer(state: ListingState) -> ListingAnswer {
    match state {
        ListingState::Accepted => ListingAnswer::Accepted,
        ListingState::Unchanged => ListingAnswer::Unchanged,
        ListingState::Wanted => ListingAnswer::Wanted,
    }
}

fn conflict_entry(conflict: Conflict) -> ConflictEntry {
    ConflictEntry { name: conflict.name, current_version: conflict.current_version, hash: conflict.hash }
}

async fn announce_inner(write: &Write) -> Result<Response, ApiError> {
    let body = write.parts.body.clone();
    let request: AnnounceRequest = heavy::run(body.len(), move || parse(&body)).await?;
    match (request.file, request.files) {
        (Some(file), None) => {
            let announce = Announce {
                peer: request.peer_id,
                holding: holding(file)?,
                token: request.lease_token,
                keep_lease: request.keep_lease.unwrap_or(false),
            };
            announce_one(write, announce).await
        }
        (None, Some(files)) if request.lease_token.is_none() => {
            let files = files.into_iter().map(holding).collect::<Result<Vec<_>, _>>()?;
            announce_many(write, request.peer_id, files).await
        }
        (None, Some(_)) => {
            Err(ApiError::BadRequest("leaseToken publishes one file; send it with `file`, not with `files`".into()))
        }
        _ => Err(ApiError::BadRequest("exactly one of the fields `file` and `files` is needed".into())),
    }
}

async fn announce_one(write: &Write, announce: Announce) -> Result<Response, ApiError> {
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let (peer, name) = (announce.peer.clone(), announce.holding.name.clone());
    let Committed { log_index, outcome } = write.propose(Op::Announce(announce), 0).await?;
    match outcome.result {
        Err(rejection) => Ok(refused(rejection, log_index)),
        Ok(Reply::Announced { version, fencing_token }) => {
            // A copy that is current asks nothing of its holder; another one may, as soon as the planner has seen it.
            let is_current = write.node.catalog().current_version(&name) == Some(version);
            let tasks = if is_current { write.tasks_now(&peer) } else { write.tasks(&peer, log_index).await };
            Ok(ok_json(&AnnounceResponse { ok: true, version, fencing_token, tasks }, Some(log_index)))
        }
        Ok(other) => Err(unexpected(&other)),
    }
}

async fn announce_many(write: &Write, peer: PeerId, files: Vec<Holding>) -> Result<Response, ApiError> {
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let mut results = Vec::with_capacity(files.len());
    let mut log_index = 0;
    // Set by the first chunk that failed: what follows it is not tried, so that no request hangs once per chunk (R4).
    let mut stopped = false;
    for (chunk, files) in (0..).zip(cut::chunks(files)) {
        let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        if stopped {
            results.extend(names.into_iter().map(|name| failed_result(name, &ApiError::NoQuorum)));
            continue;
        }
        match write.propose(Op::AnnounceMany { peer: peer.clone(), files }, chunk).await {
            // Nothing before it was applied: the whole request can still fail as one.
            Err(error) if chunk == 0 => return Err(error),
            Err(error) => {
                stopped = true;
                results.extend(names.into_iter().map(|name| failed_result(name, &error)));
            }
            Ok(Committed { log_index: at, outcome }) => {
                log_index = at;
                match outcome.result {
                    Err(rejection) if chunk == 0 => return Ok(refused(rejection, log_index)),
                    Err(rejection) => {
                        results.extend(names.into_iter().map(|name| result(name, Err(rejection.clone()))))
                    }
                    Ok(Reply::AnnouncedMany(outcomes)) => {
                        results.extend(names.into_iter().zip(outcomes).map(|(name, outcome)| result(name, outcome)));
                    }
                    Ok(other) => return Err(unexpected(&other)),
                }
            }
        }
    }
    let tasks = write.tasks(&peer, log_index).await;
    let ok = results.iter().all(|result| result.ok);
    Ok(ok_json(&AnnounceManyResponse { ok, results, tasks }, Some(log_index)))
}

fn result(name: raft_store::types::FileName, outcome: Result<Version, Rejection>) -> AnnounceResult {
    match outcome {
        Ok(version) => {
            AnnounceResult { name, ok: true, version: Some(version), code: None, current_version: None, applied: None }
        }
        Err(rejection) => AnnounceResult {
            name,
            ok: false,
            version: None,
            code: Some(code_of(&rejection)),
            current_version: ApiError::Refused(rejection).problem(true).current_version,
            applied: Some(AppliedState::No),
        },
    }
}

fn failed_result(name: raft_store::types::FileName, error: &ApiError) -> AnnounceResult {
    let problem = error.problem(true);
    AnnounceResult {
        name,
        ok: false,
        version: None,
        code: Some(problem.code),
        current_version: None,
        applied: problem.applied,
    }
}

async fn delete_inner(write: &Write) -> Result<Response, ApiError> {
    let request: DeleteRequest = parse(&write.parts.body)?;
    if let Some(answer) = write.forwarded(REQUEST_DEADLINE).await? {
        return Ok(answer);
    }
    let op = Op::Delete {
        peer: request.peer_id,
        file: request.file_name,
        everywhere: request.everywhere.unwrap_or(false),
        token: request.lease_token,
    };
    let Committed { log_index, outcome } = write.propose(op, 0).await?;
    match outcome.result {
        Err(rejection) => Ok(refused(rejection, log_index)),
        Ok(_) => Ok(no_content(log_index)),
    }
}
