//! `GET /search`: search by name (R1).

use raft_store::types::{Attributes, ContentHash, FileName, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{JsonList, PeerAddress, endpoint};

endpoint! {
    /// Search file names.
    ///
    /// Hits come best first and include only files with a live holder; with `records=true` also records, which are
    /// names with attributes and without a current version (K1). `Raftshare-Total` is the number of hits before the
    /// limit. After a start or the installation of a snapshot the answer is 503 `loading` with `progress` (0…1) until
    /// the node's name index is loaded. Without `consistency` the node meanwhile forwards the search to the leader, if
    /// it can reach it.
    Search = Get "/search" as "search", Read;
    query: SearchQuery;
    answer: JsonList<SearchHit>, "Hits, best first.";
    errors: Loading;
}

/// Query of `GET /search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct SearchQuery {
    /// What to search for; an empty query lists all files by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Maximum number of hits, 1 to 1,000; 50 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How names match; `fuzzy` by default. `fuzzy`: case is ignored, and words of five or more letters may have one
    /// missing, extra, wrong or swapped letter. `substring`: every word occurs in the name. `prefix`: the name begins
    /// with the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub mode: Option<SearchMode>,
    /// Where an earlier page ended, from its `Raftshare-Cursor`; nodes of this version answer in one page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// True: records are hits too (K1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<bool>,
    /// A folder: only names below it are hits. A `/` at its end makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// A condition on an attribute, such as `stock>=5` or `unit=kg`, with one of `=`, `!=`, `<`, `<=`, `>` and `>=`
    /// (K3). A whole number is an integer; put it in double quotes to mean a string. May be repeated; a hit satisfies
    /// all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attr: Vec<String>,
}

/// How a query matches names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Case is ignored, and words of five or more letters may have one missing, extra, wrong or swapped letter.
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
    /// The current version; `null` for a record.
    #[schema(required)]
    pub version: Option<Version>,
    /// Size of the current version in bytes; `null` for a record.
    #[schema(required)]
    pub size: Option<u64>,
    /// SHA-256 of the current version; `null` for a record.
    #[schema(required)]
    pub hash: Option<ContentHash>,
    /// How well the name matches, between 0 and 1.
    pub score: f64,
    /// Live holders of the current version.
    pub peers: Vec<PeerAddress>,
    /// The name's attributes (K1); only if it has any.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}
