//! Looks through a shared folder: which files are there, and how they differ from the table.
//!
//! Invariant: scanning reads no bytes, enters no private folder and no folder that is shared by
//! itself (F1), follows no link to a folder and no link that leaves the shared part, and an
//! unreadable folder never makes its files look deleted.

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
    /// What it looks like.
    pub stamp: Stamp,
}

/// Something in the folder that cannot be shared, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Its path below the folder, as far as it can be printed.
    pub path: String,
    /// The rule it breaks.
    pub reason: String,
}

/// What a scan saw.
#[derive(Debug, Default)]
pub struct Scan {
    /// Shareable files, in no particular order.
    pub files: Vec<Found>,
    /// Conflict copies: kept for the user, not shared.
    pub conflict_copies: Vec<FileName>,
    /// What cannot be shared.
    pub skipped: Vec<Skipped>,
}

/// How the folder differs from the table.
#[derive(Debug, Default)]
pub struct Changes {
    /// Files the table does not know as held or pending.
    pub new: Vec<Found>,
    /// Held or pending files that look different now; whether the bytes differ is not known yet.
    pub touched: Vec<Found>,
    /// Held files that are gone, or that lie in a folder which is shared by itself now.
    pub gone: Vec<FileName>,
}

/// Why a folder inside the folder is left out.
pub(super) const NESTED: &str = "it is a shared folder of its own; its files are shared only by serving it";

/// Walks the folder. Blocking; a few `stat`s a file.
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
            Err(error) if error.io_error().is_some_and(is_absent) => {} // deleted while we walked
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
                (true, true) => skip("it is a link to a folder; share that folder itself"),
                (true, false) => skip("it is a link to nothing"),
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

/// Compares a scan with the table. Blocking only for files that seem gone.
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
        // Not seen may also mean unreadable, or put in place after the walk passed by: look again.
        let path = folder.path_of(&record.name);
        let is_gone = path.symlink_metadata().is_err_and(|error| is_absent(&error));
        if folder.is_present() && (is_gone || folder.nested_share(&path).is_some()) {
            changes.gone.push(record.name.clone());
        }
    }
    changes.gone.sort();
    Ok(changes)
}
