//! The locks of a shared folder: one for the process that serves it, one for whoever puts files in place.
//!
//! Invariant: the operating system releases a lock when its process ends, however it ends.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::FolderError;
use super::folder::{Folder, STATE_DIR, is_shared};

/// How long `serve` waits for its lock. A one-shot command holds it briefly to check whether the folder is served.
const SERVING_LOCK_WAIT: Duration = Duration::from_millis(300);

/// Held while `serve` runs for the folder.
#[derive(Debug)]
pub struct ServingLock {
    _file: File,
}

impl Folder {
    /// Whether any process runs `serve` for this folder.
    pub fn is_served(&self) -> bool {
        serving_lock_is_taken(&self.state)
    }

    /// A parent folder that is being served, if there is one: its `serve` would share these files as well.
    fn served_above(&self) -> Option<PathBuf> {
        let served = |dir: &&Path| is_shared(dir) && serving_lock_is_taken(&dir.join(STATE_DIR));
        self.root.ancestors().skip(1).find(served).map(Path::to_owned)
    }

    /// Takes the serving lock. `about` tells a second `serve` who holds it.
    ///
    /// # Errors
    /// I/O errors, another `serve` for this folder, or one for a parent folder (F1).
    #[expect(clippy::disallowed_methods, reason = "before anything is served")]
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
                    let _ = file.read_to_string(&mut by); // the error is useful without it
                    return Err(FolderError::AlreadyServed { path: self.root.clone(), by: by.trim().to_owned() });
                }
                fs::TryLockError::Error(error) => return Err(failed(error)),
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(about.as_bytes())).map_err(failed)?;
        Ok(ServingLock { _file: file })
    }

    /// Serialises everything that puts files in place, across processes. Held for milliseconds.
    pub(super) fn lock_installs(&self) -> Result<File, FolderError> {
        lock_file(&self.state.join("install.lock"))
    }
}

/// Whether a process holds the serving lock in this private folder.
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
