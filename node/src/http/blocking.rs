//! The blocking pool: work on large bodies, off the async threads.
//!
//! Invariant: work that takes longer than a small request never runs on an async thread. Only a few such tasks run at a
//! time, which bounds their threads and memory.

use tokio::sync::Semaphore;

use super::error::ApiError;

/// Bodies of at least this many bytes are parsed, hashed and cut on the blocking pool. For a smaller one the switch of
/// threads would cost more than the work.
pub const LARGE_BODY_BYTES: usize = 64 * 1_024;

/// Tasks on large bodies that run at a time; further ones wait. A task may hold some ten times the body's bytes.
pub const LARGE_BODIES_AT_A_TIME: usize = 2;

static PLACES: Semaphore = Semaphore::const_new(LARGE_BODIES_AT_A_TIME);

/// Runs work on a body of `bytes` bytes, on the blocking pool if the body is large.
pub async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes < LARGE_BODY_BYTES {
        return work();
    }
    let refused = |why: String| ApiError::Overloaded(why);
    let place = PLACES.acquire().await.map_err(|closed| refused(closed.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        // Held until the work ends, even if nobody waits for the result any more.
        let _place = place;
        work()
    });
    done.await.map_err(|error| refused(error.to_string()))?
}
