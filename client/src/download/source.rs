//! One HTTP request to one holder: its limits on time, speed and size, and what its failure means.
//!
//! Invariants: a source cannot send more than was requested, nor stall a download by sending almost nothing. Returned
//! bytes have the requested length, and the holder has not said that they belong to another version. Only the hash of
//! the whole file tells whether they are right.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use raft_store::types::{ContentHash, FileName, Version};
use reqwest::{Method, Response, StatusCode, header};

use super::plan::Outcome;
use crate::contract::PROBLEM_JSON;

/// Characters of a path segment that need no encoding (RFC 3986 "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Limits on the time and speed of a download.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Limit for connecting.
    pub connect: Duration,
    /// Longest silence before and within a response.
    pub idle: Duration,
    /// Window over which a source's speed is measured.
    pub slow_window: Duration,
    /// Bytes per second below which another source takes over.
    pub slow_bytes_per_second: u64,
    /// Bytes per second below which even the only source is given up.
    pub least_bytes_per_second: u64,
    /// Time for failing sources, on top of the time for the bytes at the least speed.
    pub grace: Duration,
}

impl Limits {
    /// Time limit for a download of `bytes`.
    pub fn time_for(&self, bytes: u64) -> Duration {
        self.grace.saturating_add(Duration::from_secs(bytes / self.least_bytes_per_second.max(1)))
    }
}

/// The speed of one source, window by window.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    least: u64,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// `alone`: no other source has the bytes, so slow is better than nothing.
    pub(super) fn new(limits: &Limits, alone: bool) -> Self {
        let least = if alone { limits.least_bytes_per_second } else { limits.slow_bytes_per_second };
        Self { window: limits.slow_window, least, since: Instant::now(), bytes: 0 }
    }

    /// Counts received bytes; fails if the window that just ended brought too few.
    pub(super) fn count(&mut self, bytes: u64) -> Result<(), SourceError> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        let rate = (self.bytes as f64 / elapsed.as_secs_f64()) as u64;
        (self.since, self.bytes) = (Instant::now(), 0);
        if rate < self.least { Err(SourceError::Slow(rate)) } else { Ok(()) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            idle: Duration::from_secs(10),
            slow_window: Duration::from_secs(10),
            slow_bytes_per_second: 16 * 1024,
            least_bytes_per_second: 1024,
            grace: Duration::from_secs(60),
        }
    }
}

/// Why a source did not deliver. `Display` follows "SOURCE: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The address is not a usable URL.
    #[error("its address is not an http URL")]
    BadAddress,
    /// The source cannot be reached, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// It sent nothing for too long.
    #[error("it sent nothing for {} s", .0.as_secs())]
    Idle(Duration),
    /// It sends almost nothing.
    #[error("it sent only {0} bytes per second")]
    Slow(u64),
    /// It sends more bytes than the file has.
    #[error("it sent more than the {0} bytes of the file")]
    TooMuch(u64),
    /// It has another version, no copy, or changed bytes.
    #[error("it does not serve this version (HTTP {0})")]
    NotServed(u16),
    /// It is busy, or it fails for now.
    #[error("it answered HTTP {0}")]
    Busy(u16),
    /// Its entity tag belongs to other bytes.
    #[error("it has different bytes for this version")]
    OtherBytes,
    /// It ignores ranges, or sent another range.
    #[error("it does not serve byte ranges")]
    NoRanges,
    /// The file's size differs from the index, although the entity tag matches.
    #[error("its copy has {0} bytes")]
    OtherSize(u64),
}

impl SourceError {
    /// What the failure means to the plan.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connection(_) | Self::Idle(_) | Self::Busy(_) | Self::Slow(_) => Outcome::Failed,
            Self::BadAddress
            | Self::NotServed(_)
            | Self::OtherBytes
            | Self::NoRanges
            | Self::OtherSize(_)
            | Self::TooMuch(_) => Outcome::Unusable,
        }
    }

    /// Whether the source may still send the whole file.
    pub(super) fn is_about_ranges(&self) -> bool {
        matches!(self, Self::NoRanges | Self::NotServed(416))
    }

    fn connection(error: &reqwest::Error) -> Self {
        let mut text = if error.is_connect() { "it cannot be reached" } else { "the connection broke" }.to_owned();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            (text, cause) = (format!("{text}: {inner}"), inner.source());
        }
        Self::Connection(text)
    }
}

/// What the requests of one download share.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) http: reqwest::Client,
    pub(super) bearer: Option<String>,
    pub(super) limits: Limits,
    pub(super) path: String,
    pub(super) hash: ContentHash,
}

impl Target {
    /// `/files/NAME?version=N`, each segment percent-encoded.
    pub(super) fn path(name: &FileName, version: Version) -> String {
        let segments: Vec<_> =
            name.as_str().split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        format!("/files/{}?version={version}", segments.join("/"))
    }

    async fn send(&self, method: Method, source: &str, range: Option<(u64, u64)>) -> Result<Response, SourceError> {
        let base = source.trim_end_matches('/');
        let url = reqwest::Url::parse(&format!("{base}{}", self.path)).map_err(|_| SourceError::BadAddress)?;
        // A holder whose announcement is still in flight serves bytes that are named by their hash.
        let mut response = self.ask(method.clone(), url.clone(), range, true).await?;
        if response.status() == StatusCode::PRECONDITION_FAILED && !is_problem(&response) {
            // The original's peers know no entity tags, and so none that matches.
            response = self.ask(method, url, range, false).await?;
        }
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(SourceError::Busy(status.as_u16()));
        }
        if !status.is_success() {
            return Err(SourceError::NotServed(status.as_u16()));
        }
        let etag = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok());
        if etag.is_some_and(|etag| etag.trim_matches('"') != self.hash.to_string()) {
            return Err(SourceError::OtherBytes);
        }
        Ok(response)
    }

    /// Asks whether the source has these bytes, and how many they are.
    pub(super) async fn size(&self, source: &str) -> Result<u64, SourceError> {
        let response = self.send(Method::HEAD, source, None).await?;
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        length.and_then(|length| length.parse().ok()).ok_or(SourceError::NoRanges)
    }

    async fn ask(
        &self,
        method: Method,
        url: reqwest::Url,
        range: Option<(u64, u64)>,
        by_hash: bool,
    ) -> Result<Response, SourceError> {
        let mut request = self.http.request(method, url);
        if by_hash {
            request = request.header(header::IF_MATCH, format!("\"{}\"", self.hash));
        }
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        }
        if let Some((first, last)) = range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        let answer = tokio::time::timeout(self.limits.idle, request.send()).await;
        let response = answer.map_err(|_| SourceError::Idle(self.limits.idle))?;
        response.map_err(|error| SourceError::connection(&error))
    }

    /// Starts fetching the whole file.
    pub(super) async fn whole(&self, source: &str) -> Result<Stream, SourceError> {
        let response = self.send(Method::GET, source, None).await?;
        if response.status() != StatusCode::OK {
            return Err(SourceError::NotServed(response.status().as_u16()));
        }
        Ok(Stream { size: response.content_length(), idle: self.limits.idle, response })
    }

    /// Fetches one range completely. `received` counts the bytes, for progress and for spotting slow sources.
    pub(super) async fn range(
        &self,
        source: &str,
        span: std::ops::Range<u64>,
        size: u64,
        received: &AtomicU64,
    ) -> Result<Vec<u8>, SourceError> {
        let response = self.send(Method::GET, source, Some((span.start, span.end - 1))).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(SourceError::NoRanges);
        }
        let answered = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let (answered, total) = answered.and_then(|text| text.rsplit_once('/')).ok_or(SourceError::NoRanges)?;
        if total != size.to_string() {
            return Err(total.parse().map_or(SourceError::NoRanges, SourceError::OtherSize));
        }
        if answered != format!("bytes {}-{}", span.start, span.end - 1) {
            return Err(SourceError::NoRanges);
        }
        let length = usize::try_from(span.end - span.start).unwrap_or(0);
        let mut bytes = Vec::with_capacity(length);
        let mut stream = Stream { size: None, idle: self.limits.idle, response };
        while let Some(piece) = stream.next().await? {
            if bytes.len() + piece.len() > length {
                return Err(SourceError::NoRanges);
            }
            bytes.extend_from_slice(&piece);
            received.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        if bytes.len() == length { Ok(bytes) } else { Err(SourceError::Connection("the response was cut off".into())) }
    }
}

/// Whether a peer of this project gave the answer.
fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes() == PROBLEM_JSON.as_bytes())
}

/// A body that is being received.
pub(super) struct Stream {
    /// Its length, if the source states one.
    pub(super) size: Option<u64>,
    idle: Duration,
    response: Response,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(SourceError::connection(&error)),
            Err(_) => Err(SourceError::Idle(self.idle)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_is_encoded_by_itself() {
        let name = FileName::parse("a b/ü#1?.txt").expect("valid name");
        assert_eq!(Target::path(&name, 7), "/files/a%20b/%C3%BC%231%3F.txt?version=7");
    }
}
