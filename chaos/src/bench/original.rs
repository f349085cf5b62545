//! The published figures of the system that raftshare replaces: registrations and searches by number of peers.
//!
//! Invariant: only points that its report states; nothing between or beyond them is made up.

/// Peers and operations per second.
pub const THROUGHPUT: [(f64, f64); 2] = [(10.0, 233.0), (100.0, 12.0)];
/// Peers and average latency in milliseconds.
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
