//! Which sources this program was built from, for reports.
//!
//! Invariant: the revision is baked in when the program is built; a build outside of a repository says so.

/// `git describe` of the sources, or `unknown`.
pub const REVISION: &str = env!("RAFTSHARE_REVISION");

/// Seconds since 1970 now; for people, never compared.
#[expect(clippy::disallowed_methods, reason = "a date for people")]
pub fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
