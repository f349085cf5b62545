//! Request bodies: read completely before routing, so that every refusal still reaches its sender; then parsed and
//! checked.
//!
//! Invariants (N4)
//! * Bodies that arrive in several pieces together hold at most [`BODIES_BYTES_MAX`].
//! * A body that arrives too slowly is dropped, and its share of the memory is released.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use client::contract::{Object, headers};
use futures::FutureExt;
use http_body_util::BodyExt;
use raft_store::catalog::KeyTag;
use raft_store::types::limits;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::canonical::canonical_hash;
use super::error::ApiError;
use crate::config::{BODY_BYTES_DRAINED_MAX, BODY_BYTES_MAX};
use crate::sys::clock;

/// Memory for all bodies of more than one piece together, in bytes. A piece is what a connection reads at a time.
pub const BODIES_BYTES_MAX: usize = 128 * 1_024 * 1_024;
/// How long any body may take, including its wait for memory.
const BODY_DEADLINE_MIN: Duration = Duration::from_secs(10);
/// Minimum rate in bytes per second: for each so many bytes that have arrived, a body gets one more second.
const BODY_BYTES_PER_SECOND_MIN: u64 = 64 * 1_024;
/// How long a body may pause between two pieces.
const BODY_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes per unit of a share.
const SHARE_UNIT_BYTES: usize = 1_024;

/// The memory budget for the bodies of all connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self::of(BODIES_BYTES_MAX)
    }
}

impl BodyMemory {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / SHARE_UNIT_BYTES)))
    }

    /// Waits for a share as large as the body may become, so that no two bodies wait for each other.
    async fn share(&self, bytes: usize, until: Instant) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(SHARE_UNIT_BYTES)).ok()?;
        timeout_at(until, self.0.clone().acquire_many_owned(units)).await.ok()?.ok()
    }
}

/// The outcome of reading a request's body, kept in the request's extensions.
#[derive(Debug, Clone)]
pub enum ReadBody {
    /// The complete body.
    Whole(Bytes),
    /// It exceeded the limit and was discarded.
    TooLarge,
    /// It arrived too slowly.
    TooSlow,
    /// No memory became free in time.
    NoMemory,
    /// The connection broke while it was read.
    Broken,
}

impl ReadBody {
    /// The bytes, or why there are none.
    pub fn whole(self) -> Result<Bytes, ApiError> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLarge => Err(ApiError::TooLarge { limit: BODY_BYTES_MAX }),
            Self::TooSlow => Err(ApiError::BadRequest(format!(
                "the body did not arrive in {} s; send it faster, or send less at a time",
                BODY_DEADLINE_MIN.as_secs()
            ))),
            Self::NoMemory => Err(ApiError::Overloaded("other requests use all the memory for bodies".into())),
            Self::Broken => Err(ApiError::BadRequest("the body ended early".into())),
        }
    }
}

/// Reads a body to its end and keeps it with its share of the memory, unless it exceeds the limit. A small body arrives
/// in one piece and is neither copied nor counted.
pub async fn collect(
    mut body: impl hyper::body::Body<Data = Bytes> + Unpin,
    memory: &BodyMemory,
) -> (ReadBody, Option<OwnedSemaphorePermit>) {
    let mut share = None;
    let read = read(&mut body, memory, &mut share).await;
    (read, share)
}

/// The deadline of a body, counted from the first wait for it.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// The deadline if `bytes` bytes have arrived.
    fn until(&mut self, bytes: usize) -> Instant {
        let begun = *self.0.get_or_insert_with(clock::now);
        begun + BODY_DEADLINE_MIN + Duration::from_secs(bytes as u64 / BODY_BYTES_PER_SECOND_MIN)
    }
}

async fn read(
    body: &mut (impl hyper::body::Body<Data = Bytes> + Unpin),
    memory: &BodyMemory,
    share: &mut Option<OwnedSemaphorePermit>,
) -> ReadBody {
    let mut patience = Patience::default();
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let most = announced.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
    let mut first = Bytes::new();
    let mut kept: Option<Vec<u8>> = None;
    let mut total = 0;
    loop {
        // A small body arrives with the head and needs no reading of the clock.
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            // A body that stops loses its memory, however much has arrived before.
            None => match timeout_at(patience.until(total).min(clock::now() + BODY_SILENCE_MAX), body.frame()).await {
                Ok(frame) => frame,
                Err(_) => return ReadBody::TooSlow,
            },
        };
        let frame = match frame {
            None => break,
            Some(Err(_)) => return ReadBody::Broken,
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > BODY_BYTES_DRAINED_MAX {
            return ReadBody::TooLarge;
        }
        if total > BODY_BYTES_MAX {
            (first, kept, *share) = (Bytes::new(), None, None);
        } else if total == data.len() {
            first = data;
        } else {
            if share.is_none() {
                *share = memory.share(most.max(total), patience.until(total)).await;
            }
            if share.is_none() {
                return ReadBody::NoMemory;
            }
            kept.get_or_insert_with(|| Vec::from(std::mem::take(&mut first))).extend_from_slice(&data);
        }
    }
    match kept {
        _ if total > BODY_BYTES_MAX => ReadBody::TooLarge,
        Some(bytes) => ReadBody::Whole(bytes.into()),
        None => ReadBody::Whole(first),
    }
}

/// Parses a JSON body; file names and hashes are checked while parsing.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map(|Object(body)| body).map_err(|error| {
        let text = error.to_string();
        // `if[3]: …`: the place in a list of conditions or operations.
        let reason = text.split_once("]: ").filter(|(place, _)| is_place(place)).map_or(&*text, |(_, reason)| reason);
        if reason.starts_with("bad file name") {
            ApiError::BadName(text)
        } else if error.is_data() {
            ApiError::BadRequest(format!("the body does not have the expected form: {text}"))
        } else {
            ApiError::BadRequest(format!("the body is not JSON: {text}"))
        }
    })
}

/// Whether this is a place in a transaction without its last bracket, such as `then[12`.
fn is_place(text: &str) -> bool {
    let list = text.trim_end_matches(|digit: char| digit.is_ascii_digit());
    matches!(list, "if[" | "then[" | "else[")
}

/// The idempotency key of a write, with the hash of its request (X1).
pub fn key_tag(request: &HeaderMap, path: &str, body: &[u8]) -> Result<Option<KeyTag>, ApiError> {
    let floor = match request.get(headers::IDEMPOTENCY_FLOOR) {
        None => None,
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            Some(number.ok_or_else(|| ApiError::BadRequest("Idempotency-Floor must be a whole number".into()))?)
        }
    };
    let Some(key) = request.get(headers::IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = std::str::from_utf8(key.as_bytes())
        .map_err(|_| ApiError::BadRequest("Idempotency-Key must be UTF-8 text".into()))?;
    if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
        return Err(ApiError::BadRequest("Idempotency-Key must have 1 to 128 bytes".into()));
    }
    Ok(Some(KeyTag { key: key.to_owned(), chunk: 0, floor, body: canonical_hash(path, body) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of these pieces that then ends, or stays silent.
    fn pieces(sizes: &[usize], ends: bool) -> axum::body::Body {
        let sizes: Vec<_> =
            sizes.iter().map(|bytes| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *bytes]))).collect();
        let sent = futures::stream::iter(sizes);
        if ends {
            return axum::body::Body::from_stream(sent);
        }
        axum::body::Body::from_stream(futures::StreamExt::chain(sent, futures::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_one_memory() {
        let memory = BodyMemory::of(BODY_BYTES_MAX);
        let (small, none) = collect(pieces(&[1_000], true), &memory).await;
        assert!(matches!(small, ReadBody::Whole(_)) && none.is_none(), "one piece is not counted");
        let (large, share) = collect(pieces(&[1_000, 1_000], true), &memory).await;
        assert!(matches!(large, ReadBody::Whole(bytes) if bytes.len() == 2_000));
        let (second, _) = collect(pieces(&[1_000, 1_000], true), &memory).await;
        assert!(matches!(second, ReadBody::NoMemory), "N4: the first one holds all of it: {second:?}");
        assert!(matches!(second.whole(), Err(ApiError::Overloaded(_))));
        drop(share);
        let (third, _) = collect(pieces(&[1_000, 1_000], true), &memory).await;
        assert!(matches!(third, ReadBody::Whole(_)));
        let (excess, share) = collect(pieces(&[BODY_BYTES_MAX, 1], true), &memory).await;
        assert!(matches!(excess, ReadBody::TooLarge) && share.is_none(), "nothing of it is held");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_ends() {
        for sizes in [&[10][..], &[BODY_BYTES_MAX / 2, BODY_BYTES_MAX / 2 - 1]] {
            let begun = clock::now();
            let (read, _) = collect(pieces(sizes, false), &BodyMemory::default()).await;
            assert!(matches!(read, ReadBody::TooSlow), "N4: {read:?}");
            assert!(matches!(read.whole(), Err(ApiError::BadRequest(_))));
            assert!(begun.elapsed() <= BODY_SILENCE_MAX, "whatever it brought before: {:?}", begun.elapsed());
        }
    }

    #[test]
    fn keys_are_checked() {
        let mut headers_in = HeaderMap::new();
        assert_eq!(key_tag(&headers_in, "/lease", b"{}").expect("no key"), None);
        headers_in.insert(headers::IDEMPOTENCY_KEY, "k".repeat(129).parse().expect("header"));
        assert!(matches!(key_tag(&headers_in, "/lease", b"{}"), Err(ApiError::BadRequest(_))));
        headers_in.insert(headers::IDEMPOTENCY_KEY, "s:7".parse().expect("header"));
        headers_in.insert(headers::IDEMPOTENCY_FLOOR, "x".parse().expect("header"));
        assert!(matches!(key_tag(&headers_in, "/lease", b"{}"), Err(ApiError::BadRequest(_))));
        headers_in.insert(headers::IDEMPOTENCY_FLOOR, "5".parse().expect("header"));
        let tag = key_tag(&headers_in, "/lease", b"{}").expect("valid").expect("a key");
        assert_eq!((tag.key.as_str(), tag.floor), ("s:7", Some(5)));
    }
}
