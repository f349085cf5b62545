//! Chance that follows from a seed: takes the place of the C library's `getrandom` in every
//! program that links this crate.
//!
//! Invariant: on the thread of a simulation all randomness (hash maps' keys, tokens, election timeouts) comes from its
//! seed; every other thread gets the kernel's.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's randomness follows from the seed.
pub(super) fn seed_this_thread(seed: u64) {
    STATE.with(|state| state.set(Some(seed)));
}

/// SplitMix64.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, bits ^ (bits >> 31))
}

/// What the standard library and every other caller asks for randomness.
#[allow(unsafe_code, reason = "a symbol for the linker, memory of the caller, and a system call")]
#[unsafe(no_mangle)]
pub extern "C" fn getrandom(buffer: *mut libc::c_void, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    let Some(mut state) = STATE.try_with(Cell::get).ok().flatten() else {
        // SAFETY: the caller's own arguments, passed on to the kernel.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as libc::ssize_t;
    };
    // SAFETY: by the contract of `getrandom` the caller owns `length` writable bytes at `buffer`.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        let (after, bits) = next(state);
        state = after;
        chunk.copy_from_slice(&bits.to_le_bytes()[..chunk.len()]);
    }
    STATE.with(|cell| cell.set(Some(state)));
    length as libc::ssize_t
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn draw(seed: Option<u64>) -> (u64, u64) {
        let thread = std::thread::spawn(move || {
            if let Some(seed) = seed {
                seed_this_thread(seed);
            }
            (rand::random::<u64>(), RandomState::new().hash_one(7))
        });
        thread.join().expect("draws")
    }

    #[test]
    fn a_seeded_thread_draws_the_same_again_and_others_do_not() {
        assert_eq!(draw(Some(7)), draw(Some(7)));
        assert_ne!(draw(Some(7)), draw(Some(8)));
        let (one, other) = (draw(None), draw(None));
        assert!(one.0 != other.0 && one.1 != other.1);
    }
}
