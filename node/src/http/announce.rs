//! `POST /announce`: one file, optionally under a lease, or many holdings.
//!
//! Invariant: if many files need several entries, each file has its own result, and nothing after a failed entry is
//! tried (R4).

use client::contract::{
    self, AnnounceAnswer, AnnounceManyResponse, AnnounceResponse, AnnounceResult, AppliedState, FileEntry,
};
use raft_store::catalog::{Announce, AnnounceMany, Holding, Op, Rejection, Reply as Committal};
use raft_store::types::{FileName, PeerId, Version};

use super::error::{ApiError, code_of};
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::writes::unexpected;
use crate::propose::Committed;
use crate::propose::cut;

/// Converts a file to the catalog's form.
pub(super) fn holding(entry: FileEntry) -> Result<Holding, ApiError> {
    if entry.version == Some(0) {
        return Err(ApiError::BadRequest(format!("version of {} must be 1 or greater", entry.name)));
    }
    Ok(Holding { name: entry.name, version: entry.version, size: entry.size, hash: entry.hash })
}

/// A checked announcement.
pub enum Checked {
    /// One file, optionally under a lease.
    One(Announce),
    /// Many holdings.
    Many(PeerId, Vec<Holding>),
}

impl Handle for contract::Announce {
    type Checked = Checked;

    fn check(sent: Sent<'_, Self>) -> Result<Checked, ApiError> {
        let request = sent.request;
        match (request.file, request.files) {
            (Some(file), None) => Ok(Checked::One(Announce {
                peer: request.peer_id,
                holding: holding(file)?,
                token: request.lease_token,
                keep_lease: request.keep_lease.unwrap_or(false),
            })),
            (None, Some(files)) if request.lease_token.is_none() => {
                let files = files.into_iter().map(holding).collect::<Result<Vec<_>, _>>()?;
                Ok(Checked::Many(request.peer_id, files))
            }
            (None, Some(_)) => {
                Err(ApiError::BadRequest("leaseToken publishes one file; send it with `file`, not with `files`".into()))
            }
            _ => Err(ApiError::BadRequest("exactly one of the fields `file` and `files` is needed".into())),
        }
    }

    async fn answer(call: &Call, checked: Checked) -> Result<Reply<AnnounceAnswer>, ApiError> {
        match checked {
            Checked::One(announce) => announce_one(call, announce).await,
            Checked::Many(peer, files) => announce_many(call, peer, files).await,
        }
    }
}

async fn announce_one(call: &Call, announce: Announce) -> Result<Reply<AnnounceAnswer>, ApiError> {
    let (peer, name) = (announce.peer.clone(), announce.holding.name.clone());
    let Committed { log_index, outcome } = call.propose(Op::Announce(announce), 0).await?;
    match outcome.result {
        Err(rejection) => Ok(Reply::Refused(rejection, log_index)),
        Ok(Committal::Announced { version, fencing_token }) => {
            // A current copy gives its holder no task. Any other copy may, once the planner has seen it.
            let is_current = call.node.catalog().current_version(&name) == Some(version);
            let tasks = if is_current { call.tasks_now(&peer) } else { call.tasks(&peer, log_index).await };
            let answer = AnnounceResponse { ok: true, version, fencing_token, tasks };
            Ok(Reply::Logged(AnnounceAnswer::One(answer), log_index))
        }
        Ok(other) => Err(unexpected(&other)),
    }
}

async fn announce_many(call: &Call, peer: PeerId, files: Vec<Holding>) -> Result<Reply<AnnounceAnswer>, ApiError> {
    let mut results = Vec::with_capacity(files.len());
    let mut log_index = 0;
    // Set by the first failed chunk. Later chunks are not tried, so that a request does not hang once per chunk (R4).
    let mut stopped = false;
    for (chunk, files) in (0..).zip(cut::chunks(files, cut::ANNOUNCE_BYTES_MAX)) {
        let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        if stopped {
            results.extend(names.into_iter().map(|name| failed_result(name, &ApiError::NoQuorum)));
            continue;
        }
        match call.propose(Op::AnnounceMany(AnnounceMany { peer: peer.clone(), files }), chunk).await {
            // No earlier chunk was applied, so the request can still fail as a whole.
            Err(error) if chunk == 0 => return Err(error),
            Err(error) => {
                stopped = true;
                results.extend(names.into_iter().map(|name| failed_result(name, &error)));
            }
            Ok(Committed { log_index: at, outcome }) => {
                log_index = at;
                match outcome.result {
                    Err(rejection) if chunk == 0 => return Ok(Reply::Refused(rejection, log_index)),
                    Err(rejection) => {
                        results.extend(names.into_iter().map(|name| result(name, Err(rejection.clone()))))
                    }
                    Ok(Committal::AnnouncedMany(outcomes)) => {
                        results.extend(names.into_iter().zip(outcomes).map(|(name, outcome)| result(name, outcome)));
                    }
                    Ok(other) => return Err(unexpected(&other)),
                }
            }
        }
    }
    let tasks = call.tasks(&peer, log_index).await;
    let ok = results.iter().all(|result| result.ok);
    Ok(Reply::Logged(AnnounceAnswer::Many(AnnounceManyResponse { ok, results, tasks }), log_index))
}

fn result(name: FileName, outcome: Result<Version, Rejection>) -> AnnounceResult {
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

fn failed_result(name: FileName, error: &ApiError) -> AnnounceResult {
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
