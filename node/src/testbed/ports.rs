//! Ports for nodes.
//!
//! Invariant: a port that was given out is outside the range of outgoing connections, so that it is still
//! free when its node is started again.

use std::net::TcpListener;

use rand::Rng;

use super::TestbedError;

/// Ports are taken from here, below the range that outgoing connections use: a killed node's port stays free.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Ports that are tried before giving up.
const PORT_TRIES: usize = 1_000;

/// Ports that are free now; all of them are bound at once, so that they differ.
pub fn free_ports(count: usize) -> Result<Vec<u16>, TestbedError> {
    let mut rng = rand::rng();
    let mut bound: Vec<(u16, TcpListener)> = Vec::new();
    for _ in 0..PORT_TRIES {
        if bound.len() == count {
            break;
        }
        let port = rng.random_range(PORTS);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            bound.push((port, listener));
        }
    }
    if bound.len() < count {
        return Err(TestbedError::Ports);
    }
    Ok(bound.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_below_the_ephemeral_range() {
        let mut ports = free_ports(20).expect("free ports");
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
