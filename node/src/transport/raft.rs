//! The links over which openraft calls another member: one [`RaftLink`] per purpose, so that a heartbeat
//! never waits behind a large append.
//!
//! Invariant: appends reach the other side in the order in which openraft gave them.

use std::future::ready;
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

use super::channel::{Channel, SendError};
use super::error::CallError;
use super::link::{CONNECT_DEADLINE, Link, broken};
use super::pool::LinkPool;
use super::{Request, Response, SnapshotHead};
use crate::identities::{Acked, Identities};
use crate::metrics::Metrics;
use crate::sys::clock;
use crate::sys::net::Net;

/// Unanswered appends on one link. Each holds what accumulated while the ones before it were in flight.
const APPENDS_IN_FLIGHT_MAX: usize = 8;

type AppendOutcome = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// A link for openraft, and the pool for its rare calls. openraft makes a client for each vote, and a connection of its
/// own would cost a vote three round trips.
pub struct RaftLink {
    own: NodeId,
    link: Link,
    rare: Arc<LinkPool>,
    metrics: Arc<Metrics>,
}

impl RaftLink {
    async fn append(&mut self, request: &Request, option: &RPCOption) -> Result<Response, RPCError<TypeConfig>> {
        let answered = self.link.call(request, option.soft_ttl()).await;
        answered.map_err(|error| error.into_rpc(RPCTypes::AppendEntries, self.own))
    }

    async fn rarely(
        &mut self,
        request: &Request,
        action: RPCTypes,
        option: &RPCOption,
    ) -> Result<Response, RPCError<TypeConfig>> {
        let within: Duration = option.soft_ttl();
        let answered = self.rare.call(self.link.target, &self.link.member, request, within).await;
        answered.map_err(|error| error.into_rpc(action, self.own))
    }
}

/// Sends what comes in, and yields the outcomes in order, until something goes wrong.
fn appends<'s>(
    channel: &'s Channel,
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 's,
    lost: impl Fn(SendError) -> RPCError<TypeConfig> + Copy + Send + 's,
    acked: impl Fn(Acked) + Clone + Send + 's,
) -> impl Stream<Item = AppendOutcome> + Send + 's {
    let begun = input.map(move |rpc| {
        let (previous, last) = (rpc.prev_log_id, rpc.entries.last().map(RaftEntry::log_id).or(rpc.prev_log_id));
        let (term, acked) = (rpc.vote.leader_id.term, acked.clone());
        // Handed to the connection here, so that the order is that of the input.
        let sent = channel.send(&Request::Append(rpc));
        async move {
            match sent {
                Err(error) => AppendStep::last(Err(lost(error))),
                Ok(reply) => match reply.await {
                    // The connection itself ends when a response takes too long.
                    Err(_) => AppendStep::last(Err(lost(SendError::Ended))),
                    Ok(response) => {
                        let step = AppendStep::of(response, previous, last);
                        if let Ok(Ok(Some(upto))) = &step.outcome {
                            acked(Acked { boot: channel.boot, term, upto: *upto });
                        }
                        step
                    }
                },
            }
        }
    });
    begun.buffered(APPENDS_IN_FLIGHT_MAX).scan(false, |over, step: AppendStep| {
        let outcome = (!std::mem::replace(over, step.is_last)).then_some(step.outcome);
        ready(outcome)
    })
}

/// The outcome of an append in openraft's terms, and whether it ends the stream.
struct AppendStep {
    outcome: AppendOutcome,
    is_last: bool,
}

impl AppendStep {
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

impl RaftNetworkV2<TypeConfig> for RaftLink {
    type SnapshotData = raft_store::storage::SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.append(&Request::Append(rpc), &option).await? {
            Response::Append(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Appends go out as they come, up to a limit, and are answered in order. Their deadline is the connection's, not
    /// the heartbeat interval that openraft passes: an append is late only if the connection is dead.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendOutcome>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let (node, from) = (self.link.target, self.own);
        let (identities, store) = (self.link.identities.clone(), self.link.member.store_id);
        let lost = move |error: CallError| error.into_rpc(RPCTypes::AppendEntries, from);
        // openraft pauses after an error when it is asked for the next append:
        // nothing is dialled before that.
        let stream = async move {
            let mut input = input.peekable();
            if Pin::new(&mut input).peek().await.is_none() {
                return stream::empty().boxed();
            }
            match self.link.open(CONNECT_DEADLINE).await {
                Err(error) => stream::once(ready(Err(lost(error)))).boxed(),
                Ok(channel) => {
                    let acked = move |acked| identities.note_acked(store, acked);
                    appends(channel, input, move |error| lost(broken(node, error)), acked).boxed()
                }
            }
        };
        Box::pin(ready(Ok(stream.flatten_stream().boxed())))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.rarely(&Request::Vote(rpc), RPCTypes::Vote, &option).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.rarely(&Request::PreVote(rpc), RPCTypes::Vote, &option).await? {
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
        let bytes =
            snapshot.snapshot.bytes().await.map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
        let (started, index) = (clock::now(), snapshot.meta.last_log_id.map_or(0, |last| last.index));
        let head = SnapshotHead { vote, meta: snapshot.meta, bytes: bytes.len() as u64 };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.link.send_snapshot(head, &bytes) => match sent {
                Ok(Response::Snapshot(response)) => {
                    let (to, took) = (self.link.target, started.elapsed());
                    self.metrics.transfers.sent.record(took, bytes.len() as u64);
                    tracing::info!(to, index, bytes = bytes.len(), seconds = took.as_secs_f64(), "sent a snapshot");
                    Ok(response)
                }
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
        match self.rarely(&Request::Transfer(rpc), RPCTypes::TransferLeader, &option).await? {
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
    rare: Arc<LinkPool>,
    metrics: Arc<Metrics>,
}

impl Links {
    /// Links that introduce themselves with these identities, and count what they transfer.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>, metrics: Arc<Metrics>) -> Self {
        let rare = Arc::new(LinkPool::new(net.clone(), identities.clone()));
        Self { net, identities, rare, metrics }
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = RaftLink;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> RaftLink {
        let link = Link::new(self.net.clone(), self.identities.clone(), target, node.clone());
        RaftLink { own: self.identities.side().node, link, rare: self.rare.clone(), metrics: self.metrics.clone() }
    }
}
