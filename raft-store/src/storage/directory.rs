//! The interface between snapshots and their files: a flat directory with the few steps that publishing needs.
//!
//! Invariant of every directory: once [`Directory::create`] has returned, the file's bytes survive loss of power if its
//! name does. Changes of names survive in order, and all of them after [`Directory::sync_names`].

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable;
use super::error::StorageError;

/// A file that is being written.
pub(crate) trait NewFile: Write + Seek {}

impl<T: Write + Seek> NewFile for T {}

/// Writes the contents of a file.
pub(crate) type Fill<'a> = &'a dyn Fn(&mut dyn NewFile) -> io::Result<()>;

/// A directory of snapshot files. All calls may block.
pub(crate) trait Directory: Debug + Send + Sync + 'static {
    /// All names.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The bytes of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The length of a file.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Creates or overwrites a file with what `fill` writes, and makes its bytes durable, but not its name. After an
    /// error there may be a file with some of the bytes.
    fn create(&self, name: &str, fill: Fill<'_>) -> io::Result<()>;

    /// Renames a file; replaces the file that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all changes of names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Its path, for messages.
    fn path(&self) -> &Path;
}

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct FileDirectory {
    path: PathBuf,
    /// The data directory's lock, held for as long as a file may be written.
    _lock: Option<Arc<File>>,
}

impl FileDirectory {
    /// Opens or creates the directory.
    pub(crate) fn open(path: &Path, lock: Option<Arc<File>>) -> Result<Self, StorageError> {
        durable::create_directory(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }
}

impl Directory for FileDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn create(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
        durable::create_file(&self.path.join(name), |file| fill(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path).and_then(|handle| handle.sync_all())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
