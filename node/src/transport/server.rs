//! The listening side: checks the hello, then answers requests in order until the connection ends.
//!
//! Invariant: work on requests begins in the order in which they came, and so do their answers; later ones do not wait for the
//! disk of earlier ones.

use std::future::ready;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;

use super::frame::{self, FrameError};
use super::{Beacon, Hello, PROTOCOL_VERSION, Request, Response, SnapshotHead, Welcome};
use crate::net::Stream;
use crate::node::Node;
use crate::{divergence, succession};

/// Requests of one connection that were read and not begun.
const REQUESTS_WAITING_MAX: usize = 4;
/// Requests of one connection that are being answered; more are not read meanwhile.
const REQUESTS_UNDER_WAY_MAX: usize = 64;
/// Largest snapshot a node takes in, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRequests {
    /// Everything: the other side is a member.
    Member,
    /// Only what founding and joining need.
    Birth,
}

/// Serves one connection whose magic bytes were already read.
pub async fn serve_connection(node: Arc<Node>, mut stream: impl Stream) -> Result<(), FrameError> {
    let (mut out, mut into) = (Vec::new(), Vec::new());
    let hello: Hello = frame::read(&mut stream, &mut into).await?;
    let allowed = match check_hello(&node, &hello) {
        Ok(allowed) => allowed,
        Err(reason) => {
            tracing::warn!(%reason, "refused a node-to-node connection");
            return frame::write(&mut stream, &mut out, &Welcome::Refused(reason)).await;
        }
    };
    frame::write(&mut stream, &mut out, &Welcome::Accepted).await?;
    let ended = serve_requests(&node, allowed, stream).await;
    if let Hello::Member { from, .. } = hello {
        succession::connection_ended(&node, from.node);
    }
    ended
}

/// Answers requests until the connection ends: reads on while the ones before are worked on, and answers in order.
async fn serve_requests(node: &Arc<Node>, allowed: PeerRequests, stream: impl Stream) -> Result<(), FrameError> {
    let (reader, writer) = split(stream);
    let (come, incoming) = mpsc::channel(REQUESTS_WAITING_MAX);
    tokio::select! {
        ended = read_requests(reader, allowed, come) => ended,
        ended = answer_requests(node, allowed, incoming, writer) => ended,
    }
}

/// What a member sent.
enum Incoming {
    Request(Request),
    Snapshot(SnapshotHead, Vec<u8>),
}

async fn read_requests(
    mut reader: ReadHalf<impl Stream>,
    allowed: PeerRequests,
    come: mpsc::Sender<Incoming>,
) -> Result<(), FrameError> {
    let mut buffer = Vec::new();
    loop {
        let incoming = match frame::read(&mut reader, &mut buffer).await {
            Err(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
            Ok(Request::Snapshot(head)) if allowed == PeerRequests::Member => {
                let bytes = read_snapshot(&mut reader, &head).await?;
                Incoming::Snapshot(head, bytes)
            }
            Ok(request) => Incoming::Request(request),
        };
        if come.send(incoming).await.is_err() {
            return Ok(());
        }
    }
}

async fn answer_requests(
    node: &Arc<Node>,
    allowed: PeerRequests,
    mut incoming: mpsc::Receiver<Incoming>,
    mut writer: WriteHalf<impl Stream>,
) -> Result<(), FrameError> {
    let mut under_way = FuturesOrdered::new();
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            Some(incoming) = incoming.recv(), if under_way.len() < REQUESTS_UNDER_WAY_MAX => {
                let mut answer = Box::pin(answer_one(node.clone(), allowed, incoming));
                // Begun here, so that Raft gets appends in the order in which they came.
                under_way.push_back(match futures::poll!(answer.as_mut()) {
                    Poll::Ready(response) => Either::Left(ready(response)),
                    Poll::Pending => Either::Right(answer),
                });
            }
            Some(response) = under_way.next() => frame::write(&mut writer, &mut buffer, &response).await?,
            else => return Ok(()),
        }
    }
}

async fn answer_one(node: Arc<Node>, allowed: PeerRequests, incoming: Incoming) -> Response {
    match incoming {
        Incoming::Request(request) => answer(&node, allowed, request).await,
        Incoming::Snapshot(head, bytes) => install_snapshot(&node, head, bytes).await,
    }
}

/// A mismatch is refused in both directions: here, and by the dialling side when it reads the refusal (C1).
fn check_hello(node: &Node, hello: &Hello) -> Result<PeerRequests, String> {
    let (Hello::Member { protocol, .. } | Hello::Birth { protocol }) = hello;
    if *protocol != PROTOCOL_VERSION {
        return Err(format!("this node speaks protocol version {PROTOCOL_VERSION}, not {protocol}"));
    }
    let Hello::Member { cluster, from, to, .. } = hello else { return Ok(PeerRequests::Birth) };
    let own = node.identities.side();
    if node.identities.cluster() != Some(*cluster) {
        return Err(match node.identities.cluster() {
            Some(mine) => format!("this node belongs to cluster {mine:016x}, not {cluster:016x}"),
            None => "this node belongs to no cluster yet".to_owned(),
        });
    }
    if to.node != own.node {
        return Err(format!("this is node {}, not node {}", own.node, to.node));
    }
    if to.store != own.store {
        return Err(format!("node {} has another data directory than its membership records", own.node));
    }
    match node.members().get(&from.node) {
        Some(member) if member.store_id != from.store => {
            Err(format!("node {} is known here with another data directory", from.node))
        }
        // A member this node has not heard of yet may be newer than this node's log.
        _ => Ok(PeerRequests::Member),
    }
}

async fn read_snapshot(stream: &mut (impl AsyncRead + Unpin), head: &SnapshotHead) -> Result<Vec<u8>, FrameError> {
    if head.bytes > SNAPSHOT_BYTES_MAX {
        return Err(FrameError::TooLong(usize::MAX));
    }
    // Grows as bytes arrive: a length alone never makes this node allocate.
    let mut bytes = Vec::new();
    let read = stream.take(head.bytes).read_to_end(&mut bytes).await?;
    if read as u64 == head.bytes {
        Ok(bytes)
    } else {
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
    }
}

async fn install_snapshot(node: &Node, head: SnapshotHead, bytes: Vec<u8>) -> Response {
    // Damage on the way must not count as a failure of this node's own storage.
    if let Err(error) = raft_store::storage::check_snapshot(&bytes) {
        return Response::Failed(format!("the snapshot arrived damaged: {error}"));
    }
    let snapshot = openraft::storage::Snapshot { meta: head.meta, snapshot: Bytes::from(bytes).into() };
    match node.raft.install_full_snapshot(head.vote, snapshot).await {
        Ok(response) => Response::Snapshot(response),
        Err(error) => Response::Failed(error.to_string()),
    }
}

async fn answer(node: &Arc<Node>, allowed: PeerRequests, request: Request) -> Response {
    fn or_failed<T, E: std::fmt::Display>(outcome: Result<T, E>, wrap: impl FnOnce(T) -> Response) -> Response {
        outcome.map_or_else(|error| Response::Failed(error.to_string()), wrap)
    }
    match (request, allowed) {
        (Request::Who, _) => or_failed(node.identity().await, Response::Who),
        (Request::Adopt { cluster }, _) => or_failed(node.adopt(cluster).await, |()| Response::Adopted),
        (_, PeerRequests::Birth) => Response::Failed("only a member may ask that".into()),
        (Request::Append(rpc), _) => or_failed(node.raft.append_entries(rpc).await, Response::Append),
        (Request::Vote(rpc), _) => or_failed(node.raft.vote(rpc).await, Response::Vote),
        (Request::PreVote(rpc), _) => or_failed(node.raft.pre_vote(rpc).await, Response::Vote),
        (Request::Transfer(_), _) if divergence::is_diverged(node) => {
            Response::Failed("the state of this node differs from the majority's, so it does not lead".into())
        }
        (Request::Transfer(rpc), _) => or_failed(node.raft.handle_transfer_leader(rpc).await, Response::Transfer),
        (Request::LeaderGone { leader, term }, _) => {
            Response::LeaderGone(succession::found_gone(node, leader, term).await)
        }
        (Request::Status, _) => Response::Status(node.status()),
        (Request::Beacon, _) => match beacon(node) {
            Some(beacon) => Response::Beacon(beacon),
            None => Response::Failed("this node does not lead".into()),
        },
        (Request::Digest { index }, _) => Response::Digest(divergence::digest_at(node, index)),
        (Request::Verdict(verdict), _) => {
            divergence::judged(node, verdict);
            Response::Noted
        }
        (Request::Compare, _) => {
            node.divergence.want();
            Response::Noted
        }
        (Request::State { wanted, at, offset }, _) => {
            or_failed(divergence::state_part(node, wanted, at, offset), Response::State)
        }
        (Request::ReadIndex, _) => or_failed(node.local_read_index().await, Response::ReadIndex),
        (Request::Snapshot(_), PeerRequests::Member) => Response::Failed("a snapshot is not answered here".into()),
    }
}

fn beacon(node: &Node) -> Option<Beacon> {
    let (term, committed, quorum_age) = node.leader_confirmation()?;
    let log_time = node.clock.anchor()?.now();
    Some(Beacon { term, committed, quorum_age_ms: crate::clock::millis_up(quorum_age), log_time })
}
