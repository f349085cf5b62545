//! Files on disk, for the folder and for downloads alike: atomic writes, stamps and hashes, part files.
//!
//! Invariant: nothing here knows peers or downloads; both are built on this module. Everything here blocks.

mod atomic;
mod part;
mod stamp;

pub use atomic::{free_bytes, sync_dir, write_atomic};
pub use part::{PART_SUFFIX, PREVIOUS_SUFFIX, PartFile, Staged, clean};
pub use stamp::{Stamp, hash_bytes, hash_file};
