//! Header names of the contract, in lower case as HTTP/2 requires.

/// Makes a write exactly-once (X1).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The lowest sequence number whose answer the client still waits for (X2).
pub const IDEMPOTENCY_FLOOR: &str = "idempotency-floor";
/// `never`: answer 403 `not_leader` instead of forwarding (W2).
pub const FORWARD: &str = "raftshare-forward";
/// How long the caller waits, in milliseconds: what was not started by then is refused and never carried out (W6).
pub const DEADLINE_MS: &str = "raftshare-deadline-ms";
/// Id of the node whose state gave the answer.
pub const NODE: &str = "raftshare-node";
/// That node's role: leader, follower, learner or candidate.
pub const ROLE: &str = "raftshare-role";
/// That node's term.
pub const TERM: &str = "raftshare-term";
/// That node's applied log index.
pub const APPLIED: &str = "raftshare-applied";
/// Age of that node's state in milliseconds (R2).
pub const STALENESS_MS: &str = "raftshare-staleness-ms";
/// Value of [`STALENESS_MS`] if the age is unknown: the largest integer that every JSON parser represents exactly.
pub const STALENESS_UNKNOWN_MS: u64 = (1 << 53) - 1;
/// Random value that changes with each start of the process.
pub const BOOT: &str = "raftshare-boot";
/// Log index of a write; pass it as `min_index` to read your own write (R3).
pub const INDEX: &str = "raftshare-index";
/// Number of hits of a search before the limit.
pub const TOTAL: &str = "raftshare-total";
/// Where the next page of a search begins; absent on the last one.
pub const CURSOR: &str = "raftshare-cursor";
/// Set on forwarded requests, so that a request takes at most one hop (W2).
pub const FORWARDED: &str = "raftshare-forwarded";
