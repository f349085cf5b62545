//! Strangers who keep the nodes busy.

use super::{BASE, Release, Scenario, Step};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::flood::FloodFault;
use crate::history::FaultName;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "flood",
    summary: "idle connections, half requests, held bodies, garbage, false hellos and hostile names on every node's port",
    explanation: "Each round strangers open some hundred connections to every node: idle ones, heads that never end, bodies of \
        4 MiB that lack a byte, garbage, and false members with frames that claim to be endless; names that are none are refused. \
        No node ends, none takes more than 256 MiB for it, and honest clients are served (rules N2, N4, F1, R4).",
    round: &[
        Step::Traffic((300, 600)),
        Step::Fault(Fault::Flood(FloodFault::Flood)),
        Step::AwaitWrites,
        Step::Traffic((1_500, 2_500)),
        Step::AwaitWrites,
        Step::Heal,
        Step::AwaitWrites,
    ],
    demands: Demands::full(FaultName::Flood),
    release: Release { runs: 10, rounds: 3 },
    ..BASE
}];
