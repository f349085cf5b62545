//! The listening side: checks the hello, then answers requests in order until the connection ends.
//!
//! Invariant: work on requests begins in the order in which they came, and so do their answers; later ones do not wait for the
//! disk of earlier ones.

use std::future::ready;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesOrdered;
use raft_store::types::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::check::{self, Own};
use super::frame::{self, FrameError};
use super::link::snapshot_deadline;
use super::{Beacon, Hello, PROTOCOL_VERSION, Request, Response, SnapshotHead, Welcome};
use crate::net::Stream;
use crate::node::Node;
use crate::succession;

/// Requests of one connection that were read and not begun.
const REQUESTS_WAITING_MAX: usize = 4;
/// Requests of one connection that are being answered; more are not read meanwhile.
const REQUESTS_UNDER_WAY_MAX: usize = 64;
/// Largest snapshot a node takes in, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;

/// How long a connection may take to say who it is, in all.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Longest silence within a snapshot that is being received.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a snapshot that are read at a time.
const SNAPSHOT_STEP_BYTES: u64 = 1_024 * 1_024;

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
    let hello = timeout(HELLO_DEADLINE, frame::read::<_, Hello>(&mut stream, &mut into)).await;
    let hello = hello.map_err(|_| FrameError::Late(0))??;
    let allowed = match check_hello(&node, &hello) {
        Ok(allowed) => allowed,
        Err(reason) => {
            tracing::warn!(%reason, "refused a node-to-node connection");
            return frame::write(&mut stream, &mut out, &Welcome::Refused(reason)).await;
        }
    };
    frame::write(&mut stream, &mut out, &Welcome::Accepted).await?;
    let sender = match &hello {
        Hello::Member { from, .. } => Some(from.node),
        Hello::Birth { .. } => None,
    };
    let ended = serve_requests(&node, allowed, sender, stream).await;
    if let Hello::Member { from, .. } = hello {
        succession::connection_ended(&node, from.node);
    }
    ended
}

/// Answers requests until the connection ends: reads on while the ones before are worked on, and answers in order.
async fn serve_requests(
    node: &Arc<Node>,
    allowed: PeerRequests,
    sender: Option<NodeId>,
    stream: impl Stream,
) -> Result<(), FrameError> {
    let (reader, writer) = split(stream);
    let (come, incoming) = mpsc::channel(REQUESTS_WAITING_MAX);
    tokio::select! {
        ended = read_requests(node, reader, sender, come) => ended,
        ended = answer_requests(node, allowed, incoming, writer) => ended,
    }
}

/// What a member sent.
enum Incoming {
    Request(Request),
    /// From this member.
    Snapshot(NodeId, SnapshotHead, Vec<u8>),
}

async fn read_requests(
    node: &Node,
    reader: ReadHalf<impl Stream>,
    sender: Option<NodeId>,
    come: mpsc::Sender<Incoming>,
) -> Result<(), FrameError> {
    let mut reader = BufReader::new(reader);
    let mut buffer = Vec::new();
    // Only a member has more to say than a few words.
    let bytes_max = if sender.is_some() { usize::MAX } else { frame::HELLO_BYTES_MAX * 4 };
    loop {
        let incoming = match frame::read_within::<_, Request>(&mut reader, &mut buffer, bytes_max).await {
            Err(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
            Ok(request) => match (request, sender) {
                (Request::Snapshot(head), Some(sender)) => {
                    // Before its bytes are taken in.
                    check::snapshot(&Own::of(node), sender, &head, &head.meta).map_err(FrameError::Refused)?;
                    let bytes = read_snapshot(&mut reader, &head).await?;
                    Incoming::Snapshot(sender, head, bytes)
                }
                (request, sender) => {
                    if let Some(sender) = sender {
                        check::request(node, sender, &request)?;
                    }
                    Incoming::Request(request)
                }
            },
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
        Incoming::Snapshot(sender, head, bytes) => install_snapshot(&node, sender, head, bytes).await,
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
    let read = async {
        // Grows as bytes arrive: a length alone never makes this node allocate.
        let mut bytes = Vec::new();
        let mut missing = head.bytes;
        while missing > 0 {
            let step = missing.min(SNAPSHOT_STEP_BYTES);
            bytes.reserve(step as usize);
            let mut step = (&mut *stream).take(step);
            let read = timeout(SNAPSHOT_SILENCE_MAX, step.read_buf(&mut bytes)).await;
            match read.map_err(|_| FrameError::Late(bytes.len()))?? {
                0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                read => missing -= read as u64,
            }
        }
        Ok::<_, FrameError>(bytes)
    };
    let bytes = usize::try_from(head.bytes).unwrap_or(usize::MAX);
    timeout(snapshot_deadline(bytes), read).await.map_err(|_| FrameError::Late(bytes))?
}

async fn install_snapshot(node: &Node, sender: NodeId, head: SnapshotHead, bytes: Vec<u8>) -> Response {
    // Damage on the way, or a format that this node does not know, must not count as a failure of its own storage.
    let (found, snapshot) = match node.snapshot_receiver.receive(Bytes::from(bytes)).await {
        Ok(received) => received,
        Err(error) => return Response::Failed(format!("the snapshot cannot be used: {error}")),
    };
    // Time has passed since its head was checked, and now its own words are known.
    if let Err(refusal) = check::snapshot(&Own::of(node), sender, &head, &found) {
        tracing::warn!(%refusal, sender, "refused a snapshot");
        return Response::Failed(refusal);
    }
    let snapshot = openraft::storage::Snapshot { meta: head.meta, snapshot };
    match node.raft.install_full_snapshot(head.vote, snapshot).await {
        Ok(response) => Response::Snapshot(response),
        Err(error) => Response::Failed(error.to_string()),
    }
}

async fn answer(node: &Node, allowed: PeerRequests, request: Request) -> Response {
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
        (Request::Transfer(rpc), _) => or_failed(node.raft.handle_transfer_leader(rpc).await, Response::Transfer),
        (Request::LeaderGone { leader, term }, _) => {
            Response::LeaderGone(succession::found_gone(node, leader, term).await)
        }
        (Request::Status, _) => Response::Status(node.status()),
        (Request::Beacon, _) => match beacon(node) {
            Some(beacon) => Response::Beacon(beacon),
            None => Response::Failed("this node does not lead".into()),
        },
        (Request::ReadIndex, _) => or_failed(node.local_read_index().await, Response::ReadIndex),
        (Request::Snapshot(_), PeerRequests::Member) => Response::Failed("a snapshot is not answered here".into()),
    }
}

fn beacon(node: &Node) -> Option<Beacon> {
    let (term, committed, quorum_age) = node.leader_confirmation()?;
    let log_time = node.clock.anchor()?.now();
    Some(Beacon { term, committed, quorum_age_ms: crate::clock::millis_up(quorum_age), log_time })
}
