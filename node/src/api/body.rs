//! Request bodies: read whole before anything is routed, so that every refusal still reaches its sender, then parsed
//! and checked.

use axum::body::Bytes;
use axum::http::HeaderMap;
use client::api::{Object, headers};
use http_body_util::BodyExt;
use raft_store::catalog::KeyTag;
use raft_store::types::limits;
use serde::de::DeserializeOwned;

use super::canonical::canonical_hash;
use super::error::ApiError;
use crate::config::{BODY_BYTES_DRAINED_MAX, BODY_BYTES_MAX};

/// What a request's body was, kept in its extensions.
#[derive(Debug, Clone)]
pub enum ReadBody {
    /// All of it.
    Whole(Bytes),
    /// Over the limit; thrown away.
    TooLarge,
    /// The connection broke while it was read.
    Broken,
}

impl ReadBody {
    /// The bytes, or why there are none.
    pub fn whole(self) -> Result<Bytes, ApiError> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLarge => Err(ApiError::TooLarge { limit: BODY_BYTES_MAX }),
            Self::Broken => Err(ApiError::BadRequest("the body ended early".into())),
        }
    }
}

/// Reads a body to its end, keeping what is within the limit. A small one arrives in one piece and is not copied.
pub async fn collect(mut body: impl hyper::body::Body<Data = Bytes> + Unpin) -> ReadBody {
    let mut first = Bytes::new();
    let mut kept: Option<Vec<u8>> = None;
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return ReadBody::Broken };
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > BODY_BYTES_DRAINED_MAX {
            return ReadBody::TooLarge;
        }
        if total > BODY_BYTES_MAX {
            (first, kept) = (Bytes::new(), None);
        } else if total == data.len() {
            first = data;
        } else {
            kept.get_or_insert_with(|| Vec::from(std::mem::take(&mut first))).extend_from_slice(&data);
        }
    }
    match kept {
        _ if total > BODY_BYTES_MAX => ReadBody::TooLarge,
        Some(bytes) => ReadBody::Whole(bytes.into()),
        None => ReadBody::Whole(first),
    }
}

/// Parses a JSON body; names and hashes are checked on the way.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map(|Object(body)| body).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("bad file name") {
            ApiError::BadName(text)
        } else if error.is_data() {
            ApiError::BadRequest(format!("the body does not have the expected form: {text}"))
        } else {
            ApiError::BadRequest(format!("the body is not JSON: {text}"))
        }
    })
}

/// The idempotency key of a write, with the hash of what it stands for (X1).
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
