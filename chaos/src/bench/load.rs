//! A load generator that costs little: raw HTTP/1.1 over kept-alive connections, one per client, buffers reused.
//!
//! Invariant: a request counts as done only when its whole answer was read and its status is 2xx; latency is from before the
//! request is written until then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::samples::Samples;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// One kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: host.to_owned(), request: Vec::new(), answer: Vec::new() })
    }

    /// One POST; returns the status. `headers` are whole lines, each with its line end.
    pub async fn post(&mut self, path: &str, headers: &str, body: &str) -> io::Result<u16> {
        use std::io::Write as _;
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            self.host,
            body.len()
        )?;
        self.stream.write_all(&self.request).await?;
        self.read_answer().await
    }

    async fn read_answer(&mut self) -> io::Result<u16> {
        self.answer.clear();
        loop {
            if let Some((status, total)) = parse(&self.answer)?
                && self.answer.len() >= total
            {
                return Ok(status);
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer is too large"));
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Status and whole length of an answer whose head is complete.
fn parse(answer: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).map_err(io::Error::other)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some((status, end + 4 + length))),
        (Some(204 | 304), None) => Ok(Some((204, end + 4))),
        _ => Err(io::Error::other("an answer without status or length")),
    }
}

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
        let status = connection.post("/register", "", &body).await?;
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
        match connection.post("/announce", &headers, &body).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_only_with_their_body() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Le").expect("not broken"), None);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(parse(answer).expect("complete"), Some((200, answer.len())));
        let empty = b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n";
        assert_eq!(parse(empty).expect("complete"), Some((204, empty.len())));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
