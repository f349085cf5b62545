//! The listener: tells node-to-node connections from HTTP by their first bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::api;
use crate::node::Node;
use crate::transport::{self, MAGIC};

/// Connections served at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a connection may take to send its first bytes.
const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(30);
/// Pause after an accept error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the task is aborted.
pub async fn accept(node: Arc<Node>, listener: TcpListener) {
    let router = api::router(node.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (node, router) = (node.clone(), router.clone());
                tokio::spawn(async move {
                    connection(node, router, stream).await;
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

async fn connection(node: Arc<Node>, router: Router, mut stream: TcpStream) {
    let Ok(Some(first)) = tokio::time::timeout(FIRST_BYTES_DEADLINE, first_bytes(&stream)).await else { return };
    if first != MAGIC {
        return http(router, stream).await;
    }
    let mut magic = [0; MAGIC.len()];
    if stream.read_exact(&mut magic).await.is_ok()
        && let Err(error) = transport::serve_connection(node, stream).await
    {
        tracing::debug!(%error, "a node-to-node connection ended");
    }
}

/// The first four bytes without taking them; `None` if the connection ends before.
async fn first_bytes(stream: &TcpStream) -> Option<[u8; 4]> {
    let mut first = [0; MAGIC.len()];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return None,
            Ok(seen) if seen == first.len() => return Some(first),
            Ok(seen) if first[..seen] != MAGIC[..seen] => return Some([0; 4]),
            // Data is there, so `peek` would return at once: let the rest arrive.
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn http(router: Router, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request.map(axum::body::Body::new)).await.unwrap_or_default()) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
