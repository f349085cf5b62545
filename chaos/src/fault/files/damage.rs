//! What is done to a file.
//!
//! Invariant: a damaged file differs from what it was, in bytes that were written and not in space that was never used.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::Rng;
use rand::rngs::StdRng;

/// Most bits that are flipped in a file.
const BITS_MAX: u32 = 8;
/// Most bytes that are cut off or zeroed.
const TAIL_MAX: usize = 8 * 1024;

/// Flips bits of one file; returns which, if any.
pub fn flip(data: &Path, rng: &mut StdRng) -> anyhow::Result<Option<String>> {
    let Some((path, mut bytes)) = pick(data, rng)? else { return Ok(None) };
    let bits = rng.random_range(1..=BITS_MAX);
    let used = used(&bytes);
    for _ in 0..bits {
        let at = rng.random_range(0..used);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << rng.random_range(0..8);
        }
    }
    std::fs::write(&path, bytes)?;
    Ok(Some(format!("{bits} bit(s) flipped in {}", name(data, &path))))
}

/// Cuts off or zeroes the end of one file; returns which, if any.
pub fn tear(data: &Path, rng: &mut StdRng) -> anyhow::Result<Option<String>> {
    let Some((path, mut bytes)) = pick(data, rng)? else { return Ok(None) };
    let used = used(&bytes);
    let from = used - rng.random_range(1..=used.min(TAIL_MAX));
    let words = if rng.random_bool(0.5) {
        bytes.truncate(from);
        "cut off"
    } else {
        bytes[from..].fill(0);
        "zeroed"
    };
    std::fs::write(&path, bytes)?;
    Ok(Some(format!("{} byte(s) {words} at the end of {}", used - from, name(data, &path))))
}

/// Bytes up to the last one that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A file of the directory that has something in it: first a kind, so that large ones do not crowd out small ones.
fn pick(data: &Path, rng: &mut StdRng) -> anyhow::Result<Option<(PathBuf, Vec<u8>)>> {
    let mut kinds: Vec<Vec<(PathBuf, Vec<u8>)>> = Vec::new();
    for entry in sorted(data)? {
        let files = if entry.is_dir() { sorted(&entry)? } else { vec![entry] };
        let mut kind = Vec::new();
        for file in files.into_iter().filter(|file| file.is_file()) {
            let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if used(&bytes) > 0 {
                kind.push((file, bytes));
            }
        }
        if !kind.is_empty() {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        return Ok(None);
    }
    let mut kind = kinds.swap_remove(rng.random_range(0..kinds.len()));
    let at = rng.random_range(0..kind.len());
    Ok(Some(kind.swap_remove(at)))
}

fn sorted(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries: Result<Vec<_>, _> = std::fs::read_dir(directory)?.collect();
    let mut paths: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn name(data: &Path, path: &Path) -> String {
    path.strip_prefix(data).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn damage_changes_one_file_and_only_what_was_written() {
        for harm in [flip, tear] {
            for seed in 0..50 {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let data = directory.path();
                std::fs::create_dir(data.join("log")).expect("a directory");
                let mut written = vec![7_u8; 100];
                written.resize(4_096, 0);
                for file in ["log/db", "MARK"] {
                    std::fs::write(data.join(file), &written).expect("a file");
                }
                let mut rng = StdRng::seed_from_u64(seed);
                harm(data, &mut rng).expect("works").expect("something to damage");
                let now: Vec<Vec<u8>> =
                    ["log/db", "MARK"].map(|file| std::fs::read(data.join(file)).expect("readable")).into();
                let harmed: Vec<&Vec<u8>> = now.iter().filter(|bytes| **bytes != written).collect();
                assert!(harmed.len() <= 1, "one file at most: an even number of flips may undo itself");
                assert!(harmed.iter().all(|bytes| bytes.get(100..).unwrap_or_default().iter().all(|byte| *byte == 0)));
            }
        }
        let empty = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(flip(empty.path(), &mut StdRng::seed_from_u64(1)).expect("works"), None);
    }
}
