//! `GET /peers`: every live peer, or the live holders of a file.

use client::contract::{FilePeer, PeerEntry, Peers, PeersAnswer};
use raft_store::types::FileName;

use super::error::ApiError;
use super::file::existing;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;

impl Handle for Peers {
    type Checked = Option<FileName>;

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        Ok(sent.query.file)
    }

    async fn answer(call: &Call, wanted: Self::Checked) -> Result<Reply<PeersAnswer>, ApiError> {
        let node = &call.node;
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
            return Ok(Reply::Answer(PeersAnswer::All(entries)));
        };
        let file = existing(&catalog, &wanted)?;
        drop(catalog);
        let is_record = file.is_record();
        let live = file.holders.into_iter().filter(|holder| holder.live && !is_record);
        let entries: Vec<_> = live
            .map(|holder| FilePeer {
                last_seen: node.last_seen_unix(&holder.peer),
                id: holder.peer,
                address: holder.address.to_string(),
                version: holder.version,
                current: holder.current,
            })
            .collect();
        Ok(Reply::Answer(PeersAnswer::Holders(entries)))
    }
}
