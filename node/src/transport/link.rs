//! What openraft calls another member over: one [`Link`] per purpose, so that a heartbeat never waits behind a large append.
//!
//! Invariant: appends reach the other side in the order in which openraft gave them; a call that is cancelled leaves the
//! connection, and the attempt to open one, as they are, so that a slow network is slow and not unusable.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use raft_store::raft::{LogId, Member, TypeConfig};
use raft_store::types::NodeId;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::channel::{Channel, SendError};
use super::dial::open;
use super::error::CallError;
use super::frame::{self, FrameError};
use super::{Hello, PROTOCOL_VERSION, Request, Response, Side, SnapshotHead};
use crate::net::{Connection, Net};
use crate::node::Identities;

/// How long connecting and the hello may take.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// Appends without an answer on one link. Each holds what came together while the ones before it were under way.
const APPENDS_IN_FLIGHT_MAX: usize = 8;
/// How long sending and installing the smallest snapshot may take. A receiver that loses power in between says nothing
/// more, and until the deadline nothing else is replicated to it.
const SNAPSHOT_DEADLINE_MIN: Duration = Duration::from_secs(10);
/// What a larger one may take beyond that: bytes per second, sent, written and read in.
const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 2 * 1_024 * 1_024;

type AppendOutcome = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// One connection to one member; dials when needed, and again after the connection has ended.
pub struct Link {
    net: Arc<dyn Net>,
    identities: Arc<Identities>,
    target: NodeId,
    pub(super) member: Member,
    channel: Option<Channel>,
    dialling: Option<JoinHandle<Result<Connection, String>>>,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>, target: NodeId, member: Member) -> Self {
        Self { net, identities, target, member, channel: None, dialling: None }
    }

    /// Whether it is connected.
    pub fn is_open(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::is_open)
    }

    /// Sends a request and waits for its response, `deadline` in all.
    pub async fn call(&mut self, request: &Request, deadline: Duration) -> Result<Response, CallError> {
        let (node, until) = (self.target, Instant::now() + deadline);
        let channel = self.open(deadline).await?;
        let reply = channel.send(request).map_err(|error| broken(node, error))?;
        match timeout_at(until, reply).await {
            Err(_) => Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(_)) => Err(broken(node, SendError::Ended)),
            Ok(Ok(Response::Failed(reason))) => Err(CallError::Failed { node, reason }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// The connection; a new one if there is none. The attempt to open one goes on when this is cancelled or takes too long.
    async fn open(&mut self, within: Duration) -> Result<&Channel, CallError> {
        if !self.is_open() {
            self.channel = None;
            if self.dialling.is_none() {
                self.dialling = Some(tokio::spawn(self.dial()?));
            }
            let dialled = match &mut self.dialling {
                // It stays where it is until it is done, so that a cancelled call does not lose it.
                Some(dialling) => timeout(within, dialling).await,
                None => return Err(self.unreachable("not connected")),
            };
            let Ok(dialled) = dialled else { return Err(self.unreachable("no answer to the connection attempt")) };
            self.dialling = None;
            let dialled = dialled.unwrap_or_else(|error| Err(error.to_string()));
            self.channel = Some(Channel::run(dialled.map_err(|reason| self.unreachable(&reason))?));
        }
        self.channel.as_ref().ok_or_else(|| self.unreachable("not connected"))
    }

    fn dial(&self) -> Result<impl Future<Output = Result<Connection, String>> + use<>, CallError> {
        let (from, cluster) = (self.identities.side(), self.identities.cluster());
        let to = Side { node: self.target, store: self.member.store_id };
        let Some(cluster) = cluster else { return Err(self.unreachable("this node belongs to no cluster yet")) };
        let hello = Hello::Member { protocol: PROTOCOL_VERSION, cluster, from, to };
        let (net, address) = (self.net.clone(), self.member.address.clone());
        Ok(async move {
            match timeout(CONNECT_DEADLINE, open(&*net, &address, &hello)).await {
                Err(_) => Err("no answer to the connection attempt".to_owned()),
                Ok(opened) => opened,
            }
        })
    }

    async fn send_snapshot(&mut self, head: SnapshotHead, bytes: &[u8]) -> Result<Response, CallError> {
        let node = self.target;
        let mut stream = self.dial()?.await.map_err(|reason| self.unreachable(&reason))?;
        let mut buffer = Vec::new();
        let exchange = async {
            frame::write(&mut stream, &mut buffer, &Request::Snapshot(head)).await?;
            stream.write_all(bytes).await.map_err(FrameError::Io)?;
            frame::read::<_, Response>(&mut stream, &mut buffer).await
        };
        let deadline = snapshot_deadline(bytes.len());
        match timeout(deadline, exchange).await {
            Err(_) => Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(error)) => Err(broken(node, error.into())),
            Ok(Ok(Response::Failed(reason))) => Err(CallError::Failed { node, reason }),
            Ok(Ok(response)) => Ok(response),
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

fn broken(node: NodeId, error: SendError) -> CallError {
    CallError::Broken { node, reason: error.to_string() }
}

fn snapshot_deadline(bytes: usize) -> Duration {
    SNAPSHOT_DEADLINE_MIN + Duration::from_secs(bytes as u64 / SNAPSHOT_BYTES_PER_SECOND_MIN)
}

/// Sends what comes in, and yields what it came to, in order, until something goes wrong.
fn appends<'s>(
    channel: &'s Channel,
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 's,
    lost: impl Fn(SendError) -> RPCError<TypeConfig> + Copy + Send + 's,
) -> impl Stream<Item = AppendOutcome> + Send + 's {
    let begun = input.map(move |rpc| {
        let (previous, last) = (rpc.prev_log_id, rpc.entries.last().map(RaftEntry::log_id).or(rpc.prev_log_id));
        // Given to the connection here, so that the order is that of the input.
        let sent = channel.send(&Request::Append(rpc));
        async move {
            match sent {
                Err(error) => Step::last(Err(lost(error))),
                Ok(reply) => match reply.await {
                    // The connection itself gives up what takes too long.
                    Err(_) => Step::last(Err(lost(SendError::Ended))),
                    Ok(response) => Step::of(response, previous, last),
                },
            }
        }
    });
    begun.buffered(APPENDS_IN_FLIGHT_MAX).scan(false, |over, step: Step| {
        let outcome = (!std::mem::replace(over, step.is_last)).then_some(step.outcome);
        ready(outcome)
    })
}

/// What an append came to, in openraft's terms, and whether the stream ends with it.
struct Step {
    outcome: AppendOutcome,
    is_last: bool,
}

impl Step {
    fn last(outcome: AppendOutcome) -> Self {
        Self { outcome, is_last: true }
    }

    fn of(response: Response, previous: Option<LogId>, last: Option<LogId>) -> Self {
        match response {
            // A conflict needs an entry before it; without one the other side does not speak Raft.
            Response::Append(AppendEntriesResponse::Conflict) if previous.is_none() => {
                Self::last(Err(RPCError::Network(NetworkError::from_string("a conflict before the first entry"))))
            }
            // What follows would leave a gap.
            Response::Append(AppendEntriesResponse::PartialSuccess(upto)) if upto != last => Self::last(Ok(Ok(upto))),
            Response::Append(response) => {
                let result = response.into_stream_result(previous, last);
                Self { is_last: result.is_err(), outcome: Ok(result) }
            }
            Response::Failed(reason) => Self::last(Err(RPCError::Network(NetworkError::from_string(reason)))),
            other => Self::last(Err(unexpected(&other))),
        }
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

    /// Appends go out as they come, up to a limit, and are answered in order. Their deadline is the connection's and not the
    /// heartbeat interval that openraft names: an append is late only if the connection is dead.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendOutcome>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let (node, from) = (self.target, self.identities.side().node);
        let lost = move |error: CallError| error.into_rpc(RPCTypes::AppendEntries, from);
        // openraft counts the pause after an error when it is asked for the next append: nothing is dialled before that.
        let stream = async move {
            let mut input = input.peekable();
            if Pin::new(&mut input).peek().await.is_none() {
                return stream::empty().boxed();
            }
            match self.open(CONNECT_DEADLINE).await {
                Err(error) => stream::once(ready(Err(lost(error)))).boxed(),
                Ok(channel) => appends(channel, input, move |error| lost(broken(node, error))).boxed(),
            }
        };
        Box::pin(ready(Ok(stream.flatten_stream().boxed())))
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
