//! The simulated network in the place of the node's own, and HTTP over it for clients.
//!
//! Invariant: a request counts as not sent only while no connection came about.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use node::sys::net::{Connection, Listener, Net, Undelivered};
use tokio::time::{Instant, timeout_at};
use turmoil::net::{TcpListener, TcpStream};

/// Where every machine listens.
pub(super) const PORT: u16 = 7_000;
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);

/// A machine's name.
pub(super) fn name(id: u64) -> String {
    format!("node-{id}")
}

/// A machine's address.
pub(super) fn address(id: u64) -> String {
    format!("{}:{PORT}", name(id))
}

/// Whether the node at an address runs.
pub(super) type Runs = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// turmoil's network, as a node uses it.
#[derive(Clone)]
pub(super) struct SimNet {
    pub(super) runs: Runs,
}

impl Net for SimNet {
    /// turmoil refuses a connection whose packets it drops; on a real network only a machine
    /// without a listener refuses.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>> {
        let runs = self.runs.clone();
        Box::pin(async move {
            match connect(&address).await {
                Ok(stream) => Ok(Box::new(stream) as Connection),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && runs(&address) => {
                    Err(io::ErrorKind::TimedOut.into())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Response<Bytes>, Undelivered>> {
        Box::pin(exchange(request, within))
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port: u16 = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    TcpStream::connect((host, port)).await
}

/// One request on its own connection.
pub(super) async fn exchange(request: Request<Bytes>, within: Duration) -> Result<Response<Bytes>, Undelivered> {
    let not_sent = |reason: &str| Undelivered::NotSent(reason.to_owned());
    let lost = |reason: String| Undelivered::Lost(reason);
    let (mut parts, body) = request.into_parts();
    let address = parts.uri.authority().ok_or_else(|| not_sent("no address"))?.to_string();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|error| not_sent(&error.to_string()))?;
    parts.headers.insert(HOST, HeaderValue::from_str(&address).map_err(|error| not_sent(&error.to_string()))?);
    let deadline = Instant::now() + within;
    let stream = match timeout_at(deadline.min(Instant::now() + CONNECT_WITHIN), connect(&address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(not_sent(&error.to_string())),
        Err(_) => return Err(not_sent("no answer to the connection attempt")),
    };
    let talk = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let request = Request::from_parts(parts, Full::new(body));
        let answer = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        let answer = answer.await.map_err(|error| lost(error.to_string()));
        driver.abort();
        answer
    };
    timeout_at(deadline, talk).await.unwrap_or_else(|_| Err(lost("no answer in time".to_owned())))
}

/// Where a machine's connections come in.
pub(super) struct SimListener(TcpListener);

impl SimListener {
    /// Listens on the machine that this is called on.
    pub(super) async fn bind() -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("0.0.0.0", PORT)).await?))
    }
}

impl Listener for SimListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<TcpStream> {
        Ok(self.0.accept().await?.0)
    }
}
