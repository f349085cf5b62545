//! What a stress test does to the nodes of a local cluster while buyers order.
//!
//! Invariant: every node that was killed or paused runs again when the faults end.

use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;

use crate::local::LocalCluster;
use crate::stress::Incidents;

/// How long a killed node stays away, and a paused one silent.
const AWAY: Duration = Duration::from_millis(1_000);
/// Time for a cluster to elect a leader after the run, so that the books can be checked.
const ELECTION: Duration = Duration::from_millis(500);

/// What happens to the leader again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Failures {
    /// Nothing.
    None,
    /// Its process is killed, and started again after a second.
    Kill,
    /// Its process is stopped for a second, as a machine that hangs.
    Pause,
    /// Both in turn.
    Mixed,
}

/// Makes the leader fail at every interval until the run is over.
pub async fn fail(cluster: &mut LocalCluster, failures: Failures, every: Duration, incidents: Incidents) {
    let mut kills = failures != Failures::Pause;
    while failures != Failures::None && incidents.pause(every).await {
        let Some(leader) = cluster.leader().await else { continue };
        let node = leader + 1;
        if kills {
            incidents.note(format!("killed leader {node}"));
            cluster.kill(leader).await;
            incidents.pause(AWAY).await;
            if let Err(failure) = cluster.launch(leader) {
                incidents.note(format!("node {node} does not start: {failure}"));
                return;
            }
        } else {
            incidents.note(format!("paused leader {node}"));
            cluster.signal(leader, Signal::STOP);
            incidents.pause(AWAY).await;
            cluster.signal(leader, Signal::CONT);
        }
        kills = if failures == Failures::Mixed { !kills } else { kills };
    }
    if failures != Failures::None {
        tokio::time::sleep(ELECTION).await;
    }
}
