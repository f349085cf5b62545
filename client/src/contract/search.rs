//! Search by name (R1).

use raft_store::types::{ContentHash, FileName, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{JsonList, PeerAddress, endpoint};

endpoint! {
    /// Search file names.
    ///
    /// Best first, files with a live holder only. `Raftshare-Total` is the number of hits before the limit. 503
    /// `loading` with `progress` (0…1) after a start or the installation of a snapshot, until the node's name index is
    /// loaded; without `consistency` the leader is asked instead, if it can be reached.
    Search = Get "/search" as "search", Read;
    query: SearchQuery;
    answer: JsonList<SearchHit>, "Hits, best first.";
    errors: Loading;
}

/// Query of `GET /search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct SearchQuery {
    /// What to look for; empty lists by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Hits to answer: 1 to 1,000, 50 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `fuzzy` if left out: case does not matter, and words of five letters and more match with one missing, extra,
    /// wrong or swapped letter. `substring`: every word occurs. `prefix`: the name begins with the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub mode: Option<SearchMode>,
    /// Where an earlier page ended, from its `Raftshare-Cursor`; nodes of this version answer in one page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How a query matches names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Case does not matter, words of 5 letters and more match with one missing, extra, wrong or swapped letter.
    #[default]
    Fuzzy,
    /// The query occurs in the name.
    Substring,
    /// The name begins with the query.
    Prefix,
}

/// One hit of `GET /search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchHit {
    /// The name.
    pub file_name: FileName,
    /// Current version.
    pub version: Version,
    /// Size in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// Between 0 and 1; best first.
    pub score: f64,
    /// Live holders of the current version.
    pub peers: Vec<PeerAddress>,
}
