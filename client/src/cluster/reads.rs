//! The reads of the contract. [`IndexClient::with_reading`] sets their consistency.

use raft_store::types::FileName;
use serde::de::DeserializeOwned;

use super::{Error, IndexClient, Read};
use crate::contract::{
    Endpoint, ErrorCode, File, FileParam, FilePeer, FileResponse, Lease, LeaseStatus, NameParam, NoQuery, PeerEntry,
    Peers, PeersQuery, Response, Search, SearchHit, SearchMode, SearchQuery, Stats, StatsResponse, Why, WhyResponse,
};

impl IndexClient {
    /// Calls any read endpoint.
    pub async fn ask<E: Endpoint>(&self, query: &E::Query) -> Result<Read<Response<E>>, Error>
    where
        Response<E>: DeserializeOwned,
    {
        self.read::<E, _>(query).await
    }

    /// Names that match, best first; an empty query lists by name.
    pub async fn search(&self, query: &str, mode: SearchMode, limit: usize) -> Result<Read<Vec<SearchHit>>, Error> {
        self.search_page(query, mode, limit, None).await
    }

    /// Like [`IndexClient::search`], from where an earlier page ended ([`Read::cursor`]).
    pub async fn search_page(
        &self,
        query: &str,
        mode: SearchMode,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Read<Vec<SearchHit>>, Error> {
        let mode = (mode != SearchMode::default()).then_some(mode);
        let (q, cursor) = (Some(query.to_owned()), cursor.map(str::to_owned));
        self.search_with(&SearchQuery { q, limit: Some(limit), mode, cursor, ..SearchQuery::default() }).await
    }

    /// Like [`IndexClient::search`], with all filters: `records`, `under` and `attr` find records and compare
    /// attributes (K1).
    pub async fn search_with(&self, query: &SearchQuery) -> Result<Read<Vec<SearchHit>>, Error> {
        self.ask::<Search>(query).await
    }

    /// The live holders of a file, including marked stale ones. Refused with `not_found` if there is no such file.
    pub async fn file_peers(&self, file: &FileName) -> Result<Read<Vec<FilePeer>>, Error> {
        self.read::<Peers, _>(&PeersQuery { file: Some(file.clone()) }).await
    }

    /// All live peers.
    pub async fn peers(&self) -> Result<Read<Vec<PeerEntry>>, Error> {
        self.read::<Peers, _>(&PeersQuery { file: None }).await
    }

    /// Version, hash, holders and lease of a file. Refused with `not_found` if there is no such file.
    pub async fn file(&self, file: &FileName) -> Result<Read<FileResponse>, Error> {
        self.ask::<File>(&NameParam { name: file.clone() }).await
    }

    /// The lease of a file and its wait queue, for display only (R1). `None` if nobody has the lease.
    pub async fn lease_status(&self, file: &FileName) -> Result<Option<Read<LeaseStatus>>, Error> {
        match self.ask::<Lease>(&FileParam { file: file.clone() }).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why a file has the copies it has: rule, holders, tasks, and peers without a task.
    pub async fn why(&self, file: &FileName) -> Result<Read<WhyResponse>, Error> {
        self.ask::<Why>(&FileParam { file: file.clone() }).await
    }

    /// Counts and the planner's state.
    pub async fn stats(&self) -> Result<Read<StatsResponse>, Error> {
        self.ask::<Stats>(&NoQuery {}).await
    }
}
