//! `POST /v0/announce`: a peer has a file, or publishes its next version; and `POST /v0/delete`.
//!
//! Invariant: a number above the current one publishes, and takes the live lease of the peer that sends it. Any other
//! number states a holding.

use axum::response::Response;
use raft_store::catalog::{Announce, Catalog, Delete, Holding, Op, Rejection, Reply as Committal};
use raft_store::types::{FileName, LeaseToken, PeerId};

use super::register::{Stated, base_url, ensure_registered};
use super::{Current, V0, lease, no_content, numbers, peer_id, wire};
use crate::http::error::ApiError;
use crate::http::handle::Call;
use crate::http::writes::unexpected;

/// A checked announcement.
#[derive(Debug, Clone)]
pub struct Announcement {
    peer: PeerId,
    address: Result<String, ApiError>,
    file: Stated,
}

/// Checks an announcement. Its address matters only if the index does not know the peer.
pub fn check(request: wire::AnnounceRequest) -> Result<Announcement, ApiError> {
    let peer = peer_id(&request.peer.id)?;
    Ok(Announcement { peer, address: base_url(&request.peer.addr), file: Stated::check(request.file)? })
}

/// What is proposed: perhaps a note about the number, before or after the announcement.
struct Plan {
    announce: Announce,
    note: Option<numbers::Note>,
}

impl V0 {
    /// Records a holding, or publishes a version.
    pub async fn announce(&self, call: &Call, announcement: &Announcement) -> Result<Response, ApiError> {
        let Announcement { peer, address, file } = announcement;
        if call.node.catalog().peer(peer).is_none_or(|known| !known.live) {
            ensure_registered(call, peer, Some(&address.clone()?)).await?;
        }
        let plan = plan(&call.node.catalog(), peer, file)?;
        publish(call, peer, &file.name, plan).await?;
        self.hashing.want(&call.node, peer, std::slice::from_ref(&file.name));
        Ok(no_content())
    }
}

fn plan(catalog: &Catalog, peer: &PeerId, file: &Stated) -> Result<Plan, ApiError> {
    let view = catalog.file(&file.name);
    let current = view.as_ref().and_then(Current::of_view);
    let last = view.as_ref().map_or(0, |view| view.version);
    let known = view.as_ref().and_then(numbers::noted);
    let token = lease::own_token(catalog, &file.name, peer);
    let is_newer = current.is_none_or(|current| file.version > current.number);
    if is_newer && token.is_none() && last > 0 {
        let lease_required = Rejection::LeaseRequired { current_version: last, holder: None };
        return Err(lease_required.into());
    }
    let hash = match current {
        Some(_) if is_newer => file.hash_beside(None),
        _ => file.hash_beside(current.as_ref()),
    };
    let holding = Holding {
        name: file.name.clone(),
        version: (is_newer && token.is_some()).then_some(last + 1),
        size: Some(file.size),
        hash,
    };
    let note = numbers::to_note(last + 1, file.version, known.as_ref()).filter(|_| is_newer);
    let token = token.filter(|_| is_newer);
    Ok(Plan { announce: Announce { peer: peer.clone(), holding, token, keep_lease: false }, note })
}

/// Proposes an announcement and its note in the order that [`numbers`] demands; they share an entry as a rule.
async fn publish(call: &Call, peer: &PeerId, name: &FileName, plan: Plan) -> Result<(), ApiError> {
    let Plan { announce, note } = plan;
    let token: Option<LeaseToken> = announce.token;
    let note = note.and_then(|note| numbers::note(peer, name, note, token));
    let announce = call.propose(Op::Announce(announce), 0);
    let committed = match (note, token) {
        (None, _) => announce.await?,
        // The lease ends with the publication, so the note comes first.
        (Some(note), Some(_)) => {
            let (noted, announced) = futures::join!(call.propose(note, 0), announce);
            noted?.outcome.result?;
            announced?
        }
        // A name without a version gets its attributes once it has one.
        (Some(note), None) => {
            let committed = announce.await?;
            if committed.outcome.result.is_ok() {
                // A refusal means that somebody has taken the lease meanwhile: then the number stays 1.
                let _ = call.propose(note, 0).await?;
            }
            committed
        }
    };
    match committed.outcome.result? {
        Committal::Announced { .. } => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Drops the copy of a peer.
pub async fn delete(call: &Call, peer: &PeerId, file: &FileName) -> Result<Response, ApiError> {
    let delete = Delete { peer: peer.clone(), file: file.clone(), everywhere: false, token: None };
    match call.propose(Op::Delete(delete), 0).await?.outcome.result {
        Ok(_) => Ok(no_content()),
        // The original looks for the file first.
        Err(Rejection::UnknownPeer { .. }) if call.node.catalog().current_version(file).is_some() => {
            Err(Rejection::NotHolder { file: file.clone() }.into())
        }
        Err(Rejection::UnknownPeer { .. }) => Err(Rejection::NotFound { file: file.clone() }.into()),
        Err(rejection) => Err(rejection.into()),
    }
}
