//! Conflict copies: files that keep the user's bytes when the index has different ones for the same name.
//!
//! Invariant: a conflict copy never replaces a file, is never shared, and has a valid name (F1).

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use raft_store::types::{FileName, PeerId};

/// Separates the name from the peer and the time.
const MARK: &str = ".conflict-";
/// Most bytes of a peer id in the name of a conflict copy.
const PEER_BYTES_MAX: usize = 40;
/// Longest file name that common file systems accept, in bytes.
const SEGMENT_BYTES_MAX: usize = 255;
/// Candidate names that are tried.
const ATTEMPTS_MAX: u64 = 10_000;

/// Whether a name is `NAME.conflict-PEER-UNIXTIME`, as [`free_path`] makes them.
pub fn is_conflict_copy(name: &FileName) -> bool {
    let segment = name.as_str().rsplit('/').next().unwrap_or("");
    let Some((stem, rest)) = segment.rsplit_once(MARK) else { return false };
    let Some((peer, time)) = rest.rsplit_once('-') else { return false };
    !stem.is_empty() && !peer.is_empty() && !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit())
}

/// The original name of a conflict copy, unless it was shortened.
pub fn original_of(name: &FileName) -> Option<FileName> {
    if !is_conflict_copy(name) {
        return None;
    }
    let (stem, _) = name.as_str().rsplit_once(MARK)?;
    FileName::parse(stem).ok()
}

/// Seconds since 1970, for names that people read. No decision depends on it (T4).
#[expect(clippy::disallowed_methods, reason = "the name of a conflict copy says when, for people")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A free path for a conflict copy next to `path`.
pub fn free_path(path: &Path, peer: &PeerId) -> Option<PathBuf> {
    let who: String = peer
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .take(PEER_BYTES_MAX)
        .collect();
    let segment = path.file_name()?.to_str()?;
    let now = unix_seconds();
    (now..now + ATTEMPTS_MAX)
        .map(|time| path.with_file_name(shortened(segment, &format!("{MARK}{who}-{time}"))))
        .find(|candidate| candidate.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound))
}

fn shortened(segment: &str, suffix: &str) -> String {
    let mut end = segment.len().min(SEGMENT_BYTES_MAX - suffix.len());
    while !segment.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &segment[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflict_names_are_recognised_valid_and_free() {
        let dir = tempfile::tempdir().expect("temp dir");
        let peer = PeerId::parse("büro/pc 1").expect("valid id");
        for segment in ["a.txt", &"ü".repeat(127), "x.conflict-p-1"] {
            let path = dir.path().join(segment);
            let first = free_path(&path, &peer).expect("free");
            std::fs::write(&first, "taken").expect("the name fits the file system");
            let second = free_path(&path, &peer).expect("free");
            assert_ne!(first, second);
            for copy in [first, second] {
                let text = copy.file_name().and_then(|name| name.to_str()).expect("UTF-8");
                assert!(is_conflict_copy(&FileName::parse(text).expect("valid name")), "{text}");
            }
        }
        for other in ["a.txt", "a.conflict-p-", "a.conflict-p-1x", ".conflict-p-1", "a.conflict-1"] {
            assert!(!is_conflict_copy(&FileName::parse(other).expect("valid")), "{other}");
        }
        let name = FileName::parse("d/a.txt.conflict-p-12").expect("valid");
        assert_eq!(original_of(&name).expect("a conflict copy").as_str(), "d/a.txt");
    }
}
