//! Nodes that get little processor time.
//!
//! Invariants: a healed node is neither stopped nor limited; only children of this process are sent signals.

use std::time::Duration;

use raft_store::types::NodeId;
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::task::JoinHandle;

use super::{Arena, Effect, Environment, Family};
use crate::history::{FaultName, FaultOutcome};
use crate::observer::stat;
use crate::scenario::Setup;
use node::testbed::{Signal, signal};

/// How long the node runs out of every [`PERIOD`].
const RUNS: Duration = Duration::from_millis(5);
/// Length of a cycle.
const PERIOD: Duration = Duration::from_millis(100);
/// Samples of the process until the fault counts as installed.
const SAMPLES: usize = 40;
/// Share of samples, in percent, that must find it stopped.
const STOPPED_PERCENT: usize = 70;
/// Pause between two polls; no divisor of the period, or all samples would see the same part of it.
const POLL_PAUSE: Duration = Duration::from_millis(13);

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuFault {
    /// The leader, or one of the others, gets about a twentieth of a processor until healing.
    Starve,
}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Cpu {
    starved: Option<(NodeId, u32, JoinHandle<()>)>,
}

impl Drop for Cpu {
    fn drop(&mut self) {
        if let Some((_, pid, task)) = self.starved.take() {
            task.abort();
            resume(pid);
        }
    }
}

impl Family for Cpu {
    type Fault = CpuFault;

    async fn prepare(_setup: &Setup, _environment: &Environment) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self::default()))
    }

    async fn inject(&mut self, CpuFault::Starve: CpuFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let living = arena.cluster.living();
        let leader = arena.leader.as_ref().map(|leader| leader.id).filter(|_| arena.rng.random_bool(0.5));
        let chosen = leader.or_else(|| living.choose(&mut arena.rng).copied());
        let Some((node, pid)) = chosen.and_then(|node| Some((node, arena.cluster.pid(node)?))) else {
            return Ok(vec![Effect::skipped(FaultName::Starve, "nobody lives")]);
        };
        self.heal(arena).await?;
        self.starved = Some((node, pid, tokio::spawn(starve(pid))));
        let mut stopped = 0;
        for _ in 0..SAMPLES {
            tokio::time::sleep(POLL_PAUSE).await;
            stopped += usize::from(state(pid) == Some('T'));
        }
        let percent = stopped * 100 / SAMPLES;
        let outcome = if percent >= STOPPED_PERCENT {
            FaultOutcome::Installed
        } else {
            FaultOutcome::Indeterminate(format!("stopped in {percent} % of the samples only"))
        };
        let words = format!("n{node} starves (stopped in {percent} % of the samples)");
        Ok(vec![Effect { fault: FaultName::Starve, node: Some(node), words, outcome }])
    }

    async fn heal(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let Some((node, pid, task)) = self.starved.take() else { return Ok(Vec::new()) };
        task.abort();
        // Being aborted is how it ends; after that it stops nobody anymore.
        let _ = task.await;
        resume(pid);
        Ok(vec![Effect::installed(FaultName::Feed, Some(node), format!("n{node} runs again"))])
    }
}

async fn starve(pid: u32) {
    while is_child(pid) && signal(pid, Signal::STOP).is_ok() {
        tokio::time::sleep(PERIOD.saturating_sub(RUNS)).await;
        resume(pid);
        tokio::time::sleep(RUNS).await;
    }
}

fn resume(pid: u32) {
    if is_child(pid) {
        // Fails only for a process that is gone.
        let _ = signal(pid, Signal::CONT);
    }
}

fn is_child(pid: u32) -> bool {
    stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) == Some(std::process::id())
}

fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_starved_process_is_mostly_stopped_and_a_stranger_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        let task = tokio::spawn(starve(child.id()));
        while state(child.id()) != Some('T') {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        task.abort();
        let _ = task.await;
        resume(child.id());
        while state(child.id()) == Some('T') {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        child.kill().expect("runs");
        child.wait().expect("ends");
        assert!(!is_child(child.id()));
        assert!(!is_child(1));
    }
}
