//! Answer bodies of the index API and of a peer's own server.

use raft_store::types::{ContentHash, FencingToken, FileName, Incarnation, LeaseToken, NodeId, PeerId, Version};
use serde::{Deserialize, Serialize};

/// What a peer should do (M3, F8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Names the task in `working` and `failed`.
    pub id: String,
    /// What to do.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// With which file.
    pub file: FileName,
    /// The version to fetch, or the tombstone's.
    pub version: Version,
    /// Its size in bytes; 0 if no holder stated it, and for removals.
    pub size: u64,
    /// Its hash; `null` for removals.
    pub hash: Option<ContentHash>,
    /// The grant under which that version was published; a peer refuses a lower one than it has seen (L8).
    pub fencing_token: FencingToken,
    /// One live holder's base URL; empty for removals.
    pub source: String,
    /// Every live holder's base URL.
    pub sources: Vec<String>,
}

/// Kinds of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskKind {
    /// Fetch a copy of a file the peer does not have.
    Replicate,
    /// Replace a stale copy.
    Update,
    /// Move the copy of a deleted file into the trash.
    Remove,
}

/// Answer to `POST /register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterResponse {
    /// Always true.
    pub ok: bool,
    /// This registration.
    pub incarnation: Incarnation,
    /// What the index wants done.
    pub tasks: Vec<Task>,
    /// `accepted`, `unchanged` or `wanted` (P2).
    pub listing: ListingAnswer,
    /// Stated holdings that contradict the index (F4).
    pub conflicts: Vec<ConflictEntry>,
}

/// What became of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingAnswer {
    /// Taken in.
    Accepted,
    /// The digest matched.
    Unchanged,
    /// Send the whole listing.
    Wanted,
}

/// A stated holding that contradicts the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConflictEntry {
    /// The name.
    pub name: FileName,
    /// What the index has.
    pub current_version: Version,
    /// Its hash; `null` for a tombstone.
    pub hash: Option<ContentHash>,
}

/// Answer to `POST /announce` with `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResponse {
    /// Always true.
    pub ok: bool,
    /// The version the peer now holds, or has published.
    pub version: Version,
    /// The lease's fencing token, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}

/// Answer to `POST /announce` with `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceManyResponse {
    /// True if every file was taken in.
    pub ok: bool,
    /// One per file, in order (X4).
    pub results: Vec<AnnounceResult>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}

/// One file's result within `files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnnounceResult {
    /// The name.
    pub name: FileName,
    /// Whether it was taken in.
    pub ok: bool,
    /// The version the peer now holds, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Why not, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<super::ErrorCode>,
    /// The index's version, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<Version>,
    /// Whether the refusal is definite (`no`) or the chunk's outcome is `unknown` (W5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<super::AppliedState>,
}

/// Answer to `POST /lease` and `/lease/renew`: a grant or a refusal, told apart by `granted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LeaseResponse {
    /// The lease is the caller's.
    Granted(GrantResponse),
    /// It is somebody else's.
    Denied(DeniedResponse),
}

/// A granted or renewed lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantResponse {
    /// Always true.
    pub granted: bool,
    /// When it ends, Unix seconds; for people (T4).
    pub expiration: u64,
    /// The secret to renew, release and publish with.
    pub lease_token: LeaseToken,
    /// Greater than every earlier grant's (L2).
    pub fencing_token: FencingToken,
    /// Remaining duration in milliseconds, to be counted from the moment the request was sent (T4).
    pub ttl_ms: u64,
    /// The file's current version; 0 if it does not exist yet.
    pub version: Version,
}

/// A refused lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeniedResponse {
    /// Always false.
    pub granted: bool,
    /// Who has it.
    pub holder: PeerId,
    /// When it ends, Unix seconds; for people (T4).
    pub expiration: u64,
    /// How long it still lives, in milliseconds.
    pub remaining_ms: u64,
    /// The caller's place in line (1 = next), if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// Answer to `POST /heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatResponse {
    /// False: register again, unless `reason` says to stop.
    pub ok: bool,
    /// `replaced`: another process registered under this id (P6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the index wants done.
    pub tasks: Vec<Task>,
}

/// One hit of `GET /search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchHit {
    /// The name.
    pub file_name: FileName,
    /// Current version.
    pub version: Version,
    /// Size in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// Between 0 and 1; best first.
    pub score: f64,
    /// Live holders of the current version.
    pub peers: Vec<PeerAddress>,
}

/// A peer and where it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
}

/// One entry of `GET /peers?file=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilePeer {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// Unix seconds; for people (T4). `null` anywhere but at a confirmed leader (R5).
    pub last_seen: Option<u64>,
    /// The version it holds.
    pub version: Version,
    /// Whether that is the current one.
    pub current: bool,
}

/// One entry of `GET /peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerEntry {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// Failure zone, or `null`.
    pub zone: Option<String>,
    /// Unix seconds; for people (T4). `null` anywhere but at a confirmed leader (R5).
    pub last_seen: Option<u64>,
    /// Number of its holdings.
    pub files: u64,
}

/// `GET /file?name=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileResponse {
    /// The name.
    pub name: FileName,
    /// Current version.
    pub version: Version,
    /// Size in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// Everybody with a remembered version.
    pub holders: Vec<HolderEntry>,
    /// The live lease, or `null`.
    pub lease: Option<LeaseStatus>,
    /// Copies wanted and counted.
    pub replicas: ReplicaCount,
    /// Free-form attributes; empty.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// One holder within `GET /file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderEntry {
    /// Its id.
    pub id: PeerId,
    /// Base URL.
    pub address: String,
    /// The version it holds.
    pub version: Version,
    /// Whether that is the current one.
    pub current: bool,
    /// Whether the peer is live.
    pub live: bool,
}

/// Copies wanted and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaCount {
    /// R of this file.
    pub desired: u32,
    /// Live holders of the current version.
    pub live: u32,
}

/// `GET /lease?file=NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// The name.
    pub file_name: FileName,
    /// Who has it, or whose turn it is to claim it.
    pub holder: PeerId,
    /// Its fencing token; 0 while the grant is unclaimed.
    pub fencing_token: FencingToken,
    /// When it ends, Unix seconds; for people (T4). `null` if the asked node knows no leader,
    /// whose time it would be (R5).
    pub expiration: Option<u64>,
    /// How long it still lives, in milliseconds; `null` as above.
    pub remaining_ms: Option<u64>,
    /// Who waits, next first.
    pub line: Vec<LinePlace>,
}

/// One place in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinePlace {
    /// Who.
    pub peer_id: PeerId,
    /// 1 = next.
    pub position: u64,
}

/// `GET /leader`, and the `leader` field of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    /// The term it leads.
    pub term: u64,
}

/// `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResponse {
    /// The cluster's id, 16 hexadecimal digits; `null` before it is born.
    pub cluster_id: Option<String>,
    /// The leader's node id; `null` if the asked node knows of none that a majority confirmed a moment ago (R5).
    pub leader: Option<NodeId>,
    /// The asked node's term.
    pub term: u64,
    /// Every member.
    pub nodes: Vec<ClusterNode>,
    /// What a majority is, and how many voters answer.
    pub quorum: QuorumInfo,
    /// What the asked node may do beyond its role, as in `nodes`; `null` from a node that does not say.
    #[serde(default)]
    pub condition: Option<String>,
    /// Log index at which the members' states were found to differ without a majority that agrees (N3); `null` if the
    /// last comparison found none of that.
    #[serde(default)]
    pub digest_alarm: Option<u64>,
}

/// One member within `GET /cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNode {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    /// leader, follower, learner or candidate, in its own words; `null` for a voter that does not answer (R5).
    pub role: Option<String>,
    /// Whether it votes.
    #[serde(default)]
    pub voter: bool,
    /// Milliseconds since it answered the asked node's probe; `null` if it did not; 0 for the asked node itself.
    pub last_contact_ms: Option<u64>,
    /// Its applied log index; `null` if it does not answer.
    pub applied_index: Option<u64>,
    /// Entries it is behind the leader; `null` if one of the two does not answer or there is no leader.
    pub lag: Option<u64>,
    /// Whether it answered the asked node's probe just now; `null` if the asked node is in no position to tell, because
    /// it was removed or its data directory is an older copy.
    pub alive: Option<bool>,
    /// What it may do beyond its role, in its own words: `ok`, `starting`, `older copy`, `removed` or
    /// `diverged`; `null` if it does not answer.
    #[serde(default)]
    pub condition: Option<String>,
    /// How much of its name index is loaded, 0 to 1; left out once all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<f64>,
    /// Its software version, where it answered.
    pub version: Option<String>,
}

/// Majority and how many voters answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumInfo {
    /// Voters needed for a majority.
    pub size: usize,
    /// Voters that answer and whose condition is `ok`; `null` if the asked node is in no position to tell (R5).
    pub healthy: Option<usize>,
}

/// `GET /cluster/digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestResponse {
    /// The log index the digest was taken at.
    pub applied_index: u64,
    /// SHA-256 over the canonical state (D1).
    pub digest: ContentHash,
    /// Digests of different formats are not to be compared: the nodes run different versions.
    #[serde(default)]
    pub format: u32,
    /// The state's digests at the last checkpoints, oldest first: positions that all members have in common (N3).
    #[serde(default)]
    pub checkpoints: Vec<CheckpointDigest>,
}

/// The digest of a node's state right after a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDigest {
    /// Log index of the checkpoint.
    pub index: u64,
    /// The digest there.
    pub digest: ContentHash,
}

/// `GET /stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsResponse {
    /// Live peers.
    pub peers: u64,
    /// Files whose current version exists.
    pub files: u64,
    /// Bytes of all current versions, each counted once.
    pub bytes: u64,
    /// Files with fewer live copies than wanted; `null` anywhere but at a confirmed leader (R5).
    pub under_replicated: Option<u64>,
    /// Tasks given out and not yet done; `null` as above.
    pub tasks: Option<u64>,
    /// Live leases.
    pub leases: u64,
    /// Peers waiting in lines.
    pub waiting: u64,
    /// Remembered answers (X5).
    pub answers: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Log entries between the purged prefix and the end.
    pub log_entries: u64,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Log index of the newest snapshot.
    pub snapshot_index: u64,
    /// What is left of the planner's grace period (P4), in milliseconds; `null` anywhere but at
    /// a confirmed leader (R5).
    pub grace_remaining_ms: Option<u64>,
}

/// One file of a peer's own `GET /files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFile {
    /// The name.
    pub name: FileName,
    /// Size in bytes.
    pub size: u64,
    /// The version the index knows this peer to hold.
    pub version: Version,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}
