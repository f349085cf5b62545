//! The listening side: checks the hello, then has requests answered in order until the connection ends.
//!
//! Invariant: work on requests begins in the order in which they came, and so do their answers; later ones do
//! not wait for the disk of earlier ones.

use std::future::{Future, ready};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesOrdered;
use raft_store::types::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadHalf, WriteHalf, split};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::check::{self, check_snapshot};
use super::frame::{self, FrameError};
use super::link::snapshot_deadline;
use super::{Hello, PeerRequests, Request, Response, SnapshotHead, Welcome};
use crate::metrics::{Metrics, Mishap};
use crate::raft::Raft;
use crate::sys::clock;
use crate::sys::net::Stream;
use crate::sys::slots::ConnectionSlot;

/// Requests of one connection that were read and not begun.
const REQUESTS_WAITING_MAX: usize = 4;
/// Requests of one connection that are being answered; more are not read meanwhile.
const REQUESTS_UNDER_WAY_MAX: usize = 64;
/// Largest snapshot that a node accepts, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1_024 * 1_024 * 1_024;

/// How long a connection may take to say who it is, including asking others about the sender.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection of an outsider may last; it has a question or two.
const OUTSIDER_DEADLINE: Duration = Duration::from_secs(10);
/// Longest silence within a snapshot that is being received.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a snapshot that are read at a time.
const SNAPSHOT_STEP_BYTES: u64 = 1_024 * 1_024;

/// The node that connections reach: who may say what to it, and what it answers.
pub trait Host: Send + Sync + 'static {
    /// Decides about a hello; `Err` is the refusal that its sender reads.
    fn admit(&self, hello: &Hello) -> impl Future<Output = Result<PeerRequests, Welcome>> + Send;

    /// What an admitted sender is told about this node.
    fn welcome(&self) -> Welcome;

    /// Resolves once a connection that was admitted with this hello may not go on.
    fn revoked(&self, hello: &Hello) -> impl Future<Output = ()> + Send;

    /// Answers a request.
    fn answer(self: &Arc<Self>, allowed: PeerRequests, request: Request) -> impl Future<Output = Response> + Send;

    /// Answers a snapshot, whose bytes have all arrived.
    fn install(&self, sender: NodeId, head: SnapshotHead, bytes: Vec<u8>) -> impl Future<Output = Response> + Send;

    /// A member's connection to this node has ended.
    fn ended(self: &Arc<Self>, from: NodeId);

    /// Raft, whose term and commit index messages are checked against.
    fn raft(&self) -> &Raft;

    /// Where mishaps and transfers are counted.
    fn metrics(&self) -> &Metrics;
}

/// Serves one connection whose magic bytes were already read. Until it turns out to be a member's, it keeps the
/// `undecided` slot, which it may lose to a newer connection. So outsiders cannot keep members out (N4).
pub async fn serve_connection<H: Host>(
    host: Arc<H>,
    mut stream: impl Stream,
    mut undecided: ConnectionSlot,
    members: &Arc<Semaphore>,
) -> Result<(), FrameError> {
    let greeted = tokio::select! {
        biased;
        greeted = timeout(HELLO_DEADLINE, greet(&*host, &mut stream, members)) => greeted,
        () = undecided.leave() => return closed(&*host),
    };
    let Some(Greeted { hello, allowed, _member }) = greeted.map_err(|_| FrameError::Late(0))?? else { return Ok(()) };
    if allowed == PeerRequests::Outsider {
        return tokio::select! {
            biased;
            served = timeout(OUTSIDER_DEADLINE, serve_requests(&host, allowed, stream)) => served.unwrap_or(Ok(())),
            () = undecided.leave() => closed(&*host),
        };
    }
    drop(undecided);
    let ended = tokio::select! {
        ended = serve_requests(&host, allowed, stream) => ended,
        () = host.revoked(&hello) => {
            tracing::info!(?hello, "ended a connection: its sender is no member any more, or was started elsewhere");
            Ok(())
        }
    };
    if let Hello::Member { from, .. } = hello {
        host.ended(from.node);
    }
    ended
}

fn closed(host: &impl Host) -> Result<(), FrameError> {
    host.metrics().mishap(Mishap::Closed);
    Ok(())
}

/// A connection that was admitted.
struct Greeted {
    hello: Hello,
    allowed: PeerRequests,
    /// The slot of a member's connection.
    _member: Option<OwnedSemaphorePermit>,
}

/// Reads the hello and answers it; `None` if it was refused.
async fn greet(
    host: &impl Host,
    stream: &mut impl Stream,
    members: &Arc<Semaphore>,
) -> Result<Option<Greeted>, FrameError> {
    let (mut out, mut into) = (Vec::new(), Vec::new());
    let hello = frame::read::<_, Hello>(stream, &mut into).await?;
    let admitted = host.admit(&hello).await.and_then(|allowed| {
        let member = match allowed {
            PeerRequests::Outsider => None,
            PeerRequests::Member(_) => Some(members.clone().try_acquire_owned().map_err(|_| {
                host.metrics().mishap(Mishap::Refused);
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
    frame::write(stream, &mut out, &host.welcome()).await?;
    Ok(Some(Greeted { hello, allowed, _member: member }))
}

/// Answers requests until the connection ends: reads the next ones while earlier ones are in progress, and answers in
/// order.
async fn serve_requests<H: Host>(host: &Arc<H>, allowed: PeerRequests, stream: impl Stream) -> Result<(), FrameError> {
    let sender = match allowed {
        PeerRequests::Member(side) => Some(side.node),
        PeerRequests::Outsider => None,
    };
    let (reader, writer) = split(stream);
    let (come, incoming) = mpsc::channel(REQUESTS_WAITING_MAX);
    tokio::select! {
        ended = read_requests(&**host, reader, sender, come) => ended,
        ended = answer_requests(host, allowed, incoming, writer) => ended,
    }
}

/// What a member sent.
enum Incoming {
    Request(Request),
    /// From this member.
    Snapshot(NodeId, SnapshotHead, Vec<u8>),
}

async fn read_requests(
    host: &impl Host,
    reader: ReadHalf<impl Stream>,
    sender: Option<NodeId>,
    come: mpsc::Sender<Incoming>,
) -> Result<(), FrameError> {
    let mut reader = BufReader::new(reader);
    let mut buffer = Vec::new();
    // Only a member may send large messages.
    let bytes_max = if sender.is_some() { usize::MAX } else { frame::HELLO_BYTES_MAX * 4 };
    loop {
        let incoming = match frame::read_within::<_, Request>(&mut reader, &mut buffer, bytes_max).await {
            Err(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
            Ok(request) => match (request, sender) {
                (Request::Snapshot(head), Some(sender)) => {
                    // Before its bytes are read.
                    check_snapshot(host.raft(), sender, &head, &head.meta).map_err(FrameError::Refused)?;
                    let begun = clock::now();
                    let bytes = read_snapshot(&mut reader, &head).await?;
                    host.metrics().transfers.received.record(begun.elapsed(), head.bytes);
                    Incoming::Snapshot(sender, head, bytes)
                }
                (request, sender) => {
                    if let Some(sender) = sender {
                        check::request(host.raft(), sender, &request)?;
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

async fn answer_requests<H: Host>(
    host: &Arc<H>,
    allowed: PeerRequests,
    mut incoming: mpsc::Receiver<Incoming>,
    mut writer: WriteHalf<impl Stream>,
) -> Result<(), FrameError> {
    let mut under_way = FuturesOrdered::new();
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            Some(incoming) = incoming.recv(), if under_way.len() < REQUESTS_UNDER_WAY_MAX => {
                let mut answer = Box::pin(answer_one(host.clone(), allowed, incoming));
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

async fn answer_one<H: Host>(host: Arc<H>, allowed: PeerRequests, incoming: Incoming) -> Response {
    match incoming {
        Incoming::Request(request) => host.answer(allowed, request).await,
        Incoming::Snapshot(sender, head, bytes) => host.install(sender, head, bytes).await,
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
