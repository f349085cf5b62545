//! Liveness and readiness of a node.

use super::{Text, endpoint};

endpoint! {
    /// Check that the process is alive.
    Healthz = Get "/healthz" as "healthz", Own;
    answer: Text, "`ok`.";
}

endpoint! {
    /// Check that the node can serve writes and linearizable reads.
    ///
    /// A follower is ready if it reaches the leader and has applied everything that was committed when the request
    /// arrived. Otherwise the answer is 503 with the reason.
    Readyz = Get "/readyz" as "readyz", Own;
    answer: Text, "The node is ready.";
    errors: NoQuorum, Loading, NotInitialized, StorageFailed, Diverged, Removed;
}
