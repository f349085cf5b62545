//! `POST /register`: a peer and its holdings.
//!
//! Invariant: a listing that does not fit into one entry is proposed as pages. The last page is proposed only after all
//! others were accepted. A failure after the first page is not definite (X4).

use std::collections::VecDeque;

use client::contract::{self, ConflictEntry, ListingAnswer, RegisterRequest, RegisterResponse};
use futures::future::join_all;
use raft_store::catalog::{Conflict, Holding, KeyTag, Listing, ListingState, Op, Register, Reply as Committal};
use raft_store::types::limits;
use sha2::{Digest, Sha256};

use super::announce::holding;
use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::writes::unexpected;
use crate::duties::digests;
use crate::propose::cut;

pub(super) fn check_address(address: &str) -> Result<(), ApiError> {
    let wrong =
        |what: &str| ApiError::BadRequest(format!("address {what}; expected a base URL such as http://10.0.0.5:9001"));
    if address.len() > limits::ADDRESS_BYTES_MAX {
        return Err(wrong("is longer than 512 bytes"));
    }
    let url = reqwest::Url::parse(address).map_err(|_| wrong("is not a URL"))?;
    let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if plain { Ok(()) } else { Err(wrong("is not an http base URL")) }
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

impl Handle for contract::Register {
    type Checked = (RegisterRequest, Vec<Listing>);

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        registration(sent.request, sent.key)
    }

    async fn answer(call: &Call, (request, listings): Self::Checked) -> Result<Reply<RegisterResponse>, ApiError> {
        if request.digest.is_some() {
            // Computed ahead, so that applying the command finds it ready; `apply` decides whether it still holds.
            digests::compute(&call.node, &request.peer_id).await;
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
        let mut pages: VecDeque<(u32, Listing)> = (0..).zip(listings).collect();
        let mut alone = false;
        'pages: while !pages.is_empty() {
            let pages_now: Vec<_> = pages.drain(..turn(pages.len(), alone)).collect();
            let (sent, handed_in) = (pages_now.len() as u64, call.node.proposer.handed_in());
            let answers = pages_now.into_iter().map(|(chunk, listing)| {
                let committed = call.propose(Op::Register(register(listing)), chunk);
                async move { (chunk, committed.await) }
            });
            for (chunk, committed) in join_all(answers).await {
                let committed = committed.map_err(|error| partly(chunk, error))?;
                log_index = committed.log_index;
                match committed.outcome.result {
                    Err(rejection) if chunk > 0 => return Err(partly(chunk, rejection.into())),
                    Err(rejection) => return Ok(Reply::Refused(rejection, log_index)),
                    Ok(Committal::Registered { incarnation, listing, conflicts }) => {
                        merged.incarnation = incarnation;
                        merged.listing = listing_answer(listing);
                        merged.conflicts.extend(conflicts.into_iter().map(conflict_entry));
                        if listing == ListingState::Wanted {
                            break 'pages;
                        }
                    }
                    Ok(other) => return Err(unexpected(&other)),
                }
            }
            alone = call.node.proposer.handed_in() == handed_in + sent;
        }
        merged.tasks = call.tasks(&request.peer_id, log_index).await;
        Ok(Reply::Logged(merged, log_index))
    }
}

/// Pages proposed together while nobody else writes: about as many as fit into one entry.
const PAGES_TOGETHER: usize = 12;

/// How many of the remaining pages go next, together. A large listing is more work than everything others write, so
/// beside other writers it takes one slot of an entry, like any other command.
///
/// The last page goes alone, after all others: it completes the listing, which must not happen while a page is missing.
/// The first page goes alone too, because it is not yet known who else writes. The order of the pages between does not
/// matter.
fn turn(left: usize, alone: bool) -> usize {
    if alone { PAGES_TOGETHER.min(left - 1).max(1) } else { 1 }
}

/// A registration, and its holdings in the form of the log.
fn registration(
    mut request: RegisterRequest,
    key: Option<&KeyTag>,
) -> Result<(RegisterRequest, Vec<Listing>), ApiError> {
    check_register(&request)?;
    let files = request.files.take().unwrap_or_default();
    let mut files = files.into_iter().map(holding).collect::<Result<Vec<_>, _>>()?;
    let listings = match (request.digest, request.listing.take()) {
        (Some(digest), _) => vec![Listing::Unchanged { digest, count: request.count }],
        (None, page) => {
            // Sorted by name, so that a listing never depends on the order of a directory.
            files.sort_by(|a, b| a.name.cmp(&b.name));
            listing_chunks(files, page, key)
        }
    };
    Ok((request, listings))
}

/// If earlier chunks were applied, a failure is not definite for the request as a whole (W5, X4).
fn partly(chunk: u32, error: ApiError) -> ApiError {
    match chunk {
        0 => error,
        _ => ApiError::Unknown(format!("the first {chunk} pages of the listing were accepted, then: {error}")),
    }
}

/// The listing in the form of the log: in one piece if it fits into an entry, otherwise as pages of one listing (X4).
fn listing_chunks(files: Vec<Holding>, page: Option<contract::ListingPage>, key: Option<&KeyTag>) -> Vec<Listing> {
    let mut chunks = cut::chunks(files, cut::PAGE_BYTES_MAX);
    let last = chunks.len() - 1;
    let (id, completes) = match page {
        Some(page) => (page.id, page.last),
        None if last == 0 => return vec![Listing::Whole(std::mem::take(&mut chunks[0]))],
        None => (own_listing_id(key), true),
    };
    let pages = chunks.into_iter().enumerate();
    pages.map(|(n, files)| Listing::Page { id: id.clone(), last: completes && n == last, files }).collect()
}

/// A request that is repeated under its key must continue the same listing; otherwise its remembered pages would void
/// that listing.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns of a request with this many pages while nobody else writes.
    fn turns(pages: usize) -> Vec<usize> {
        let (mut left, mut alone, mut turns) = (pages, false, Vec::new());
        while left > 0 {
            turns.push(turn(left, alone));
            left -= turns[turns.len() - 1];
            alone = true;
        }
        turns
    }

    #[test]
    fn the_last_page_goes_when_all_others_are_in() {
        for pages in 1..100 {
            let turns = turns(pages);
            assert_eq!((turns.iter().sum::<usize>(), turns.last()), (pages, Some(&1)), "{pages} pages");
        }
    }

    #[test]
    fn many_pages_need_few_entries_while_nobody_else_writes() {
        assert_eq!(turns(20), [1, PAGES_TOGETHER, 6, 1]);
        assert_eq!(turn(20, false), 1);
    }
}
