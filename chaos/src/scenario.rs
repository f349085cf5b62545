//! The named scenarios, as data: a workload, what happens in every round, the checkers, and what a run must show at least.
//!
//! Invariant: a scenario holds no code of its own; adding one is adding a value to [`SCENARIOS`].

use crate::checker::validity::Demands;
use crate::checker::{ALL, Checker};

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
    /// SIGCONT for every stopped node.
    Continue,
    /// Start every killed node again.
    Restart,
    /// Wait until a write is acknowledged again, and note how long that took since the last fault.
    AwaitWrites,
    /// Do these steps in one of so many rounds.
    OneIn(u32, &'static [Step]),
}

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whoever leads at that moment.
    Leader,
    /// Somebody who does not.
    Follower,
    /// Every node.
    All,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Files that all clients fight for.
    pub shared_files: usize,
    /// Lease durations to draw from, in milliseconds.
    pub ttls_ms: &'static [u64],
    /// One client in so many sends raw requests and repeats them under their keys, late and often.
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
    /// What the clients do.
    pub workload: Workload,
    /// What happens in every round.
    pub round: &'static [Step],
    /// Judges.
    pub checkers: &'static [Checker],
    /// What a valid run shows at least.
    pub demands: Demands,
}

const LEASES: Workload = Workload { shared_files: 4, ttls_ms: &[300, 1_000, 3_000], zombie_one_in: 4, pause_ms: 30 };

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "leader-kill",
        summary: "kill -9 of the leader while lease updates are under way",
        explanation: "Each round the leader is killed 0 to 20 ms after a client sent a lease update, and started again \
            once another leader acknowledges writes; in one round of three that one is killed as well, as soon as the \
            first is back. Leases must last, tokens must grow, no acknowledged version may be lost, and no repeated \
            request may have two effects (rules L1 to L5, X1 to X3, W1, W3).",
        workload: LEASES,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::Leader),
            Step::AwaitWrites,
            Step::Restart,
            Step::OneIn(
                3,
                &[
                    Step::Traffic((50, 400)),
                    Step::AfterUpdate((0, 20_000)),
                    Step::Kill(Target::Leader),
                    Step::AwaitWrites,
                    Step::Restart,
                ],
            ),
        ],
        checkers: ALL,
        demands: Demands { acknowledged_per_round: 30, publishes_per_round: 3, denials: 5, fault: "kill" },
    },
    Scenario {
        name: "follower-kill",
        summary: "kill -9 of a follower under load",
        explanation: "Each round a follower is killed and started again. Writes go on with the majority (rules R4, W1).",
        workload: LEASES,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::Follower),
            Step::AwaitWrites,
            Step::Traffic((100, 500)),
            Step::Restart,
        ],
        checkers: ALL,
        demands: Demands { acknowledged_per_round: 30, publishes_per_round: 3, denials: 5, fault: "kill" },
    },
    Scenario {
        name: "leader-pause",
        summary: "SIGSTOP of the leader for longer than an election and most leases",
        explanation: "Each round the leader is stopped for 0.6 to 2.5 s while another takes over, then it wakes up \
            believing that it leads. It may acknowledge nothing, answer no strong read and end no lease (rules T2, R1, \
            L3).",
        workload: LEASES,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Stop(Target::Leader),
            Step::AwaitWrites,
            Step::Traffic((100, 2_000)),
            Step::Continue,
            Step::Traffic((300, 600)),
        ],
        checkers: ALL,
        demands: Demands { acknowledged_per_round: 20, publishes_per_round: 2, denials: 5, fault: "stop" },
    },
    Scenario {
        name: "all-kill",
        summary: "kill -9 of every node at once",
        explanation: "Each round all nodes are killed within a moment and started again. Everything acknowledged is on \
            their disks (rules W1, W3, L3). A killed process keeps its page cache: only a power cut shows what was not \
            synced.",
        workload: LEASES,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::All),
            Step::Restart,
            Step::AwaitWrites,
        ],
        checkers: ALL,
        demands: Demands { acknowledged_per_round: 20, publishes_per_round: 2, denials: 5, fault: "kill" },
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_and_demands_a_fault_that_it_injects() {
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name).map(|found| found.name), Some(scenario.name));
            let injects = scenario.round.iter().any(|step| match step {
                Step::Kill(_) => scenario.demands.fault == "kill",
                Step::Stop(_) => scenario.demands.fault == "stop",
                Step::Traffic(_)
                | Step::AfterUpdate(_)
                | Step::Continue
                | Step::Restart
                | Step::AwaitWrites
                | Step::OneIn(..) => false,
            });
            assert!(injects, "{}", scenario.name);
        }
        assert!(find("no such scenario").is_none());
    }
}
