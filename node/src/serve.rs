//! The listener: tells node-to-node connections from HTTP by their first bytes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;

use crate::api::{self, Edge};
use crate::net::{Listener, Stream};
use crate::node::Node;
use crate::transport::{self, MAGIC};

/// Connections served at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a connection may take to send its first bytes.
const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(30);
/// Pause after an accept error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the task is aborted.
pub async fn accept(node: Arc<Node>, mut listener: impl Listener) {
    let edge = api::Edge::new(node.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.next().await {
            Ok(stream) => {
                let (node, edge) = (node.clone(), edge.clone());
                tokio::spawn(async move {
                    connection(node, edge, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(node: Arc<Node>, edge: Edge, mut stream: impl Stream + 'static) {
    let Ok(Some(first)) = tokio::time::timeout(FIRST_BYTES_DEADLINE, FirstBytes::read(&mut stream)).await else {
        return;
    };
    if first.rest() != MAGIC {
        return http(edge, Rewound { first, stream }).await;
    }
    if let Err(error) = transport::serve_connection(node, stream).await {
        tracing::debug!(%error, "a node-to-node connection ended");
    }
}

/// What was read to tell the two kinds apart, and how much of it was given back.
struct FirstBytes {
    bytes: [u8; MAGIC.len()],
    read: usize,
    given: usize,
}

impl FirstBytes {
    /// As many bytes as it takes to decide; `None` if the connection ends before.
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

/// A connection whose first bytes were read, and are read again.
struct Rewound<S> {
    first: FirstBytes,
    stream: S,
}

impl<S: Stream> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = self.first.rest();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
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

    /// No: answers are small, and copying head and body together costs less than the system's handling of two pieces.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

async fn http(edge: Edge, stream: impl Stream + 'static) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let edge = edge.clone();
        async move { Ok::<_, Infallible>(edge.answer(request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an HTTP connection ended");
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

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"RSNX and more").await.expect("writes");
        drop(near);
        let first = FirstBytes::read(&mut far).await.expect("four bytes");
        let mut all = String::new();
        Rewound { first, stream: far }.read_to_string(&mut all).await.expect("reads");
        assert_eq!(all, "RSNX and more");
    }
}
