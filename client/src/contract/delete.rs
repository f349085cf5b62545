//! `POST /delete`: drop one copy, or delete the name everywhere (F7).

use raft_store::catalog::{self, Op};
use raft_store::types::{FileName, LeaseToken, PeerId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NoContent, decode, endpoint};

endpoint! {
    /// Drop this peer's copy, or delete the name everywhere.
    ///
    /// Without `everywhere` the peer stops being a holder, and the planner gives the file back only if the peer asks
    /// for it. With `everywhere` the index writes a tombstone, which needs the file's live lease (F7).
    Delete = Post "/delete" as "delete", Logged;
    request: DeleteRequest;
    answer: NoContent, "Deleted.";
    errors: BadName, NotFound, NotHolder, LeaseRequired, LeaseExpired;
}

/// Body of `POST /delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRequest {
    /// The deleting peer.
    pub peer_id: PeerId,
    /// The file's name.
    pub file_name: FileName,
    /// Whether to delete the name on all peers; the tombstone is a version of its own (F7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<bool>,
    /// Token of the file's live lease; required with `everywhere`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

impl From<DeleteRequest> for Op {
    fn from(request: DeleteRequest) -> Self {
        Self::Delete(catalog::Delete {
            peer: request.peer_id,
            file: request.file_name,
            everywhere: request.everywhere.unwrap_or(false),
            token: request.lease_token,
        })
    }
}
