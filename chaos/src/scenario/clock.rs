//! Clocks that jump or run at another rate.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::clock::ClockFault;
use crate::fault::clock::ClockKind;
use crate::history::FaultName;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clock-jump",
        summary: "the wall clocks of one or more nodes jump an hour and more ahead and back",
        explanation: "Each round the wall clock of one to three nodes, often the leader's, jumps an hour or more ahead, and back again. \
            Leases are counted on monotonic clocks: none ends early, none is granted twice (rules T1, T2, T4, L3). Needs \
            libfaketime (apt-get install faketime), no root.",
        setup: Setup { clocks: Some(ClockKind::Wall), ..PLAIN },
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Clock(ClockFault::Jump)),
            Step::Traffic((1_000, 2_000)),
            Step::Heal,
            Step::Traffic((500, 1_200)),
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::ClockJump),
        release: Release { runs: 10, rounds: 4 },
        ..BASE
    },
    Scenario {
        name: "clock-rate",
        summary: "the clocks of one node, often the leader, run at half or double the rate",
        explanation: "Each round one node is started again with both clocks at half or double the rate, and in most rounds \
            made the leader. A lease lasts its TTL on the leader's monotonic clock (rule T2): with a leader of double rate, \
            half of it on the holder's. So exclusion in real time is held to TTL divided by the fastest rate, no more and no \
            less, while fencing, versions and linearizable reads are held to everything (rules L2, F5, R1). Reads at the \
            level `leader` allow rates that differ by less than 10 % and are not judged. Needs libfaketime (apt-get install \
            faketime), no root.",
        setup: Setup { clocks: Some(ClockKind::Rate), ..PLAIN },
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Clock(ClockFault::Rate)),
            Step::Traffic((1_000, 2_000)),
            Step::Heal,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::ClockRate),
        release: Release { runs: 10, rounds: 4 },
        ..BASE
    },
];
