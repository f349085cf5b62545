//! A mount namespace of this program's own, so that the system itself unmounts everything when
//! the program ends, however it ends.
//!
//! Invariant: entered before the program has a second thread; a thread is born into its parent's namespace.

use std::io::Error;

/// Leaves the machine's mount namespace for a copy that nobody else sees. Without the rights nothing happens: then
/// nothing can be mounted either.
pub fn leave() -> Result<(), Error> {
    let root = c"/";
    let none = c"none";
    #[allow(unsafe_code, reason = "unshare(2) and mount(2) have no safe form in std; the strings outlive the calls")]
    // SAFETY: both calls only read their arguments, which are constants.
    let results = unsafe {
        let unshared = libc::unshare(libc::CLONE_NEWNS);
        if unshared != 0 {
            return Err(Error::last_os_error());
        }
        libc::mount(none.as_ptr(), root.as_ptr(), std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null())
    };
    if results == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
