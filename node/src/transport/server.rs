//! The listening side: checks the hello, then answers requests in order until the connection ends.
//!
//! Invariant: work on requests begins in the order in which they came, and so do their answers; later ones do
//! not wait for the disk of earlier ones.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::admission::{self, PeerRequests};
use super::check::{self, Own};
use super::frame::{self, FrameError};
use super::link::snapshot_deadline;
use super::{Beacon, Hello, Request, Response, SnapshotHead, Welcome};
use crate::birth;
use crate::divergence;
use crate::metrics::Mishap;
use crate::node::Node;
use crate::standing;
use crate::starts;
use crate::succession;
use crate::sys::net::Stream;
use crate::sys::slots::ConnectionSlot;

/// Requests of one connection that were read and not begun.
const REQUESTS_WAITING_MAX: usize = 4;
/// Requests of one connection that are being answered; more are not read meanwhile.
const REQUESTS_UNDER_WAY_MAX: usize = 64;
/// Largest snapshot a node takes in, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;

/// How long a connection may take to say who it is, in all, and how long finding out about a sender may take.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection of somebody who is no member may last: it has one question or two.
const BIRTH_DEADLINE: Duration = Duration::from_secs(10);
/// Longest silence within a snapshot that is being received.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a snapshot that are read at a time.
const SNAPSHOT_STEP_BYTES: u64 = 1_024 * 1_024;

/// Serves one connection whose magic bytes were already read. It keeps the `undecided` slot, which it may have to give
/// up for a newer one, unless it is a member's: whoever is no member cannot keep members out (N4).
pub async fn serve_connection(
    node: Arc<Node>,
    mut stream: impl Stream,
    mut undecided: ConnectionSlot,
    members: &Arc<Semaphore>,
) -> Result<(), FrameError> {
    let greeted = tokio::select! {
        biased;
        greeted = timeout(HELLO_DEADLINE, greet(&node, &mut stream, members)) => greeted,
        () = undecided.leave() => return closed(&node),
    };
    let Some(Greeted { hello, allowed, _member }) = greeted.map_err(|_| FrameError::Late(0))?? else { return Ok(()) };
    if allowed == PeerRequests::Birth {
        return tokio::select! {
            biased;
            served = timeout(BIRTH_DEADLINE, serve_requests(&node, allowed, stream)) => served.unwrap_or(Ok(())),
            () = undecided.leave() => closed(&node),
        };
    }
    drop(undecided);
    let ended = tokio::select! {
        ended = serve_requests(&node, allowed, stream) => ended,
        () = admission::revoked(&node, &hello) => {
            tracing::info!(?hello, "ended a connection: its sender is no member any more, or was started elsewhere");
            Ok(())
        }
    };
    if let Hello::Member { from, .. } = hello {
        succession::connection_ended(&node, from.node);
    }
    ended
}

fn closed(node: &Node) -> Result<(), FrameError> {
    node.metrics.mishap(Mishap::Closed);
    Ok(())
}

/// A connection that was let in.
struct Greeted {
    hello: Hello,
    allowed: PeerRequests,
    /// The slot of a member's connection.
    _member: Option<OwnedSemaphorePermit>,
}

/// Reads the hello and answers it; `None` if it was refused.
async fn greet(node: &Node, stream: &mut impl Stream, members: &Arc<Semaphore>) -> Result<Option<Greeted>, FrameError> {
    let (mut out, mut into) = (Vec::new(), Vec::new());
    let hello = frame::read::<_, Hello>(stream, &mut into).await?;
    let admitted = admission::admit(node, &hello).await.and_then(|allowed| {
        let member = match allowed {
            PeerRequests::Birth => None,
            PeerRequests::Member(_) => Some(members.clone().try_acquire_owned().map_err(|_| {
                node.metrics.mishap(Mishap::Refused);
                Welcome::Refused("all slots for connections of members are taken".to_owned())
            })?),
        };
        Ok((allowed, member))
    });
    let (allowed, member) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::warn!(?refusal, ?hello, "refused a node-to-node connection");
            frame::write(stream, &mut out, &refusal).await?;
            return Ok(None);
        }
    };
    let welcome = Welcome::Accepted { start: node.identities.start(), boot: node.boot };
    frame::write(stream, &mut out, &welcome).await?;
    Ok(Some(Greeted { hello, allowed, _member: member }))
}

/// Answers requests until the connection ends: reads on while the ones before are worked on, and answers in order.
async fn serve_requests(node: &Arc<Node>, allowed: PeerRequests, stream: impl Stream) -> Result<(), FrameError> {
    let sender = match allowed {
        PeerRequests::Member(side) => Some(side.node),
        PeerRequests::Birth => None,
    };
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
    if !node.takes_part() {
        return takes_no_part(node);
    }
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

async fn answer(node: &Arc<Node>, allowed: PeerRequests, request: Request) -> Response {
    fn or_failed<T, E: std::fmt::Display>(outcome: Result<T, E>, wrap: impl FnOnce(T) -> Response) -> Response {
        outcome.map_or_else(|error| Response::Failed(error.to_string()), wrap)
    }
    match (request, allowed) {
        (Request::Who, _) => or_failed(node.identity().await, Response::Who),
        (Request::Adopt { cluster, founders }, _) => {
            or_failed(birth::adopted(node, cluster, &founders).await, |()| Response::Adopted)
        }
        (Request::SetAside, _) => or_failed(standing::set_aside(node).await, |()| Response::SettingAside),
        (Request::IsMember(side), _) => Response::Standing(standing::of(node, side).await),
        (_, PeerRequests::Birth) => Response::Failed("only a member may ask that".into()),
        (Request::Start(notice), PeerRequests::Member(from)) if notice.side == from => {
            or_failed(starts::record(node, &notice).await, Response::Start)
        }
        (Request::Start(_), _) => Response::Failed("a start is announced by its own node".into()),
        (
            Request::Append(_)
            | Request::Vote(_)
            | Request::PreVote(_)
            | Request::Transfer(_)
            | Request::LeaderGone { .. }
            | Request::ReadIndex,
            _,
        ) if !node.takes_part() => takes_no_part(node),
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
        (Request::Snapshot(_), PeerRequests::Member(_)) => Response::Failed("a snapshot is not answered here".into()),
    }
}

fn takes_no_part(node: &Node) -> Response {
    Response::Failed(format!("node {} takes no part: {}", node.config.id, node.condition.get().name()))
}

fn beacon(node: &Node) -> Option<Beacon> {
    let (term, committed, quorum_age) = node.leader_confirmation()?;
    let log_time = node.clock.anchor()?.now();
    Some(Beacon { term, committed, quorum_age_ms: crate::sys::clock::millis_up(quorum_age), log_time })
}
