//! The published figures of the system that raftshare replaces, and what is known about where they were measured.
//!
//! Invariant: only what its report and its slides state; nothing between or beyond their points is made up.

/// Where they were measured.
pub const MACHINE: &str =
    "the authors' workstation, everything on one machine; its processor, memory and disk are not stated";
/// What was measured.
pub const SYSTEM: &str =
    "a Go primary that copied its state to a shadow after answering; no consensus, nothing on disk";

/// Milliseconds until a new file had its copies.
pub const CONVERGENCE_MS: f64 = 14.53;
/// Milliseconds of a read that found the primary dead.
pub const FAILOVER_MS: f64 = 9.59;
/// Milliseconds of a lease and the announcement under it.
pub const CYCLE_MS: f64 = 8.80;
/// Milliseconds of a search in the load test, by the slides; the report has 2 to 4. Neither says with how many peers.
pub const SEARCH_MS: f64 = 28.94;
/// Milliseconds that the shadow lagged behind at most.
pub const SHADOW_LAG_MS: f64 = 10.0;

/// Peers and operations per second.
pub const THROUGHPUT: [(f64, f64); 2] = [(10.0, 233.0), (100.0, 12.0)];
/// Peers and average latency of a registration in milliseconds.
pub const LATENCY: [(f64, f64); 2] = [(10.0, 6.0), (100.0, 156.0)];
/// Peers and percent of requests that failed: none from 10 to 500.
pub const ERRORS: [(f64, f64); 2] = [(10.0, 0.0), (500.0, 0.0)];

/// Published throughput and latency at this number of peers.
pub fn at(peers: u64) -> Option<(f64, f64)> {
    let find = |points: &[(f64, f64)]| points.iter().find(|(x, _)| *x == peers as f64).map(|(_, y)| *y);
    find(&THROUGHPUT).zip(find(&LATENCY))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_published_points_are_known() {
        assert_eq!(super::at(10), Some((233.0, 6.0)));
        assert_eq!(super::at(50), None);
    }
}
