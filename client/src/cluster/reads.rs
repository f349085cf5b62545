//! The reads of the contract, one method each. How consistent they are is set by [`IndexClient::with_reading`].

use raft_store::types::FileName;

use super::{Error, IndexClient, Read};
use crate::api::{ErrorCode, FilePeer, FileResponse, LeaseStatus, PeerEntry, SearchHit, StatsResponse};

/// How a query matches names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// Forgives one typing error in words of five letters and more.
    #[default]
    Fuzzy,
    /// The query occurs in the name.
    Substring,
    /// The name begins with the query.
    Prefix,
}

impl IndexClient {
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
        let mut pairs = vec![("q", query.to_owned()), ("limit", limit.to_string())];
        match mode {
            SearchMode::Fuzzy => {}
            SearchMode::Substring => pairs.push(("mode", "substring".into())),
            SearchMode::Prefix => pairs.push(("mode", "prefix".into())),
        }
        if let Some(cursor) = cursor {
            pairs.push(("cursor", cursor.to_owned()));
        }
        self.read("/search", &pairs).await
    }

    /// The live holders of a file, stale ones marked. Refused with `not_found` if there is no such file.
    pub async fn file_peers(&self, file: &FileName) -> Result<Read<Vec<FilePeer>>, Error> {
        self.read("/peers", &[("file", file.to_string())]).await
    }

    /// Every live peer.
    pub async fn peers(&self) -> Result<Read<Vec<PeerEntry>>, Error> {
        self.read("/peers", &[]).await
    }

    /// One file whole: version, hash, holders, lease. Refused with `not_found` if there is no such file.
    pub async fn file(&self, file: &FileName) -> Result<Read<FileResponse>, Error> {
        self.read("/file", &[("name", file.to_string())]).await
    }

    /// Who has the lease of a file and who waits for it, for people to look at (R1). `None` if nobody has it.
    pub async fn lease_status(&self, file: &FileName) -> Result<Option<Read<LeaseStatus>>, Error> {
        match self.read("/lease", &[("file", file.to_string())]).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why a file has the copies it has (rule, holders, tasks, refused candidates), as the index words it.
    pub async fn why(&self, file: &FileName) -> Result<Read<serde_json::Value>, Error> {
        self.read("/why", &[("file", file.to_string())]).await
    }

    /// Counts and planner state.
    pub async fn stats(&self) -> Result<Read<StatsResponse>, Error> {
        self.read("/stats", &[]).await
    }
}
