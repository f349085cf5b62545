//! File descriptors: how many this process may have, and how they are shared out.
//!
//! Invariant (N4): connections never use up the descriptors that the store needs. If a snapshot could not be created
//! because the table is full, that would count as a storage failure and end the node.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for the store, the log of the process and the runtime. sled holds a handful, a snapshot that is
/// written while one is read and one is sent holds three more.
const RESERVED: usize = 192;
/// Connections that other nodes may have to this one at a time. A member opens about ten. Clients and other outsiders
/// cannot take these slots.
const NODE_CONNECTIONS_MAX: usize = 128;
/// Connections of clients served at a time, however many descriptors there are.
const CLIENT_CONNECTIONS_MAX: usize = 16_384;
/// Connections that have not said yet what they are.
const UNDECIDED_MAX: usize = 1_024;
/// Connections that every node serves, however few descriptors there are.
const CONNECTIONS_MIN: usize = 16;

/// How many connections of each kind this node serves at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Connections of clients.
    pub clients: usize,
    /// Connections of clients from one address, so that nobody can take them all.
    pub per_address: usize,
    /// Connections of other nodes.
    pub nodes: usize,
    /// Connections that have not said yet what they are.
    pub undecided: usize,
}

impl Budget {
    /// The budget of a process that may have `limit` descriptors.
    pub fn of(limit: usize) -> Self {
        let free = limit.saturating_sub(RESERVED);
        let nodes = (free / 8).clamp(CONNECTIONS_MIN, NODE_CONNECTIONS_MAX);
        let undecided = (free / 16).clamp(CONNECTIONS_MIN, UNDECIDED_MAX);
        // This node opens as many connections again: to the other nodes, and to the leader for every request it
        // forwards.
        let clients = free.saturating_sub(2 * nodes + undecided) / 2;
        let clients = clients.clamp(CONNECTIONS_MIN, CLIENT_CONNECTIONS_MAX);
        Self { clients, per_address: clients / 2, nodes, undecided }
    }
}

/// Raises the number of descriptors that this process may have to the most that the system allows without privileges.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Descriptors that this process may have.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_descriptors() {
        for limit in [512, 1_024, 4_096, 20_000, 1_048_576] {
            let Budget { clients, per_address, nodes, undecided } = Budget::of(limit);
            let used = 2 * (clients + nodes) + undecided;
            assert!(used + RESERVED <= limit, "N4: {used} of {limit} descriptors go to connections");
            assert!(per_address < clients && clients <= CLIENT_CONNECTIONS_MAX);
        }
        assert!(Budget::of(1_024).clients >= 256, "a usual limit serves a few hundred clients");
        assert!(Budget::of(0).clients > 0);
    }

    #[test]
    fn the_limit_can_be_read() {
        assert!(limit() > 0);
    }
}
