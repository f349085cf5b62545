//! What a node does besides answering requests. Each duty is a task that runs until the process ends.
//!
//! This is the floor above `node`: a duty may use the whole node, and nothing below knows of it.
//!
//! ```text
//! leading, derived       the timed work of a leader; what follows from each applied entry
//! bootstrap, starts      how a node comes to a cluster, and how each of its starts is recorded
//! membership, addresses  changes of members, and of where they are
//! standing               whether somebody is a member
//! divergence, digests    comparisons of the members' states; digests ahead of need
//! failover               a successor for a leader whose process is gone
//! peers                  what other nodes may ask, and what they are answered
//! snapshots, observer    when a snapshot is due; what the log says about the cluster
//! ```

pub mod addresses;
pub mod bootstrap;
pub mod derived;
pub mod digests;
pub mod divergence;
pub mod failover;
pub mod leading;
pub mod membership;
pub mod observer;
pub mod peers;
pub mod snapshots;
pub mod standing;
pub mod starts;

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::node::Node;
use crate::search::names;
use crate::sys::pulse;

/// Starts every duty. None of them ever ends while Raft runs.
pub fn spawn(node: &Arc<Node>) -> Vec<JoinHandle<()>> {
    let observer = Arc::new(observer::Observer::default());
    vec![
        tokio::spawn(leading::run(node.clone())),
        tokio::spawn(derived::follow_events(node.clone(), observer.clone())),
        tokio::spawn(derived::follow_freshness(node.clone())),
        tokio::spawn(names::load(node.names.clone(), node.state.clone(), node.executor.clone())),
        tokio::spawn(snapshots::run(node.clone())),
        tokio::spawn(digests::run(node.clone())),
        tokio::spawn(standing::run(node.clone())),
        tokio::spawn(starts::follow_acknowledgements(node.clone())),
        tokio::spawn(addresses::run(node.clone())),
        tokio::spawn(pulse::run(node.pulse.clone())),
        tokio::spawn(membership::finish_changes(node.clone())),
        tokio::spawn(observer::run(node.clone(), observer)),
        tokio::spawn(divergence::run(node.clone())),
    ]
}
