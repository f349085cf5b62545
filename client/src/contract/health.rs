//! Whether a node lives, and whether it is of use.

use super::{Text, endpoint};

endpoint! {
    /// Whether the process lives.
    Healthz = Get "/healthz" as "healthz", Own;
    answer: Text, "`ok`.";
}

endpoint! {
    /// Whether the node can serve linearizable reads and writes.
    ///
    /// A follower is ready that reaches the leader and has applied what was committed when it was asked. 503 with the
    /// reason otherwise.
    Readyz = Get "/readyz" as "readyz", Own;
    answer: Text, "It can.";
    errors: NoQuorum, Loading, NotInitialized, StorageFailed, Diverged, Removed;
}
