//! The named scenarios, as data: a workload, what happens in every round, the checkers, and
//! what a run must show at least.
//!
//! Invariant: a scenario holds no code of its own; adding one is adding a value to its family's list.

mod clock;
mod cpu;
mod disk;
mod files;
mod flood;
mod identity;
mod members;
mod mixed;
mod network;
mod peers;
mod process;
mod target;

pub use target::Target;

use crate::checker::validity::Demands;
use crate::checker::{ALL, Checker};
use crate::fault::Fault;
use crate::fault::clock::ClockKind;
use crate::fault::disk::DiskKind;

/// A span of milliseconds to draw from.
pub type MsRange = (u64, u64);
/// A span of microseconds to draw from.
pub type UsRange = (u64, u64);

/// One thing the runner does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Let the clients work undisturbed.
    Traffic(MsRange),
    /// Wait until a client sends the next lease update, then this long.
    AfterUpdate(UsRange),
    /// SIGKILL.
    Kill(Target),
    /// SIGSTOP.
    Stop(Target),
    /// SIGTERM, and wait until it ended in order.
    Terminate(Target),
    /// A fault of a family.
    Fault(Fault),
    /// Remove the faults of every family (killed nodes stay down, stopped ones stopped).
    Heal,
    /// SIGCONT for every stopped node.
    Continue,
    /// Start every killed node again.
    Restart,
    /// The living nodes reach no majority: for this long no write may be acknowledged.
    NoMajority(MsRange),
    /// Wait until every node serves.
    AwaitReady,
    /// Wait until a write is acknowledged again, and note how long that took since the last fault.
    AwaitWrites,
    /// The same, and more than this many milliseconds since the last fault are a violation.
    AwaitWritesWithin(u64),
    /// Do one of these lists of steps, drawn anew in every round.
    OneOf(&'static [&'static [Step]]),
    /// Do these steps once in this many rounds.
    OneIn(u32, &'static [Step]),
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Files that all clients fight for.
    pub shared_files: usize,
    /// Lease durations to draw from, in milliseconds.
    pub ttls_ms: &'static [u64],
    /// One client in this number sends raw requests and repeats them under their keys, late and often.
    pub zombie_one_in: usize,
    /// Longest pause of a client between two operations, in milliseconds.
    pub pause_ms: u64,
}

/// A named scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// What happens, and which rules it holds the cluster to.
    pub explanation: &'static str,
    /// What it needs around the nodes.
    pub setup: Setup,
    /// What the clients do.
    pub workload: Workload,
    /// What happens in every round.
    pub round: &'static [Step],
    /// Judges.
    pub checkers: &'static [Checker],
    /// What a valid run shows at least.
    pub demands: Demands,
    /// How often it runs before a release.
    pub release: Release,
    /// Lines of level ERROR that its faults make a node write: parts of their text.
    pub expected_errors: &'static [&'static str],
}

/// What a scenario needs around the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Index nodes, unless the command line says otherwise.
    pub nodes: u64,
    /// A proxy in every link between two nodes.
    pub links: bool,
    /// Disks of their own below the nodes' data.
    pub disks: Option<DiskKind>,
    /// Clocks of their own for the nodes.
    pub clocks: Option<ClockKind>,
    /// Ports for nodes that join later; with none, members do not change.
    pub spares: u64,
    /// Peers that share folders.
    pub peers: usize,
    /// A lease holder in its own process.
    pub holder: bool,
    /// More arguments for every node.
    pub arguments: &'static [&'static str],
}

/// Three nodes and nothing else.
pub const PLAIN: Setup =
    Setup { nodes: 3, links: false, disks: None, clocks: None, spares: 0, peers: 0, holder: false, arguments: &[] };

/// How often a scenario runs before a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Runs, each with its own seed.
    pub runs: u32,
    /// Rounds of each; at least ten seconds of traffic in all.
    pub rounds: u32,
}

/// Clients that fight for the leases of a few files.
pub const LEASES: Workload =
    Workload { shared_files: 4, ttls_ms: &[300, 1_000, 3_000], zombie_one_in: 4, pause_ms: 30 };

/// What most scenarios have in common: leases on a plain cluster, held to every property.
const BASE: Scenario = Scenario {
    name: "",
    summary: "",
    explanation: "",
    setup: PLAIN,
    workload: LEASES,
    round: &[],
    checkers: ALL,
    demands: Demands::any_fault(),
    release: Release { runs: 10, rounds: 6 },
    expected_errors: &[],
};

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// Every scenario, in the order in which they are listed.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let families = [
        process::SCENARIOS,
        network::SCENARIOS,
        disk::SCENARIOS,
        files::SCENARIOS,
        identity::SCENARIOS,
        clock::SCENARIOS,
        cpu::SCENARIOS,
        members::SCENARIOS,
        peers::SCENARIOS,
        flood::SCENARIOS,
        mixed::SCENARIOS,
    ];
    families.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::history::FaultName;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_is_found() {
        let every = all;
        let names: BTreeSet<&str> = every().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), every().count());
        for name in names {
            assert_eq!(find(name).map(|found| found.name), Some(name));
        }
        assert!(find("no such scenario").is_none());
    }

    #[test]
    fn every_scenario_demands_a_fault_and_traffic() {
        for scenario in all() {
            assert!(!scenario.demands.fault.is_some_and(FaultName::ends_fault), "{}", scenario.name);
            assert!(scenario.demands.acknowledged_per_round > 0, "{}", scenario.name);
            assert!(!scenario.name.is_empty() && !scenario.explanation.is_empty() && !scenario.round.is_empty());
            assert!(scenario.release.runs > 0 && scenario.release.rounds > 0, "{}", scenario.name);
        }
    }
}
