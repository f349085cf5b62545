//! `GET /file`: everything about one file.

use client::contract::{File, FileResponse, HolderEntry, ReplicaCount};
use raft_store::catalog::{Catalog, FileView};
use raft_store::types::FileName;

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::leases::lease_status;
use super::reply::Reply;

impl Handle for File {
    type Checked = FileName;

    fn check(sent: Sent<'_, Self>) -> Result<FileName, ApiError> {
        Ok(sent.query.name)
    }

    async fn answer(call: &Call, wanted: FileName) -> Result<Reply<FileResponse>, ApiError> {
        let (file, lease) = {
            let catalog = call.node.catalog();
            (existing(&catalog, &wanted)?, catalog.lease(&wanted))
        };
        let is_record = file.is_record();
        let live = file.holders.iter().filter(|holder| holder.live && holder.current).count();
        Ok(Reply::Answer(FileResponse {
            version: file.hash.map(|_| file.version),
            size: file.hash.map(|_| file.size.unwrap_or(0)),
            hash: file.hash,
            // The stale copies of a deleted file do not make a record one with holders (K1).
            holders: file
                .holders
                .into_iter()
                .filter(|_| !is_record)
                .map(|holder| HolderEntry {
                    id: holder.peer,
                    address: holder.address.to_string(),
                    version: holder.version,
                    current: holder.current,
                    live: holder.live,
                })
                .collect(),
            lease: lease.map(|lease| lease_status(&call.node, lease)),
            replicas: ReplicaCount { desired: file.replicas_desired, live: u32::try_from(live).unwrap_or(u32::MAX) },
            attributes: file.attributes,
            name: file.name,
        }))
    }
}

/// The file or record, if the name exists: it has a current version, or an attribute (K1).
pub fn existing(catalog: &Catalog, name: &FileName) -> Result<FileView, ApiError> {
    catalog
        .file(name)
        .filter(|file| file.hash.is_some() || file.is_record())
        .ok_or_else(|| ApiError::NotFound(format!("no file named {name}")))
}
