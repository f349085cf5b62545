//! Request bodies of the index API. Names and hashes are checked while they are parsed; unknown fields are ignored.

use raft_store::types::{ContentHash, FileName, LeaseToken, PeerId, Version};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A JSON object. Derived types also read an array of their fields' values in order, which the contract does not know.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData)).map(Object)
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|object| object.0).collect()))
}

/// One file of a registration or an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name (F1).
    pub name: FileName,
    /// The version the peer believes it has (F6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRequest {
    /// Who registers.
    pub peer_id: PeerId,
    /// Base URL of its HTTP server.
    pub address: String,
    /// Its holdings, or one page of them; may be left out with `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "objects")]
    pub files: Option<Vec<FileEntry>>,
    /// Failure zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Bytes it is willing to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Marks `files` as one page of a listing (P2).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub listing: Option<ListingPage>,
    /// SHA-256 over unchanged holdings (P2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<ContentHash>,
    /// Number of holdings behind `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// False for a peer that only writes and serves no files; its holdings do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
}

/// Which page of which listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPage {
    /// The listing's id, chosen by the peer.
    pub id: String,
    /// Whether this page completes it.
    pub last: bool,
}

/// `POST /announce`: either `file` or `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceRequest {
    /// Who announces.
    pub peer_id: PeerId,
    /// One file.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub file: Option<FileEntry>,
    /// Many holdings at once.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "objects")]
    pub files: Option<Vec<FileEntry>>,
    /// The lease under which a new version is published (F5).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "any_token_option")]
    pub lease_token: Option<LeaseToken>,
    /// Keep the lease after publishing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_lease: Option<bool>,
}

/// `POST /lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRequest {
    /// Who asks.
    pub peer_id: PeerId,
    /// For which name.
    pub file_name: FileName,
    /// Duration in milliseconds (L1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Join the line if the lease is taken (L5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// How long this request may hang, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// `POST /lease/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// The holder.
    pub peer_id: PeerId,
    /// The leased name.
    pub file_name: FileName,
    /// The grant's secret.
    #[serde(deserialize_with = "any_token")]
    pub lease_token: LeaseToken,
    /// New duration in milliseconds; the granted one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// `POST /lease/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The holder.
    pub peer_id: PeerId,
    /// The leased name.
    pub file_name: FileName,
    /// The grant's secret.
    #[serde(deserialize_with = "any_token")]
    pub lease_token: LeaseToken,
}

/// `POST /lease/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRequest {
    /// Who leaves.
    pub peer_id: PeerId,
    /// Whose line.
    pub file_name: FileName,
}

/// `POST /delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRequest {
    /// Who deletes.
    pub peer_id: PeerId,
    /// What.
    pub file_name: FileName,
    /// Everywhere, as a version of its own (F7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<bool>,
    /// The lease, for `everywhere`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

/// `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRequest {
    /// Who lives.
    pub peer_id: PeerId,
    /// Its newest registration (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// How long to wait for tasks, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Free bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Ids of the tasks it is working on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Vec<String>>,
    /// Tasks it gave up.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "objects")]
    pub failed: Option<Vec<FailedTask>>,
}

/// A task a peer gave up, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTask {
    /// The task's id.
    pub id: String,
    /// A short machine-readable reason such as `unreachable`, `hash_mismatch`, `disk_full`.
    pub code: String,
}

/// A text that is no token of ours is simply a wrong token: the catalog refuses it like any other (F5, L2).
const WRONG_TOKEN: LeaseToken = LeaseToken([0; 16]);

fn any_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LeaseToken, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(LeaseToken::parse(&text).unwrap_or(WRONG_TOKEN))
}

fn any_token_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LeaseToken>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| LeaseToken::parse(&text).unwrap_or(WRONG_TOKEN)))
}
