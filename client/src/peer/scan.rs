//! Scans a shared folder: which files are there, and how they differ from the table.
//!
//! Invariants: a scan reads no bytes. It enters neither private folders nor nested folders that are shared separately
//! (F1), and follows no link to a folder or out of the shared part. The files of an unreadable folder never look
//! deleted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use raft_store::types::{FileName, is_state_folder};
use walkdir::WalkDir;

use super::conflict::is_conflict_copy;
use super::error::FolderError;
use super::folder::{Folder, is_absent, is_shared};
use super::table::Record;
use crate::files::Stamp;

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: FileName,
    /// Its stamp.
    pub stamp: Stamp,
}

/// Something in the folder that cannot be shared, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Its path relative to the folder, with unprintable characters escaped.
    pub path: String,
    /// The reason.
    pub reason: String,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Scan {
    /// Shareable files, in no particular order.
    pub files: Vec<Found>,
    /// Conflict copies, which are kept for the user and not shared.
    pub conflict_copies: Vec<FileName>,
    /// What cannot be shared.
    pub skipped: Vec<Skipped>,
}

/// How the folder differs from the table.
#[derive(Debug, Default)]
pub struct Changes {
    /// Files that the table has neither as held nor as pending.
    pub new: Vec<Found>,
    /// Held or pending files with a new stamp; their bytes may still be the same.
    pub touched: Vec<Found>,
    /// Held files that are gone, or whose folder is now shared separately.
    pub gone: Vec<FileName>,
}

/// Why a nested folder is skipped.
pub(super) const NESTED: &str = "it is a separate shared folder; serve it to share its files";

/// Walks the folder, with a few `stat` calls for each file. Blocking.
pub fn scan(folder: &Folder) -> Scan {
    let root = folder.root();
    let mut scan = Scan::default();
    let walk = WalkDir::new(root).min_depth(1).follow_links(false);
    let mut entries = walk.into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if entry.file_name().to_str().is_some_and(is_state_folder) => {
                if entry.file_type().is_dir() {
                    entries.skip_current_dir();
                }
            }
            Ok(entry) if entry.file_type().is_dir() => {
                if is_shared(entry.path()) {
                    let path = printable(root, entry.path());
                    scan.skipped.push(Skipped { path, reason: NESTED.to_owned() });
                    entries.skip_current_dir();
                }
            }
            Ok(entry) => visit(folder, entry.path(), &mut scan),
            Err(error) if error.io_error().is_some_and(is_absent) => {} // deleted during the walk
            Err(error) => {
                let path = error.path().map_or_else(String::new, |path| printable(root, path));
                scan.skipped.push(Skipped { path, reason: format!("it cannot be read ({error})") });
            }
        }
    }
    scan
}

fn visit(folder: &Folder, path: &Path, scan: &mut Scan) {
    let root = folder.root();
    let mut skip = |reason: &str| {
        scan.skipped.push(Skipped { path: printable(root, path), reason: reason.to_owned() });
    };
    let Some(text) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
        return skip("bad file name: it is not UTF-8");
    };
    let name = match FileName::parse(text) {
        Ok(name) => name,
        Err(broken) => return skip(&broken.to_string()),
    };
    let real: PathBuf = match folder.existing_path(&name) {
        Ok(Some(real)) => real,
        Ok(None) => {
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            let is_there = path.exists();
            match (is_link, is_there) {
                (true, true) => skip("it is a link to a folder; to share that folder, serve it"),
                (true, false) => skip("it is a broken link"),
                (false, true) => skip("it is not a regular file"),
                (false, false) => {}
            }
            return;
        }
        Err(error) => return skip(&error.to_string()),
    };
    match real.metadata() {
        Ok(_) if is_conflict_copy(&name) => scan.conflict_copies.push(name),
        Ok(metadata) => scan.files.push(Found { stamp: Stamp::of(&metadata), name }),
        Err(error) if is_absent(&error) => {}
        Err(error) => skip(&format!("it cannot be read ({error})")),
    }
}

fn printable(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().escape_debug().to_string()
}

/// Compares a scan with the table. Blocking, and checks the disk only for files that seem gone.
pub fn compare(folder: &Folder, scan: &Scan) -> Result<Changes, FolderError> {
    let records: std::collections::HashMap<FileName, Record> =
        folder.records()?.into_iter().map(|record| (record.name.clone(), record)).collect();
    let mut changes = Changes::default();
    for found in &scan.files {
        let record = records.get(&found.name);
        let (held, pending) = record.map_or((None, None), |record| (record.held, record.pending));
        let known = |copy: &super::table::Copy| copy.stamp == found.stamp;
        if pending.is_none() && held.as_ref().is_some_and(known) {
            continue;
        }
        let list = if held.is_none() && pending.is_none() { &mut changes.new } else { &mut changes.touched };
        list.push(found.clone());
    }
    let seen: HashSet<&FileName> = scan.files.iter().map(|found| &found.name).collect();
    for record in records.values().filter(|record| record.held.is_some() && !seen.contains(&record.name)) {
        // The file may also be unreadable, or may have been put in place after the walk passed it. So check again.
        let path = folder.path_of(&record.name);
        let is_gone = path.symlink_metadata().is_err_and(|error| is_absent(&error));
        if folder.is_present() && (is_gone || folder.nested_share(&path).is_some()) {
            changes.gone.push(record.name.clone());
        }
    }
    changes.gone.sort();
    Ok(changes)
}
