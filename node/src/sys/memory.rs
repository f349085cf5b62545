//! How the programs get their memory from the operating system, and when they give it back.
//!
//! Invariant: no request waits while 2 MiB of memory are cleared, and memory that is soon needed
//! again is not returned and cleared again.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// Milliseconds after which freed memory goes back to the operating system. What comes back is cleared page by
/// page: with mimalloc's own second, the log's buffers and snapshots of a busy node were cleared again and
/// again, for 7 to 9 % of its processor time.
const KEPT_MS: c_long = 10_000;
/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Sets both for the whole process. To be called before there is a second thread.
pub fn configure() {
    keep_freed();
    refuse_huge_pages();
}

/// Keeps freed memory for a while. `MIMALLOC_PURGE_DELAY` in the environment takes precedence. Without effect on
/// another allocator.
#[allow(unsafe_code, reason = "a call into the allocator, which is C")]
fn keep_freed() {
    // SAFETY: sets a number; one of an option that does not exist would be ignored.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}

/// Has memory cleared in pages of 4 KiB when it is first touched. The allocator asks for huge pages of 2 MiB, and the
/// thread that first touches one waits until all of it is cleared. If that thread is applying an entry, everybody
/// waits: up to 5 ms where the hypervisor has to find the memory first. Redis does the same (its `disable-thp`).
#[cfg(target_os = "linux")]
fn refuse_huge_pages() {
    // A kernel that does not know this call answers with an error, and gives huge pages as before.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
fn refuse_huge_pages() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "a call into the allocator, which is C")]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let purge_delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(purge_delay(), 1_000, "the allocator's own delay");
        keep_freed();
        assert_eq!(purge_delay(), KEPT_MS);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn huge_pages_are_refused() {
        refuse_huge_pages();
        assert_eq!(rustix::thread::transparent_huge_pages_are_disabled(), Ok(true));
    }
}
