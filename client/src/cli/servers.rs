//! The servers that `--discover` has learned, kept for the next command in `.raftshare/servers.json`.
//!
//! Invariant: these are hints. A command runs the same without them, as long as a configured server answers, and
//! looking something up never makes a directory a shared folder.

use std::path::{Path, PathBuf};

use crate::address;
use crate::files;
use crate::peer::STATE_DIR;

/// Most servers that are kept.
const KEPT_MAX: usize = 32;

fn path(dir: &Path) -> PathBuf {
    dir.join(STATE_DIR).join("servers.json")
}

/// The kept servers; none if there is no such file or it cannot be read. Blocking.
pub fn kept(dir: &Path) -> Vec<String> {
    let bytes = std::fs::read(path(dir)).unwrap_or_default();
    let kept: Vec<String> = serde_json::from_slice(&bytes).unwrap_or_default();
    kept.into_iter().filter_map(|url| address::base_url(&url).ok()).take(KEPT_MAX).collect()
}

/// Keeps the servers, if the directory is a shared folder. Blocking.
pub fn keep(dir: &Path, servers: &[String]) -> std::io::Result<()> {
    let path = path(dir);
    if !path.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    let servers: Vec<&String> = servers.iter().take(KEPT_MAX).collect();
    let bytes = serde_json::to_vec_pretty(&servers).map_err(std::io::Error::other)?;
    if std::fs::read(&path).is_ok_and(|kept| kept == bytes) {
        return Ok(());
    }
    files::write_atomic(&path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_kept_in_a_shared_folder_only_and_a_damaged_file_is_ignored() {
        let dir = tempfile::tempdir().expect("temp dir");
        let servers = ["http://a:1".to_owned(), "http://b:2".to_owned()];
        keep(dir.path(), &servers).expect("nothing to do");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        std::fs::create_dir(dir.path().join(STATE_DIR)).expect("created");
        keep(dir.path(), &servers).expect("kept");
        assert_eq!(kept(dir.path()), servers);
        std::fs::write(path(dir.path()), b"[\"http://a:1\", \"nonsense\"]").expect("written");
        assert_eq!(kept(dir.path()), ["http://a:1"]);
        std::fs::write(path(dir.path()), b"\xff").expect("written");
        assert!(kept(dir.path()).is_empty());
    }
}
