//! Finds out the hash of files that a peer announced without one, so that peers of this version can verify copies.
//!
//! ```text
//! announced without a hash -> version n under a stand-in -> the leader reads the bytes from that peer, once
//!                                                       +-> version n + 1 with their SHA-256, under the same number
//! ```
//!
//! Invariants
//! * Best effort, in the background: a peer that cannot be reached keeps its stand-in until it is heard from again.
//! * At most [`WAITING_MAX`] files wait and [`AT_A_TIME`] are read, each in bounded time and never into memory.
//! * The new version is published only if the peer still holds the version that was read, under a lease of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use raft_store::catalog::{Acquire, Announce, Grant, Holding, Op, Release, Reply as Committal};
use raft_store::types::{ContentHash, FileName, PeerId};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Current, hashes, lease, numbers};
use crate::node::Node;

/// Files that may wait to be read.
const WAITING_MAX: usize = 1_000;
/// Files that are read at a time.
const AT_A_TIME: usize = 2;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1_024 * 1_024 * 1_024;
/// How long a peer may take to accept a connection, and how long it may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long reading one file may take.
const READ_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// How long the lease lasts under which the new version is published, in milliseconds.
const LEASE_MS: u64 = 10_000;

/// The files that wait, by the peer that they are read from.
#[derive(Debug)]
pub struct Hashing {
    waiting: Mutex<HashSet<(PeerId, FileName)>>,
    places: Semaphore,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { waiting: Mutex::default(), places: Semaphore::new(AT_A_TIME) }
    }
}

/// Why a file has no hash yet.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    #[error("the peer answered {0}")]
    Answered(String),
    #[error("the bytes are not those that were announced: {0}")]
    OtherBytes(String),
    #[error("the file has changed in the index, or its lease is taken")]
    MovedOn,
    #[error("the index did not take the new version: {0}")]
    NotPublished(String),
}

impl Hashing {
    /// Has the hashes of those files found out that the peer holds under a stand-in.
    pub fn want(self: &Arc<Self>, node: &Arc<Node>, peer: &PeerId, names: &[FileName]) {
        for name in names {
            if unproven(node, peer, name).is_none() {
                continue;
            }
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING_MAX || !waiting.insert((peer.clone(), name.clone())) {
                continue;
            }
            drop(waiting);
            tokio::spawn(self.clone().find_out(node.clone(), peer.clone(), name.clone()));
        }
    }

    async fn find_out(self: Arc<Self>, node: Arc<Node>, peer: PeerId, name: FileName) {
        let Ok(_place) = self.places.acquire().await else { return };
        let key = (peer, name);
        // Removed already if the peer turned out to be unreachable meanwhile.
        if !self.waiting.lock().contains(&key) {
            return;
        }
        let (peer, name) = &key;
        let outcome = match unproven(&node, peer, name) {
            Some((current, address)) => match timeout(READ_DEADLINE, read(&node, &address, name, &current)).await {
                Ok(Ok(hash)) => publish(&node, peer, name, &current, hash).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Unknown::Unreachable(format!("not read within {READ_DEADLINE:?}"))),
            },
            None => Ok(()),
        };
        let mut waiting = self.waiting.lock();
        waiting.remove(&key);
        if let Err(error) = outcome {
            tracing::debug!(%peer, %name, %error, "a file that was announced without a hash has none yet");
            if matches!(error, Unknown::Unreachable(_)) {
                waiting.retain(|(waits, _)| waits != peer);
            }
        }
    }
}

/// The current version and the peer's address, if the peer holds it and nobody has stated its hash.
fn unproven(node: &Node, peer: &PeerId, name: &FileName) -> Option<(Current, Arc<str>)> {
    let file = node.catalog().file(name)?;
    let current = Current::of_view(&file).filter(Current::is_unproven)?;
    let holder = file.holders.into_iter().find(|holder| holder.peer == *peer && holder.live && holder.current)?;
    Some((current, holder.address))
}

/// Reads the peer's copy and hashes it as it arrives.
async fn read(node: &Node, address: &str, name: &FileName, current: &Current) -> Result<ContentHash, Unknown> {
    let unreachable = |error: &dyn std::fmt::Display| Unknown::Unreachable(error.to_string());
    let url = url_of(address, name).ok_or_else(|| Unknown::Unreachable(format!("{address} is not an http URL")))?;
    let host = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let connecting = timeout(SILENCE_MAX, node.net.connect(host.clone())).await;
    let stream = connecting.map_err(|late| unreachable(&late))?.map_err(|error| unreachable(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable(&error))?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(url.path()).header("host", host).header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| unreachable(&error))?;
    let hashed = async {
        let answer = timeout(SILENCE_MAX, sender.send_request(request)).await;
        let answer = answer.map_err(|late| unreachable(&late))?.map_err(|error| unreachable(&error))?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(Unknown::Answered(answer.status().to_string()));
        }
        let (mut body, mut hasher, mut bytes) = (answer.into_body(), Sha256::new(), 0);
        let most = current.size.unwrap_or(FILE_BYTES_MAX).min(FILE_BYTES_MAX);
        while let Some(frame) = timeout(SILENCE_MAX, body.frame()).await.map_err(|late| unreachable(&late))? {
            let Ok(data) = frame.map_err(|error| unreachable(&error))?.into_data() else { continue };
            bytes += data.len() as u64;
            if bytes > most {
                return Err(Unknown::OtherBytes(format!("more than {most} bytes")));
            }
            hasher.update(&data);
        }
        match current.size {
            Some(size) if size != bytes => Err(Unknown::OtherBytes(format!("{bytes} bytes instead of {size}"))),
            _ => Ok(ContentHash(hasher.finalize().into())),
        }
    };
    let hashed = hashed.await;
    driver.abort();
    hashed
}

/// `ADDRESS/files/NAME`, each segment percent-encoded.
fn url_of(address: &str, name: &FileName) -> Option<reqwest::Url> {
    let mut url = reqwest::Url::parse(address).ok().filter(|url| url.scheme() == "http")?;
    url.path_segments_mut().ok()?.pop_if_empty().push("files").extend(name.as_str().split('/'));
    Some(url)
}

/// Publishes the same bytes as the next version, with their hash and under the same number.
async fn publish(
    node: &Node,
    peer: &PeerId,
    name: &FileName,
    read: &Current,
    hash: ContentHash,
) -> Result<(), Unknown> {
    let failed = |error: &dyn std::fmt::Display| Unknown::NotPublished(error.to_string());
    let acquire =
        Acquire { peer: peer.clone(), file: name.clone(), ttl_ms: LEASE_MS, wait: false, token: lease::draw_token() };
    let acquired = node.proposer.propose_op(Op::Acquire(acquire)).await.map_err(|error| failed(&error))?;
    let Ok(Committal::Granted(Grant { token, .. })) = acquired.outcome.result else { return Err(Unknown::MovedOn) };
    let is_same = unproven(node, peer, name).is_some_and(|(now, _)| now.version == read.version);
    if !is_same {
        let release = Release { peer: peer.clone(), file: name.clone(), token };
        let _ = node.proposer.propose_op(Op::Release(release)).await; // if it fails, the lease ends by itself
        return Err(Unknown::MovedOn);
    }
    let version = read.version + 1;
    let note = numbers::Note { of: version, at: read.number, before: read.number };
    let holding = Holding { name: name.clone(), version: Some(version), size: read.size, hash };
    let announce = Op::Announce(Announce { peer: peer.clone(), holding, token: Some(token), keep_lease: false });
    let noted = async {
        match numbers::note(peer, name, note, Some(token)) {
            Some(op) => node.proposer.propose_op(op).await.map(Some),
            None => Ok(None),
        }
    };
    let (noted, announced) = futures::join!(noted, node.proposer.propose_op(announce));
    noted.map_err(|error| failed(&error))?;
    announced.map_err(|error| failed(&error))?.outcome.result.map_err(|rejection| failed(&rejection))?;
    tracing::info!(%peer, %name, version, "found out the hash of a file that was announced without one");
    debug_assert!(!hashes::is_stand_in(&hash), "bytes were hashed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_only_http_is_spoken() {
        let name = FileName::parse("a b/ü#1?.txt").expect("valid");
        let url = url_of("http://h:9001/base/", &name).expect("a URL");
        assert_eq!(url.as_str(), "http://h:9001/base/files/a%20b/%C3%BC%231%3F.txt");
        assert!(url_of("https://h:9001", &name).is_none());
    }
}
