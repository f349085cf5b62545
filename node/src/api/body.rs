//! Request bodies: read whole before anything is routed, so that every refusal still reaches its sender, then parsed
//! and checked.

use axum::body::Bytes;
use axum::http::HeaderMap;
use client::api::{Object, headers};
use http_body_util::BodyExt;
use raft_store::catalog::KeyTag;
use raft_store::types::{ContentHash, limits};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

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
    pub fn bytes(&self) -> Result<&Bytes, ApiError> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLarge => Err(ApiError::TooLarge { limit: BODY_BYTES_MAX }),
            Self::Broken => Err(ApiError::BadRequest("the body ended early".into())),
        }
    }
}

/// Reads a body to its end, keeping what is within the limit.
pub async fn collect(mut body: impl hyper::body::Body<Data = Bytes> + Unpin) -> ReadBody {
    let mut kept: Option<Vec<u8>> = Some(Vec::new());
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return ReadBody::Broken };
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > BODY_BYTES_DRAINED_MAX {
            return ReadBody::TooLarge;
        }
        match &mut kept {
            Some(bytes) if total <= BODY_BYTES_MAX => bytes.extend_from_slice(&data),
            _ => kept = None,
        }
    }
    kept.map_or(ReadBody::TooLarge, |bytes| ReadBody::Whole(bytes.into()))
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

/// "The same body" means equal JSON on the same path: objects are compared without regard to order and white space.
fn canonical_hash(path: &str, body: &[u8]) -> ContentHash {
    let mut hasher = Sha256::new();
    hasher.update(path.as_bytes());
    hasher.update([0]);
    match serde_json::from_slice::<serde_json::Value>(body) {
        // serde_json keeps object keys sorted unless a feature says otherwise; the test below would notice.
        // Bytes, not text: `Display` of a value checks each piece again. A value that was read can be written.
        Ok(value) => hasher.update(serde_json::to_vec(&value).unwrap_or_default()),
        Err(_) => hasher.update(body),
    }
    ContentHash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_json_is_the_same_body() {
        let hash = |body: &str| canonical_hash("/lease", body.as_bytes());
        assert_eq!(hash(r#"{"a":1,"b":{"d":2,"c":3}}"#), hash(r#" { "b": {"c":3, "d":2}, "a": 1 } "#));
        assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":2}"#));
        assert_ne!(hash("{}"), canonical_hash("/delete", b"{}"));
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
