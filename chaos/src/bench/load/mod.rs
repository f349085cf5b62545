//! A load generator that costs little: raw HTTP/1.1 over kept-alive connections, one per client, buffers reused.
//!
//! Invariant: a request counts as done only when its whole answer was read and its status is 2xx; latency is from before the
//! request is written until then.

mod connection;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub use connection::Connection;

use super::samples::Samples;

/// What a load came to.
#[derive(Debug, Default)]
pub struct Load {
    /// Latency of every successful request.
    pub latencies: Samples,
    /// Requests that failed.
    pub errors: u64,
    /// For how long it went on.
    pub elapsed: Duration,
}

/// Announces new files, one per request, from `clients` connections at once for so long.
///
/// Every client is a registered peer of its own and sends idempotency keys as the library does.
pub async fn announce(host: &str, clients: usize, duration: Duration, run: &str) -> io::Result<Load> {
    let mut connections = Vec::new();
    for client in 0..clients {
        let mut connection = Connection::open(host).await?;
        let body =
            format!(r#"{{"peerId":"load-{run}-{client}","address":"http://127.0.0.1:9","files":[],"serving":false}}"#);
        let status = connection.send("POST", "/register", "", &body).await?;
        if status != 200 {
            return Err(io::Error::other(format!("a registration was answered with status {status}")));
        }
        connections.push(connection);
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for (client, connection) in connections.into_iter().enumerate() {
        tasks.spawn(one_client(connection, format!("{run}-{client}"), over.clone()));
    }
    tokio::time::sleep(duration).await;
    over.store(true, Ordering::Relaxed);
    let mut load = Load::default();
    while let Some(result) = tasks.join_next().await {
        let (latencies, errors) = result.map_err(io::Error::other)?;
        load.latencies.merge(latencies);
        load.errors += errors;
    }
    load.elapsed = began.elapsed();
    Ok(load)
}

async fn one_client(mut connection: Connection, name: String, over: Arc<AtomicBool>) -> (Samples, u64) {
    let (mut latencies, mut errors) = (Samples::default(), 0);
    let mut sequence = 0_u64;
    while !over.load(Ordering::Relaxed) {
        sequence += 1;
        let headers = format!("idempotency-key: load{name}:{sequence}\r\nidempotency-floor: {sequence}\r\n");
        let body = format!(
            r#"{{"peerId":"load-{name}","file":{{"name":"load/{name}/{sequence}","size":1,"hash":"{sequence:064x}"}}}}"#
        );
        let sent = Instant::now();
        match connection.send("POST", "/announce", &headers, &body).await {
            Ok(200) => latencies.add(sent.elapsed()),
            Ok(_) => errors += 1,
            Err(_) => {
                // The connection is of no use any more, and neither is this client.
                errors += 1;
                break;
            }
        }
    }
    (latencies, errors)
}
