//! A mount namespace of this program's own, so that the system itself unmounts everything when
//! the program ends, however it ends.
//!
//! Invariant: entered before the program has a second thread; a thread starts in its parent's namespace.

use std::io::Error;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Leaves the machine's mount namespace for a copy that nobody else sees. Without the rights nothing happens: then
/// nothing can be mounted either.
pub fn leave() -> Result<(), Error> {
    #[allow(unsafe_code, reason = "threads that share file descriptors must not lose them; these stay shared")]
    // SAFETY: only the mount namespace is left; descriptors stay as they are.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    Ok(mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?)
}
