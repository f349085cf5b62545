//! How names and words are hashed.
//!
//! Invariant: every hasher has a secret of its own beside one of this process, both from the system's randomness by way of the
//! standard library, so that nobody can choose names that collide.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// What hashes with a secret.
pub(super) type Hasher = SeedableRandomState;

/// A hasher with a new secret.
pub(super) fn hasher() -> Hasher {
    static SHARED: OnceLock<SharedSeed> = OnceLock::new();
    SeedableRandomState::with_seed(secret(), SHARED.get_or_init(|| SharedSeed::from_u64(secret())))
}

fn secret() -> u64 {
    RandomState::new().hash_one("secret")
}
