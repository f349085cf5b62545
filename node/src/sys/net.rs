//! The border between a node and its network: connections that it opens, connections that it accepts, and requests that
//! it forwards. In production these are TCP and a pool of HTTP connections; a simulation puts its own in their place.
//!
//! Invariant: [`Undelivered::NotSent`] is definite: the other side never saw the request. Everything else is not (W5).

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Idle connections kept to the leader for forwarding.
const FORWARD_CONNECTIONS_IDLE_MAX: usize = 256;
/// A forwarded request gives up connecting after this long.
const FORWARD_CONNECT_DEADLINE: Duration = Duration::from_millis(300);

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A connection that this node opened.
pub type Connection = Box<dyn Stream>;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Definite: it was never sent.
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("{0}")]
    Lost(String),
}

/// The network as a node uses it.
pub trait Net: Send + Sync + 'static {
    /// Connects to `host:port`.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>>;

    /// Sends an HTTP request with an absolute URI and reads the whole answer, `within` at most.
    fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Response<Bytes>, Undelivered>>;
}

/// Where connections come in.
pub trait Listener: Send + 'static {
    /// A connection that came in.
    type Stream: Stream + 'static;

    /// Waits for the next one.
    fn next(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Where a connection came from, if that can be told.
    fn address(_stream: &Self::Stream) -> Option<IpAddr> {
        None
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // If the other side is gone again, whoever serves the connection will notice.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn address(stream: &TcpStream) -> Option<IpAddr> {
        stream.peer_addr().ok().map(|address| address.ip())
    }
}

/// TCP, and a pool of HTTP connections.
#[derive(Debug, Clone)]
pub struct SystemNet {
    http: reqwest::Client,
}

impl SystemNet {
    /// The system's network.
    pub fn new() -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(FORWARD_CONNECTIONS_IDLE_MAX)
            .connect_timeout(FORWARD_CONNECT_DEADLINE)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self { http })
    }
}

impl Net for SystemNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Connection)
        })
    }

    fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Response<Bytes>, Undelivered>> {
        let http = self.http.clone();
        Box::pin(async move {
            let mut request = reqwest::Request::try_from(request).map_err(undelivered)?;
            *request.timeout_mut() = Some(within);
            let answer = http.execute(request).await.map_err(undelivered)?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            // It has been answered, so it was sent.
            *response.body_mut() = answer.bytes().await.map_err(|error| Undelivered::Lost(error.to_string()))?;
            Ok(response)
        })
    }
}

fn undelivered(error: reqwest::Error) -> Undelivered {
    if error.is_connect() || error.is_builder() {
        Undelivered::NotSent(error.to_string())
    } else {
        Undelivered::Lost(error.to_string())
    }
}
