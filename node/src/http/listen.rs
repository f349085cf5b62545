//! The listener: tells node-to-node connections from HTTP by their first bytes, and gives each connection a slot.
//!
//! Invariants (N4)
//! * Every accepted connection has a slot of its kind. Silent and idle connections are closed to make room, and clients
//!   never take the slots of other nodes.
//! * The first bytes of a connection and the head of a request have a deadline. A failed accept is retried after a
//!   growing pause.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::http::Edge;
use crate::metrics::Mishap;
use crate::node::Node;
use crate::sys::limits::{self, Budget};
use crate::sys::net::{Listener, Stream};
use crate::sys::slots::{Activity, Busy, ConnectionSlot, ConnectionSlots};
use crate::transport::{self, MAGIC};

/// How long a connection may take to send its first bytes.
const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(10);
/// Interval of the scan for unfinished request heads; a head may take two to three times as long.
const HEAD_SCAN: Duration = Duration::from_secs(5);
/// Longest head of a request, and most of a body that is read at once, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// How long writing a refusal may take.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
/// The system's send buffer takes answers up to this size, in bytes, at once. A larger one keeps its connection busy
/// until it is sent.
const SMALL_ANSWER_BYTES: u64 = 64 * 1_024;
/// Pause after an accept error such as too many open files; doubles with each further error in a row.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest such pause.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Answer to a client for which there is no slot.
const NO_PLACE: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n",
    "connection: close\r\ncontent-length: 195\r\n\r\n",
    r#"{"type":"urn:raftshare:error:overloaded","title":"overloaded","status":429,"code":"overloaded","#,
    r#""applied":"no","detail":"this node has too many connections; try again in a moment, or ask another"}"#
);

/// The slots of this node.
struct Room {
    undecided: Arc<ConnectionSlots>,
    clients: Arc<ConnectionSlots>,
    nodes: Arc<Semaphore>,
}

/// Accepts connections until the task is aborted.
pub async fn accept<L: Listener>(node: Arc<Node>, mut listener: L) {
    let edge = Edge::new(node.clone());
    let budget = Budget::of(limits::limit());
    let room = Arc::new(Room {
        undecided: ConnectionSlots::new(budget.undecided, budget.undecided),
        clients: ConnectionSlots::new(budget.clients, budget.per_address),
        nodes: Arc::new(Semaphore::new(budget.nodes)),
    });
    let clients = room.clients.clone();
    // Aborted when this task ends.
    let mut scanning = JoinSet::new();
    scanning.spawn(async move {
        loop {
            sleep(HEAD_SCAN).await;
            clients.scan();
        }
    });
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.next().await {
            Ok(stream) => {
                pause = ACCEPT_PAUSE_MIN;
                // The connection that has been silent longest makes room; none of these is busy.
                let Some(undecided) = room.undecided.take(None) else { continue };
                let address = L::address(&stream);
                tokio::spawn(connection(node.clone(), edge.clone(), room.clone(), undecided, address, stream));
            }
            Err(error) => {
                node.metrics.mishap(Mishap::Accept);
                tracing::warn!(%error, "cannot accept a connection");
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

async fn connection(
    node: Arc<Node>,
    edge: Edge,
    room: Arc<Room>,
    mut undecided: ConnectionSlot,
    address: Option<IpAddr>,
    mut stream: impl Stream + 'static,
) {
    let first = tokio::select! {
        biased;
        first = timeout(FIRST_BYTES_DEADLINE, FirstBytes::read(&mut stream)) => first,
        () = undecided.leave() => return node.metrics.mishap(Mishap::Closed),
    };
    let first = match first {
        Ok(Some(first)) => first,
        Ok(None) => return,
        Err(_) => return node.metrics.mishap(Mishap::Closed),
    };
    if first.rest() != MAGIC {
        let slot = room.clients.take(address);
        drop(undecided);
        return match slot {
            Some(slot) => http(&node, edge, slot, first, stream).await,
            None => refuse(&node, stream).await,
        };
    }
    match transport::serve_connection(node.clone(), stream, undecided, &room.nodes).await {
        Err(error) if error.is_bad_frame() => {
            node.metrics.mishap(Mishap::BadFrame);
            tracing::warn!(%error, ?address, "ended a node-to-node connection that sent a bad frame");
        }
        Err(error) => tracing::debug!(%error, "a node-to-node connection ended"),
        Ok(()) => {}
    }
}

/// Tells a client that there is no slot, if it reads that in time.
async fn refuse(node: &Node, mut stream: impl Stream) {
    node.metrics.mishap(Mishap::Refused);
    let said = async {
        stream.write_all(NO_PLACE.as_bytes()).await?;
        stream.shutdown().await
    };
    // If this fails, the client is gone or does not read.
    let _ = timeout(REFUSAL_DEADLINE, said).await;
}

/// The bytes read to tell the two kinds apart, and how many of them were read again.
struct FirstBytes {
    bytes: [u8; MAGIC.len()],
    read: usize,
    given: usize,
}

impl FirstBytes {
    /// Reads as many bytes as it takes to decide; `None` if the connection ends first.
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut first = Self { bytes: [0; MAGIC.len()], read: 0, given: 0 };
        while first.read < MAGIC.len() && MAGIC.starts_with(first.rest()) {
            match stream.read(&mut first.bytes[first.read..]).await {
                Ok(0) | Err(_) => return None,
                Ok(more) => first.read += more,
            }
        }
        Some(first)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.given..self.read]
    }
}

/// A connection whose first bytes are replayed.
struct Rewound<S> {
    first: FirstBytes,
    stream: S,
    /// Notified of arriving bytes; not for HTTP/2, whose connections also send frames between requests.
    activity: Option<Activity>,
}

/// The HTTP/2 preface after its first byte.
const HTTP2_BEGINS: &[u8] = b"RI * HTTP/2";

impl<S: Stream> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = self.first.rest();
        if rest.is_empty() {
            let filled = into.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(context, into);
            let arrived = &into.filled()[filled..];
            if self.activity.is_some() && !arrived.is_empty() {
                if arrived.starts_with(HTTP2_BEGINS) {
                    self.activity = None;
                } else if let Some(activity) = &self.activity {
                    activity.arrived();
                }
            }
            return polled;
        }
        let given = rest.len().min(into.remaining());
        into.put_slice(&rest[..given]);
        self.first.given += given;
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// No vectored writes: answers are small, and copying head and body together costs less than writing two pieces.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

async fn http(node: &Node, edge: Edge, mut slot: ConnectionSlot, first: FirstBytes, stream: impl Stream + 'static) {
    let activity = slot.activity();
    activity.arrived();
    let answered = activity.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (edge, busy) = (edge.clone(), answered.begin());
        async move { Ok::<_, Infallible>(until_sent(edge.answer(request).await, busy)) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(HEAD_BYTES_MAX);
    let stream = Rewound { first, stream, activity: Some(activity) };
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    let mut leaving = false;
    let ended = poll_fn(|context| {
        if let Poll::Ready(ended) = served.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        if !leaving && slot.poll_leave(context).is_ready() {
            leaving = true;
            node.metrics.mishap(Mishap::Closed);
            if !slot.is_busy() {
                return Poll::Ready(Ok(()));
            }
            // A request arrived in between.
            served.as_mut().graceful_shutdown();
            context.waker().wake_by_ref();
        }
        Poll::Pending
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

/// Keeps the connection busy until a large or endless answer is sent.
fn until_sent(response: Response, busy: Busy) -> Response {
    if response.body().size_hint().exact().is_some_and(|bytes| bytes <= SMALL_ANSWER_BYTES) {
        return response;
    }
    response.map(|body| Body::new(Answering { body, _busy: busy }))
}

/// The body of an answer, and the guard that marks its connection as busy.
struct Answering {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answering {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn first_of(parts: &[&[u8]]) -> Option<Vec<u8>> {
        let (mut near, mut far) = tokio::io::duplex(1);
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        tokio::spawn(async move {
            for part in parts {
                near.write_all(&part).await.expect("writes");
            }
        });
        Some(FirstBytes::read(&mut far).await?.rest().to_vec())
    }

    #[tokio::test]
    async fn the_first_bytes_decide_however_they_arrive() {
        assert_eq!(first_of(&[&MAGIC]).await.expect("all of it"), MAGIC);
        assert_eq!(first_of(&[b"GET / HTTP/1.1"]).await.expect("enough to tell"), b"G");
        assert_eq!(first_of(&[b"RSN", b"2"]).await.expect("all of it"), b"RSN2");
        assert_eq!(first_of(&[b"RS"]).await, None, "the connection ended before it could be told");
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let (head, body) = NO_PLACE.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: client::contract::Problem = serde_json::from_str(body).expect("a problem");
        assert_eq!((problem.code, problem.status), (client::contract::ErrorCode::Overloaded, 429));
        assert_eq!(problem.applied, Some(client::contract::AppliedState::No));
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"RSNX and more").await.expect("writes");
        drop(near);
        let first = FirstBytes::read(&mut far).await.expect("four bytes");
        let mut all = String::new();
        Rewound { first, stream: far, activity: None }.read_to_string(&mut all).await.expect("reads");
        assert_eq!(all, "RSNX and more");
    }
}
