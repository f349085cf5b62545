//! How the programs' allocator treats memory that was freed. Without effect where the allocator is another one.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// Milliseconds after which freed memory goes back to the operating system. What comes back is cleared page by page: with mimalloc's
/// own second, the log's buffers and snapshots of a busy node were cleared again and again, for 7 to 9 % of its processor time.
const KEPT_MS: c_long = 10_000;
/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed memory for a while. To be called before there is a second thread; `MIMALLOC_PURGE_DELAY` in the environment goes before.
#[allow(unsafe_code)] // a call into the allocator, which is C
pub fn keep_freed() {
    // SAFETY: sets a number; one of an option that does not exist would be ignored.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let purge_delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(purge_delay(), 1_000, "the allocator's own delay");
        keep_freed();
        assert_eq!(purge_delay(), KEPT_MS);
    }
}
