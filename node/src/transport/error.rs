//! Why a call to another node has no answer, and what openraft is told.

use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, Timeout as RpcTimeout, Unreachable};
use openraft::network::RPCTypes;
use raft_store::raft::TypeConfig;
use raft_store::types::NodeId;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("cannot reach node {node} at {address}: {reason}")]
    Unreachable {
        /// The target.
        node: NodeId,
        /// The address that was tried.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Sent, and no answer in time.
    #[error("node {node} did not answer within {after:?}")]
    TimedOut {
        /// The target.
        node: NodeId,
        /// The deadline.
        after: Duration,
    },
    /// The connection broke, or would not take the request.
    #[error("node {node}: {reason}")]
    Broken {
        /// The target.
        node: NodeId,
        /// How.
        reason: String,
    },
    /// The node answered that it could not.
    #[error("node {node}: {reason}")]
    Failed {
        /// The target.
        node: NodeId,
        /// The reason it gave.
        reason: String,
    },
}

impl CallError {
    pub(super) fn into_rpc(self, action: RPCTypes, from: NodeId) -> RPCError<TypeConfig> {
        match self {
            Self::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(&self)),
            Self::TimedOut { node, after } => {
                RPCError::Timeout(RpcTimeout { action, id: from, target: node, timeout: after })
            }
            Self::Broken { .. } | Self::Failed { .. } => RPCError::Network(NetworkError::new(&self)),
        }
    }
}
