//! What the original's programs send and read, and how their JSON is decoded.
//!
//! Invariant: a body is decoded as Go's `encoding/json` does with unknown fields forbidden. A field may be absent or
//! `null`, and then has its zero value; a field of the wrong type and one that is not known are refused.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};

use client::contract::Object;

use super::time;

/// A peer: its id, the base URL of its HTTP server, and when it was last heard from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// Its id.
    #[serde(deserialize_with = "or_zero")]
    pub id: String,
    /// Base URL, such as `http://10.0.0.5:9001`.
    #[serde(deserialize_with = "or_zero")]
    pub addr: String,
    /// RFC 3339; the zero time if it is not known.
    #[serde(rename = "lastSeen", deserialize_with = "time_or_zero")]
    pub last_seen: String,
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileInfo {
    /// Its name.
    #[serde(deserialize_with = "or_zero")]
    pub name: String,
    /// Its size in bytes.
    #[serde(deserialize_with = "or_zero")]
    pub size: i64,
    /// SHA-256 in hexadecimal, any other text, or nothing.
    #[serde(deserialize_with = "or_zero")]
    pub hash: String,
    /// Any number that grows; 0 if the peer does not know.
    #[serde(deserialize_with = "or_zero")]
    pub version: i64,
}

/// Body of `/v0/register`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegisterRequest {
    #[serde(deserialize_with = "object_or_zero")]
    pub peer: Peer,
    #[serde(deserialize_with = "objects_or_zero")]
    pub files: Vec<FileInfo>,
}

/// Body of `/v0/announce`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnnounceRequest {
    #[serde(deserialize_with = "object_or_zero")]
    pub peer: Peer,
    #[serde(deserialize_with = "object_or_zero")]
    pub file: FileInfo,
}

/// Body of `/v0/heartbeat`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatRequest {
    #[serde(rename = "peerId", deserialize_with = "or_zero")]
    pub peer_id: String,
}

/// Body of `/v0/lease` and `/v0/delete`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileOfPeer {
    #[serde(rename = "peerId", deserialize_with = "or_zero")]
    pub peer_id: String,
    #[serde(rename = "fileName", deserialize_with = "or_zero")]
    pub file_name: String,
}

/// Answer of `/v0/register` and `/v0/heartbeat`.
#[derive(Debug, Serialize)]
pub struct TasksResponse {
    pub ok: bool,
    pub tasks: Vec<ReplicationTask>,
}

/// A file that a peer should fetch.
#[derive(Debug, Serialize)]
pub struct ReplicationTask {
    pub file: FileInfo,
    #[serde(rename = "sourcePeer")]
    pub source_peer: Peer,
}

/// Answer of `/v0/lease`.
#[derive(Debug, Serialize)]
pub struct LeaseResponse {
    pub granted: bool,
    pub expiration: String,
    pub message: String,
}

/// Answer of `/v0/search`.
#[derive(Debug, Serialize)]
pub struct SearchResponse {
    pub matches: Vec<SearchMatch>,
}

/// A file with the peers that have it: a match of a search, and the answer of `/v0/peers`.
#[derive(Debug, Serialize)]
pub struct SearchMatch {
    pub file: FileInfo,
    pub peers: Vec<Peer>,
}

/// Decodes the first JSON value of a body. What follows it is ignored, as Go's decoder does.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let mut decoder = serde_json::Deserializer::from_slice(body);
    Object::<T>::deserialize(&mut decoder).map(|Object(value)| value)
}

fn or_zero<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn object_or_zero<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(value)| value).unwrap_or_default())
}

fn objects_or_zero<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Option::<Vec<Option<Object<T>>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(objects.into_iter().map(|object| object.map(|Object(value)| value).unwrap_or_default()).collect())
}

fn time_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_else(|| time::ZERO.to_owned());
    if time::is_rfc3339(&text) {
        return Ok(text);
    }
    Err(D::Error::custom(format!("lastSeen is not a time in RFC 3339, such as {}", time::ZERO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(body: &str) -> Result<RegisterRequest, String> {
        decode(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_fields_and_null_have_their_zero_value() {
        for body in ["{}", r#"{"peer":null,"files":null}"#, r#"{"peer":{"id":null},"files":[]} trailing"#] {
            let request = register(body).expect(body);
            assert!(request.peer.id.is_empty() && request.files.is_empty(), "{body}");
        }
        let body = r#"{"peer":{"id":"p","addr":"http://h:1","lastSeen":"0001-01-01T00:00:00Z"},
            "files":[{"name":"a","size":3,"hash":"","version":1700000000000000000},null,{"name":"b"}]}"#;
        let request = register(body).expect("valid");
        assert_eq!(request.files[0].version, 1_700_000_000_000_000_000);
        assert_eq!(request.files[1], FileInfo::default());
        assert_eq!((request.files[2].size, request.files[2].hash.as_str()), (0, ""));
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_refused() {
        for (body, why) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "object"),
            (r#"{"peer":[]}"#, "object"),
            (r#"{"peer":{"id":7}}"#, "string"),
            (r#"{"peerId":"p"}"#, "unknown field"),
            (r#"{"peer":{"id":"p","zone":"z"}}"#, "unknown field"),
            (r#"{"files":[{"name":"a","color":"red"}]}"#, "unknown field"),
            (r#"{"files":[{"name":"a","version":1.5}]}"#, "i64"),
            (r#"{"files":[{"name":"a","version":"1"}]}"#, "i64"),
            (r#"{"files":[{"name":"a","version":9223372036854775808}]}"#, "i64"),
            (r#"{"files":{}}"#, "sequence"),
            (r#"{"peer":{"id":"p","lastSeen":"yesterday"}}"#, "RFC 3339"),
            (r#"{"peer":{"id":"p","lastSeen":0}}"#, "string"),
        ] {
            let error = register(body).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
        assert!(decode::<HeartbeatRequest>(br#"{"peerId":"p","x":1}"#).is_err());
        assert!(decode::<FileOfPeer>(br#"{"peerId":"p","fileName":null}"#).is_ok());
    }
}
