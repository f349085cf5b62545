//! A load generator that costs little: raw HTTP/1.1 over kept-alive connections, one per client, buffers reused.
//!
//! ```text
//!  drive (closed or open loop, warm-up) ─► peers (whose turn, which file and key) ─► connection (bytes)
//!     └──► tally (histograms by kind, failures by code)      ├── mix (what next)
//!                                                            └── wire (in which format)
//! ```
//!
//! Invariant: a request counts as done only when its whole answer was read and its status is 2xx.

pub mod connection;
pub mod drive;
pub mod mix;
pub mod peers;
pub mod summary;
pub mod tally;
pub mod wire;

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use rand::SeedableRng;
use rand::rngs::StdRng;

pub use connection::Connection;
pub use drive::{Pace, drive};
pub use mix::{Mix, OperationKind};
pub use peers::{Common, LoadClient};
pub use summary::Summary;
pub use tally::Tally;
pub use wire::Wire;

/// Clients that register their peers at the same time.
const PREPARING_MAX: usize = 64;

/// Where a load goes.
#[derive(Debug, Clone)]
pub struct Targets {
    /// `host:port` of the node that is written to.
    pub write: String,
    /// `host:port` of the nodes that are read, by the clients in turn; not empty.
    pub reads: Vec<String>,
}

/// Clients that act for all peers, each of which is registered.
///
/// There are `connections` of them, or one per peer if that is fewer.
pub async fn clients(
    common: Common,
    targets: &Targets,
    connections: usize,
    seed: u64,
) -> Result<Vec<LoadClient>, String> {
    let common = Arc::new(common);
    let count = usize::try_from(common.peers).unwrap_or(usize::MAX).min(connections).max(1);
    let made = (0..count).map(|number| {
        let read = targets.reads.get(number % targets.reads.len().max(1)).unwrap_or(&targets.write);
        let peers = (number as u64..common.peers).step_by(count);
        let rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        let mut client = LoadClient::new(common.clone(), &targets.write, read, peers, rng);
        async move { client.prepare().await.map(|()| client) }
    });
    let prepared = futures::stream::iter(made).buffer_unordered(PREPARING_MAX);
    prepared.try_collect().await.map_err(|why: String| format!("a registration failed: {why}"))
}
