//! Header names of the contract, lower-case as HTTP/2 wants them.

/// Makes a write exactly-once (X1).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The lowest sequence the sender still waits for (X2).
pub const IDEMPOTENCY_FLOOR: &str = "idempotency-floor";
/// `never`: answer 403 `not_leader` instead of forwarding (W2).
pub const FORWARD: &str = "raftshare-forward";
/// How long the caller waits, in milliseconds: what was not begun by then is refused and never done (W6).
pub const DEADLINE_MS: &str = "raftshare-deadline-ms";
/// Which node's state gave the answer.
pub const NODE: &str = "raftshare-node";
/// Its role: leader, follower, learner or candidate.
pub const ROLE: &str = "raftshare-role";
/// Its term.
pub const TERM: &str = "raftshare-term";
/// Its applied log index.
pub const APPLIED: &str = "raftshare-applied";
/// Age of its state in milliseconds (R2).
pub const STALENESS_MS: &str = "raftshare-staleness-ms";
/// Value of [`STALENESS_MS`] while no moment is known: the largest integer that every JSON reader keeps exact.
pub const STALENESS_UNKNOWN_MS: u64 = (1 << 53) - 1;
/// Random per process.
pub const BOOT: &str = "raftshare-boot";
/// Log index of a write, to be passed as `min_index` (R3).
pub const INDEX: &str = "raftshare-index";
/// Number of hits of a search before its limit.
pub const TOTAL: &str = "raftshare-total";
/// Where the next page of a search begins; absent on the last one.
pub const CURSOR: &str = "raftshare-cursor";
/// Set on forwarded requests, so that a write takes one hop at most (W2).
pub const FORWARDED: &str = "raftshare-forwarded";
