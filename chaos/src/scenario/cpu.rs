//! Nodes that get little processor time.

use super::{BASE, Release, Scenario, Step};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::cpu::CpuFault;
use crate::history::FaultName;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "cpu-starve",
    summary: "one node, often the leader, gets a twentieth of a processor",
    explanation: "Each round one node runs 5 ms out of every 100 (stopped and continued from outside) for 1.5 to 3 s. The \
        leader may move or stay; no lease is lost early, no strong read is stale, and writes are back once it runs \
        again (rules T2, L3, R1, W1).",
    round: &[
        Step::Traffic((400, 900)),
        Step::Fault(Fault::Cpu(CpuFault::Starve)),
        Step::Traffic((1_000, 2_500)),
        Step::Heal,
        Step::AwaitWrites,
    ],
    demands: Demands::reduced(FaultName::Starve),
    release: Release { runs: 10, rounds: 6 },
    ..BASE
}];
