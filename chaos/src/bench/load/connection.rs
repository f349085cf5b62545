//! One kept-alive HTTP/1.1 connection that costs little: buffers are reused, and of an answer
//! only what is asked for is read.
//!
//! Invariant: a status is returned only when the whole answer was read; after an error the
//! connection must be dropped.

use std::io::{self, Write as _};
use std::ops::Range;

use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 32;

/// One kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    /// The last answer as it came.
    answer: Vec<u8>,
    head: usize,
    body: Body,
}

/// Where the body of the last answer is.
#[derive(Debug)]
enum Body {
    /// Part of the answer.
    Plain(Range<usize>),
    /// Put together from its chunks.
    Joined(Vec<u8>),
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (request, answer) = (Vec::new(), Vec::new());
        Ok(Self { stream, host: host.to_owned(), request, answer, head: 0, body: Body::Plain(0..0) })
    }

    /// One request; returns the status of its answer. `headers` are whole lines, each with its line end.
    pub async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<u16> {
        self.request.clear();
        let request = &mut self.request;
        add(request, &[method, " ", path, " HTTP/1.1\r\nhost: ", &self.host, "\r\n"]);
        if !body.is_empty() || method == "POST" {
            write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len())?;
        }
        add(request, &[headers, "\r\n", body]);
        self.stream.write_all(&self.request).await?;
        self.read_answer().await
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        match &self.body {
            Body::Plain(range) => self.answer.get(range.clone()).unwrap_or_default(),
            Body::Joined(bytes) => bytes,
        }
    }

    /// A header of the last answer; the case of `name` does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        response.parse(self.answer.get(..self.head)?).ok()?;
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    }

    async fn read_answer(&mut self) -> io::Result<u16> {
        self.answer.clear();
        (self.head, self.body) = (0, Body::Plain(0..0));
        let mut head = None;
        loop {
            if head.is_none() {
                head = parse_head(&self.answer)?;
            }
            if let Some(head) = &head
                && let Some(body) = find_body(&self.answer, head)?
            {
                (self.head, self.body) = (head.end, body);
                return Ok(head.status);
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

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the head ends and the body begins.
    end: usize,
    /// Absent for a body in chunks.
    length: Option<usize>,
}

/// Appends texts one after the other; formatting them takes several times as long.
fn add(request: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
}

/// The head, once it is complete.
fn parse_head(answer: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let Status::Complete(end) = response.parse(answer).map_err(io::Error::other)? else { return Ok(None) };
    let (status, mut length, mut chunked) = (response.code.unwrap_or_default(), None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = header.value.eq_ignore_ascii_case(b"chunked");
        }
    }
    let length = match (status, length) {
        (204 | 304, _) => Some(0),
        (_, None) if chunked => None,
        (_, Some(length)) => Some(length),
        _ => return Err(io::Error::other("an answer without a length")),
    };
    Ok(Some(Head { status, end, length }))
}

/// The body, once it is complete.
fn find_body(answer: &[u8], head: &Head) -> io::Result<Option<Body>> {
    let Some(length) = head.length else { return Ok(join_chunks(&answer[head.end..])?.map(Body::Joined)) };
    let end = head.end + length;
    Ok((answer.len() >= end).then_some(Body::Plain(head.end..end)))
}

fn join_chunks(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut joined = Vec::new();
    loop {
        let parsed = httparse::parse_chunk_size(rest).map_err(|error| io::Error::other(error.to_string()))?;
        let Status::Complete((from, size)) = parsed else { return Ok(None) };
        let size = usize::try_from(size).map_err(io::Error::other)?;
        if size == 0 {
            // Trailers may follow; an empty line ends them.
            let ended = rest[from - 2..].windows(4).any(|window| window == b"\r\n\r\n");
            return Ok(ended.then_some(joined));
        }
        let until = from.saturating_add(size);
        if rest.len() < until.saturating_add(2) {
            return Ok(None);
        }
        joined.extend_from_slice(&rest[from..until]);
        rest = &rest[until + 2..];
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn answers_are_complete_only_with_their_body() {
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Le").expect("not broken"), None);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab";
        let head = parse_head(answer).expect("complete").expect("a head");
        assert_eq!((head.status, head.length), (200, Some(3)));
        assert!(find_body(answer, &head).expect("not broken").is_none());
        let empty = parse_head(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").expect("complete").expect("a head");
        assert_eq!(empty.length, Some(0));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n").is_err());
        let chunks =
            parse_head(b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:  Chunked\r\n\r\n").expect("complete").expect("a head");
        assert_eq!(chunks.length, None);
    }

    #[test]
    fn chunks_are_joined() {
        for trailer in ["", "Trailer: x\r\n"] {
            let whole = format!("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n{trailer}\r\n").into_bytes();
            assert_eq!(join_chunks(&whole).expect("not broken"), Some(b"abcde".to_vec()));
            for end in 0..whole.len() {
                assert_eq!(join_chunks(&whole[..end]).expect("not broken"), None, "after {end} bytes");
            }
        }
        assert!(join_chunks(b"zz\r\n").is_err());
    }

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("bound").to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut seen = Vec::new();
            for body in ["{}", "[1]"] {
                while !seen.ends_with(b"\r\n\r\n") && !seen.ends_with(b"{\"a\":1}") {
                    stream.read_buf(&mut seen).await.expect("readable");
                }
                let answer = format!("HTTP/1.1 200 OK\r\nX-Total: 7\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.expect("writable");
                seen.push(b'|');
            }
            String::from_utf8(seen).expect("text")
        });
        let mut connection = Connection::open(&host).await.expect("connects");
        assert_eq!(connection.send("GET", "/a?b=1", "x: y\r\n", "").await.expect("answered"), 200);
        assert_eq!((connection.body(), connection.header("x-total")), (&b"{}"[..], Some("7")));
        assert_eq!(connection.send("POST", "/c", "", r#"{"a":1}"#).await.expect("answered"), 200);
        assert_eq!((connection.body(), connection.header("absent")), (&b"[1]"[..], None));
        let seen = server.await.expect("ended");
        assert!(seen.starts_with("GET /a?b=1 HTTP/1.1\r\n") && seen.contains("x: y\r\n"), "{seen}");
        assert!(seen.contains("POST /c HTTP/1.1\r\n") && seen.contains("content-length: 7\r\n"), "{seen}");
    }
}
