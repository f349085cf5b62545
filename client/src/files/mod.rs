//! File primitives for the shared folder and for downloads: atomic writes, stamps and hashes, part files.
//!
//! Invariant: nothing here depends on peers or downloads; both build on this module. Everything here blocks.

mod atomic;
mod part;
mod stamp;

pub use atomic::{free_bytes, sync_dir, write_atomic};
pub use part::{PART_SUFFIX, PREVIOUS_SUFFIX, PartFile, Staged, clean};
pub use stamp::{Stamp, hash_bytes, hash_file};
