//! The dialling side: one [`Link`] is one connection with one request under way; openraft gets a link per purpose, so
//! that a heartbeat never waits behind a large append.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout as RpcTimeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use parking_lot::Mutex;
use raft_store::raft::{Member, TypeConfig};
use raft_store::types::NodeId;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::frame::{self, FrameError};
use super::{Hello, MAGIC, PROTOCOL_VERSION, Request, Response, Side, SnapshotHead, Welcome};
use crate::net::{Connection, Net};
use crate::node::Identities;

/// How long connecting and the hello may take.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// Idle links kept per member for calls outside Raft's own traffic.
const IDLE_LINKS_MAX: usize = 8;
/// How long sending and installing the smallest snapshot may take. A receiver that loses power in between says nothing
/// more, and until the deadline nothing else is replicated to it.
const SNAPSHOT_DEADLINE_MIN: Duration = Duration::from_secs(10);
/// What a larger one may take beyond that: bytes per second, sent, written and read in.
const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 2 * 1_024 * 1_024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("cannot reach node {node} at {address}: {reason}")]
    Unreachable {
        /// The target.
        node: NodeId,
        /// Where it should be.
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
    /// Sent, and the connection broke.
    #[error("node {node}: {source}")]
    Broken {
        /// The target.
        node: NodeId,
        /// How.
        source: FrameError,
    },
    /// The node answered that it could not.
    #[error("node {node}: {reason}")]
    Failed {
        /// The target.
        node: NodeId,
        /// Its word.
        reason: String,
    },
}

impl CallError {
    fn into_rpc(self, action: RPCTypes, from: NodeId) -> RPCError<TypeConfig> {
        match self {
            Self::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(&self)),
            Self::TimedOut { node, after } => {
                RPCError::Timeout(RpcTimeout { action, id: from, target: node, timeout: after })
            }
            Self::Broken { .. } | Self::Failed { .. } => RPCError::Network(NetworkError::new(&self)),
        }
    }
}

/// One connection to one member; dials when needed and again after any failure.
pub struct Link {
    net: Arc<dyn Net>,
    identities: Arc<Identities>,
    target: NodeId,
    member: Member,
    stream: Option<Connection>,
    out: Vec<u8>,
    into: Vec<u8>,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>, target: NodeId, member: Member) -> Self {
        Self { net, identities, target, member, stream: None, out: Vec::new(), into: Vec::new() }
    }

    /// Sends a request and waits for its response, `deadline` in all.
    pub async fn call(&mut self, request: &Request, deadline: Duration) -> Result<Response, CallError> {
        // Taken out, so that a cancelled or failed call drops the connection instead of leaving half a frame on it.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.dial(deadline.min(CONNECT_DEADLINE)).await?,
        };
        let node = self.target;
        let exchange = async {
            frame::write(&mut stream, &mut self.out, request).await?;
            frame::read::<_, Response>(&mut stream, &mut self.into).await
        };
        let response = match timeout(deadline, exchange).await {
            Err(_) => return Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(source)) => return Err(CallError::Broken { node, source }),
            Ok(Ok(response)) => response,
        };
        self.stream = Some(stream);
        match response {
            Response::Failed(reason) => Err(CallError::Failed { node, reason }),
            response => Ok(response),
        }
    }

    async fn send_snapshot(&mut self, head: SnapshotHead, bytes: &[u8]) -> Result<Response, CallError> {
        let node = self.target;
        let mut stream = self.dial(CONNECT_DEADLINE).await?;
        let exchange = async {
            frame::write(&mut stream, &mut self.out, &Request::Snapshot(head)).await?;
            stream.write_all(bytes).await.map_err(FrameError::Io)?;
            frame::read::<_, Response>(&mut stream, &mut self.into).await
        };
        let deadline = snapshot_deadline(bytes.len());
        match timeout(deadline, exchange).await {
            Err(_) => Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(source)) => Err(CallError::Broken { node, source }),
            Ok(Ok(Response::Failed(reason))) => Err(CallError::Failed { node, reason }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn dial(&mut self, deadline: Duration) -> Result<Connection, CallError> {
        let (from, cluster) = (self.identities.side(), self.identities.cluster());
        let to = Side { node: self.target, store: self.member.store_id };
        let Some(cluster) = cluster else { return Err(self.unreachable("this node belongs to no cluster yet")) };
        let hello = Hello::Member { protocol: PROTOCOL_VERSION, cluster, from, to };
        match timeout(deadline, open(&*self.net, &self.member.address, &hello)).await {
            Err(_) => Err(self.unreachable("no answer to the connection attempt")),
            Ok(Err(reason)) => Err(self.unreachable(&reason)),
            Ok(Ok(stream)) => Ok(stream),
        }
    }

    fn unreachable(&self, reason: &str) -> CallError {
        CallError::Unreachable { node: self.target, address: self.member.address.clone(), reason: reason.to_owned() }
    }

    async fn raft_call(
        &mut self,
        request: &Request,
        action: RPCTypes,
        option: &RPCOption,
    ) -> Result<Response, RPCError<TypeConfig>> {
        let from = self.identities.side().node;
        self.call(request, option.soft_ttl()).await.map_err(|error| error.into_rpc(action, from))
    }
}

fn snapshot_deadline(bytes: usize) -> Duration {
    SNAPSHOT_DEADLINE_MIN + Duration::from_secs(bytes as u64 / SNAPSHOT_BYTES_PER_SECOND_MIN)
}

/// Connects and exchanges hellos.
async fn open(net: &dyn Net, address: &str, hello: &Hello) -> Result<Connection, String> {
    let mut stream = net.connect(address.to_owned()).await.map_err(|error| error.to_string())?;
    stream.write_all(&MAGIC).await.map_err(|error| error.to_string())?;
    let mut buffer = Vec::new();
    frame::write(&mut stream, &mut buffer, hello).await.map_err(|error| error.to_string())?;
    match frame::read(&mut stream, &mut buffer).await.map_err(|error| error.to_string())? {
        Welcome::Accepted => Ok(stream),
        Welcome::Refused(reason) => Err(format!("refused: {reason}")),
    }
}

/// Asks a node that is in no membership yet.
pub async fn birth_call(
    net: &dyn Net,
    address: &str,
    request: &Request,
    deadline: Duration,
) -> Result<Response, String> {
    let exchange = async {
        let mut stream = open(net, address, &Hello::Birth { protocol: PROTOCOL_VERSION }).await?;
        let mut buffer = Vec::new();
        frame::write(&mut stream, &mut buffer, request).await.map_err(|error| error.to_string())?;
        frame::read(&mut stream, &mut buffer).await.map_err(|error| error.to_string())
    };
    match timeout(deadline, exchange).await {
        Err(_) => Err(format!("no answer within {deadline:?}")),
        Ok(Ok(Response::Failed(reason))) => Err(reason),
        Ok(outcome) => outcome,
    }
}

fn unexpected(response: &Response) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(format!("unexpected answer {response:?}")))
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = raft_store::storage::SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.raft_call(&Request::Append(rpc), RPCTypes::AppendEntries, &option).await? {
            Response::Append(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.raft_call(&Request::Vote(rpc), RPCTypes::Vote, &option).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.raft_call(&Request::PreVote(rpc), RPCTypes::Vote, &option).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let bytes = snapshot.snapshot;
        let head = SnapshotHead { vote, meta: snapshot.meta, bytes: bytes.as_ref().len() as u64 };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(head, bytes.as_ref()) => match sent {
                Ok(Response::Snapshot(response)) => Ok(response),
                Ok(other) => {
                    Err(StreamingError::Network(NetworkError::from_string(format!("unexpected answer {other:?}"))))
                }
                Err(error @ CallError::Unreachable { .. }) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
                Err(error) => Err(StreamingError::Network(NetworkError::new(&error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.raft_call(&Request::Transfer(rpc), RPCTypes::TransferLeader, &option).await? {
            Response::Transfer(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

/// Makes links for openraft.
#[derive(Clone)]
pub struct Links {
    net: Arc<dyn Net>,
    identities: Arc<Identities>,
}

impl Links {
    /// Links that introduce themselves with these identities.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>) -> Self {
        Self { net, identities }
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        Link::new(self.net.clone(), self.identities.clone(), target, node.clone())
    }
}

/// A few idle links per member for calls outside Raft's own traffic.
pub struct LinkPool {
    net: Arc<dyn Net>,
    identities: Arc<Identities>,
    idle: Mutex<HashMap<NodeId, Vec<Link>>>,
}

impl LinkPool {
    /// An empty pool.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>) -> Self {
        Self { net, identities, idle: Mutex::new(HashMap::new()) }
    }

    /// Calls a member over an idle link, or a new one.
    pub async fn call(
        &self,
        target: NodeId,
        member: &Member,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        let kept = self.idle.lock().get_mut(&target).and_then(Vec::pop).filter(|link| link.member == *member);
        let mut link =
            kept.unwrap_or_else(|| Link::new(self.net.clone(), self.identities.clone(), target, member.clone()));
        let outcome = link.call(request, deadline).await;
        if link.stream.is_some() {
            let mut idle = self.idle.lock();
            let links = idle.entry(target).or_default();
            if links.len() < IDLE_LINKS_MAX {
                links.push(link);
            }
        }
        outcome
    }
}
