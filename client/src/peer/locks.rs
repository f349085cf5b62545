//! The locks of a shared folder: one for the process that serves it, one for everybody who puts files in place.
//!
//! Invariant: the operating system frees a lock when its process ends, however it ends.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::FolderError;
use super::folder::{Folder, STATE_DIR, is_shared};

/// How long `serve` tries to get its lock: a one-shot command that looks whether the folder is served holds it briefly.
const SERVING_LOCK_WAIT: Duration = Duration::from_millis(300);

/// Held while `serve` runs for the folder; the operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct ServingLock {
    _file: File,
}

impl Folder {
    /// Whether a `serve` runs for this folder, in whatever process.
    pub fn is_served(&self) -> bool {
        serving_lock_is_taken(&self.state)
    }

    /// The served folder that this one lies in, if there is one: its `serve` would share these files as well.
    fn served_above(&self) -> Option<PathBuf> {
        let served = |dir: &&Path| is_shared(dir) && serving_lock_is_taken(&dir.join(STATE_DIR));
        self.root.ancestors().skip(1).find(served).map(Path::to_owned)
    }

    /// Takes the lock that says "served". `about` tells a second `serve` who has it.
    ///
    /// # Errors
    /// I/O errors, another `serve` for this folder, or one for a folder above it (F1).
    pub fn lock_for_serving(&self, about: &str) -> Result<ServingLock, FolderError> {
        if let Some(outer) = self.served_above() {
            return Err(FolderError::InsideServed { path: self.root.clone(), outer });
        }
        let path = self.state.join("serving");
        let failed = |error| FolderError::io("lock", &path, error);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        let deadline = std::time::Instant::now() + SERVING_LOCK_WAIT;
        while let Err(error) = file.try_lock() {
            match error {
                fs::TryLockError::WouldBlock if std::time::Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                fs::TryLockError::WouldBlock => {
                    let mut by = String::new();
                    let _ = file.read_to_string(&mut by); // only decorates the error
                    return Err(FolderError::AlreadyServed { path: self.root.clone(), by: by.trim().to_owned() });
                }
                fs::TryLockError::Error(error) => return Err(failed(error)),
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(about.as_bytes())).map_err(failed)?;
        Ok(ServingLock { _file: file })
    }

    /// Serialises everything that puts files in place, between processes too. Held for milliseconds.
    pub(super) fn lock_installs(&self) -> Result<File, FolderError> {
        lock_file(&self.state.join("install.lock"))
    }
}

/// Whether a process holds the lock of a `serve`, in this private folder.
fn serving_lock_is_taken(state: &Path) -> bool {
    let Ok(file) = File::open(state.join("serving")) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

pub(super) fn lock_file(path: &Path) -> Result<File, FolderError> {
    let failed = |error| FolderError::io("lock", path, error);
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}
