//! The blocking pool: work on large bodies, away from the threads that serve everybody.
//!
//! Invariant: work that takes longer than handling a small request does not run on an async thread. Only a few such
//! tasks run at a time, which bounds their threads and their memory.

use tokio::sync::Semaphore;

use super::error::ApiError;

/// Bodies from this size on, in bytes, are parsed, hashed and cut on a thread of their own; a smaller one takes less
/// than the change of threads is worth.
pub const LARGE_BODY_BYTES: usize = 64 * 1_024;

/// Works on large bodies that run at a time; more wait for their turn. One may hold some ten times the body's bytes.
pub const LARGE_BODIES_AT_A_TIME: usize = 2;

static PLACES: Semaphore = Semaphore::const_new(LARGE_BODIES_AT_A_TIME);

/// Runs work on a body of that many bytes.
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
        // Kept until the work ends, also if nobody waits for it any more.
        let _place = place;
        work()
    });
    done.await.map_err(|error| refused(error.to_string()))?
}
