//! `POST /v0/register`: a peer, and all that it holds.
//!
//! Invariant: a registration creates names and makes the peer a holder, and never publishes a version. What contradicts
//! the index is left out, as the original's format has no word for it.

use axum::response::Response;
use client::contract::{self, FileEntry, RegisterRequest};
use futures::future::join_all;
use raft_store::catalog::{self, Listing, Op, Reply as Committal};
use raft_store::types::{ContentHash, FileName, PeerId, limits};

use super::hashes::{Said, stand_in};
use super::wire::{self, FileInfo, TasksResponse};
use super::{Current, V0, answered, file_name, numbers, peer_id};
use crate::http::blocking;
use crate::http::error::ApiError;
use crate::http::handle::{Call, Handle, Sent};
use crate::http::register::check_address;
use crate::http::reply::Reply;
use crate::http::writes::unexpected;
use crate::node::Node;

/// The address of a peer that has asked for a lease before it said where it is. It reaches nobody (RFC 6761).
const NOWHERE: &str = "http://unknown.invalid";

/// Notes about numbers that are proposed at a time: an entry of them.
const NOTES_TOGETHER: usize = limits::ENTRY_COMMANDS_MAX;

/// A checked file of a request.
#[derive(Debug, Clone)]
pub struct Stated {
    pub name: FileName,
    pub size: u64,
    /// As it was sent.
    pub hash: String,
    pub version: i64,
}

impl Stated {
    pub fn check(file: FileInfo) -> Result<Self, ApiError> {
        let name = file_name(&file.name)?;
        let size = u64::try_from(file.size).map_err(|_| {
            ApiError::BadRequest(format!("the size of {name} is {}; it must not be negative", file.size))
        })?;
        Ok(Self { name, size, hash: file.hash, version: file.version })
    }

    /// The hash under which the index knows these bytes.
    ///
    /// Where the peer gave none, the number decides: bytes of the current number are the current ones.
    pub fn hash_beside(&self, current: Option<&Current>) -> ContentHash {
        match (Said::of(&self.hash), current) {
            // Nobody has stated the hash of that version, so nothing contradicts the peer.
            (Said::Hash(_), Some(current)) if self.version == current.number && current.is_unproven() => current.hash,
            (Said::Hash(hash), _) => hash,
            (Said::Text(text), Some(current)) if self.version == current.number && current.may_be(text) => current.hash,
            (Said::Text(text), _) => stand_in(text, self.version, self.size),
        }
    }

    fn entry(&self, node: &Node) -> FileEntry {
        // The original's client states its hashes and knows no versions: then nothing has to be looked up. The catalog
        // is locked for one file at a time, since a listing may be long.
        let is_known = self.version <= 0 && matches!(Said::of(&self.hash), Said::Hash(_));
        let current = if is_known { None } else { Current::of(&node.catalog(), &self.name) };
        let hash = self.hash_beside(current.as_ref());
        FileEntry { name: self.name.clone(), version: None, size: Some(self.size), hash }
    }
}

impl Current {
    /// Whether nobody has stated a SHA-256 of these bytes.
    pub fn is_unproven(&self) -> bool {
        super::hashes::is_stand_in(&self.hash)
    }

    /// Whether a peer that gives this text in place of a hash may mean these bytes.
    fn may_be(&self, text: &str) -> bool {
        text.is_empty() || super::hashes::shown(&self.hash) == text
    }
}

/// A checked registration.
#[derive(Debug, Clone)]
pub struct Registration {
    peer: PeerId,
    address: String,
    files: Vec<Stated>,
}

/// Checks a registration.
pub fn check(request: wire::RegisterRequest) -> Result<Registration, ApiError> {
    let peer = peer_id(&request.peer.id)?;
    let address = base_url(&request.peer.addr)?;
    let files = request.files.into_iter().map(Stated::check).collect::<Result<_, _>>()?;
    Ok(Registration { peer, address, files })
}

/// The base URL of a peer. The original's is one already; a bare `HOST:PORT` means `http`.
pub fn base_url(address: &str) -> Result<String, ApiError> {
    let address = address.trim().trim_end_matches('/');
    if address.is_empty() {
        return Err(ApiError::BadRequest("peer.addr is empty; pass the peer's base URL with -addr".into()));
    }
    let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    check_address(&address)?;
    Ok(address)
}

impl V0 {
    /// Registers a peer and answers its tasks.
    pub async fn register(&self, call: &Call, registration: &Registration) -> Result<Response, ApiError> {
        let Registration { peer, address, files } = registration;
        let entries = files.iter().map(|file| file.entry(&call.node)).collect();
        let request = RegisterRequest::whole(peer.clone(), address.clone(), entries);
        let checked = blocking::run(call.parts.body.len(), move || {
            <contract::Register as Handle>::check(Sent { query: Default::default(), request, key: None })
        });
        let checked = checked.await?;
        let tasks = match contract::Register::answer(call, checked).await? {
            Reply::Logged(response, _) => response.tasks,
            Reply::Refused(rejection, _) => return Err(rejection.into()),
            _ => return Err(ApiError::Unknown("the index gave no answer to a registration".into())),
        };
        self.note_numbers(call, peer, files).await?;
        let names: Vec<FileName> = files.iter().map(|file| file.name.clone()).collect();
        self.hashing.want(&call.node, peer, &names);
        // A registration begins anew: what the peer was given before does not count.
        self.given.forget(peer);
        let tasks = self.given.take(&call.node, peer, tasks);
        Ok(answered(&TasksResponse { ok: true, tasks }))
    }

    /// Notes the numbers under which the peer knows the current versions, where they are above what others see.
    async fn note_numbers(&self, call: &Call, peer: &PeerId, files: &[Stated]) -> Result<(), ApiError> {
        let op = |file: &Stated| {
            let view = call.node.catalog().file(&file.name)?;
            let current = Current::of_view(&view)?;
            let holds = file.hash_beside(Some(&current)) == current.hash;
            let known = numbers::noted(&view);
            let note = numbers::to_note(current.version, file.version, known.as_ref()).filter(|_| holds)?;
            numbers::note(peer, &file.name, note, None)
        };
        let wanted: Vec<Op> = files.iter().filter(|file| file.version > 1).filter_map(op).collect();
        for together in wanted.chunks(NOTES_TOGETHER) {
            // Like the later pages of a listing, they have time of their own.
            for noted in join_all(together.iter().map(|op| call.propose(op.clone(), 1))).await {
                // A refusal means that somebody has the lease of the file: then the number stays as it is.
                noted?;
            }
        }
        Ok(())
    }
}

/// Registers a peer that the index does not know, or has given up, before what it asks for is done: the original
/// creates a peer with its first request. Its holdings stay as they are.
pub async fn ensure_registered(call: &Call, peer: &PeerId, address: Option<&str>) -> Result<(), ApiError> {
    let known = call.node.catalog().peer(peer);
    let listing = match &known {
        Some(known) if known.live => return Ok(()),
        // Without an address there is nothing new to say about a peer that is known.
        Some(_) if address.is_none() => return Ok(()),
        // A listing that is not completed drops nothing (P2).
        Some(_) => Listing::Page { id: format!("v0-{:032x}", rand::random::<u128>()), last: false, files: Vec::new() },
        None => Listing::Whole(Vec::new()),
    };
    let register = catalog::Register {
        peer: peer.clone(),
        address: address.unwrap_or(NOWHERE).to_owned(),
        zone: None,
        capacity_bytes: None,
        serving: address.is_some(),
        listing,
    };
    match call.propose(Op::Register(register), 0).await?.outcome.result? {
        Committal::Registered { .. } => Ok(()),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_store::types::Version;

    fn stated(hash: &str, version: i64) -> Stated {
        Stated::check(FileInfo { name: "f".into(), size: 3, hash: hash.into(), version }).expect("valid")
    }

    fn current(hash: ContentHash, version: Version, number: i64) -> Current {
        Current { version, hash, size: Some(3), number }
    }

    #[test]
    fn addresses_become_base_urls() {
        for (address, expected) in [
            ("http://10.0.0.5:9001", "http://10.0.0.5:9001"),
            ("http://10.0.0.5:9001/", "http://10.0.0.5:9001"),
            ("10.0.0.5:9001", "http://10.0.0.5:9001"),
            (" localhost:9001 ", "http://localhost:9001"),
            ("x", "http://x"),
        ] {
            assert_eq!(base_url(address).expect(address), expected);
        }
        for address in ["", " ", ":9001", "http://:9001", "ftp://h:1", "http://h:1?q"] {
            assert!(matches!(base_url(address), Err(ApiError::BadRequest(_))), "{address:?}");
        }
    }

    #[test]
    fn bytes_are_known_by_their_hash_or_else_by_their_number() {
        let (one, two) = (ContentHash([1; 32]), ContentHash([2; 32]));
        let proven = current(two, 2, 2);
        assert_eq!(stated(&one.to_string(), 9).hash_beside(Some(&proven)), one, "whatever the number");
        assert_eq!(stated("", 2).hash_beside(Some(&proven)), two, "the current bytes, as far as one can tell");
        assert_eq!(stated("", 1).hash_beside(Some(&proven)), stand_in("", 1, 3));
        assert_eq!(stated("abc", 2).hash_beside(Some(&proven)), stand_in("abc", 2, 3), "other bytes");
        let unproven = current(stand_in("abc", 1, 3), 1, 1);
        for hash in ["", "abc", &one.to_string()] {
            assert_eq!(stated(hash, 1).hash_beside(Some(&unproven)), unproven.hash, "{hash}");
        }
        assert_eq!(stated("abd", 1).hash_beside(Some(&unproven)), stand_in("abd", 1, 3));
        assert_eq!(stated(&one.to_string(), 0).hash_beside(Some(&unproven)), one);
    }
}
