//! Drawn combinations of the other families' faults, two or three at a time.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::cpu::CpuFault;
use crate::fault::disk::{DiskFault, DiskKind};
use crate::fault::network::{NetworkFault, Slow};

const fn link(fault: NetworkFault) -> Step {
    Step::Fault(Fault::Network(fault))
}

const DEMANDS: Demands = Demands::any_fault();

/// What a node that ends on SIGTERM makes its Raft library write.
const ERRORS: &[&str] = super::process::STOPPING;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mixed",
        summary: "two or three drawn faults at a time: kills, pauses, restarts, cuts, slow links, starved processors",
        explanation: "Each round draws a first fault, and a second one that begins before the first has ended; both, and \
            every leftover, end together. All rules hold whatever meets what (L1 to L5, X1 to X3, R1 to R4, W1 to W5, T2). \
            The soak repeats these rounds for half an hour.",
        setup: Setup { links: true, ..PLAIN },
        round: &[
            Step::Traffic((300, 800)),
            Step::OneOf(&[
                &[Step::AfterUpdate((0, 20_000)), Step::Kill(Target::Leader)],
                &[Step::AfterUpdate((0, 20_000)), Step::Stop(Target::Leader)],
                &[Step::AfterUpdate((0, 20_000)), Step::Kill(Target::Follower)],
                &[Step::Terminate(Target::Leader)],
                &[link(NetworkFault::IsolateLeader)],
                &[link(NetworkFault::OneWay)],
                &[link(NetworkFault::Flap)],
                &[link(NetworkFault::Slow(Slow::Wan))],
                &[Step::Fault(Fault::Cpu(CpuFault::Starve))],
            ]),
            Step::Traffic((100, 800)),
            Step::OneOf(&[
                &[],
                &[Step::Kill(Target::Next)],
                &[Step::Stop(Target::Next)],
                &[Step::Kill(Target::All)],
                &[link(NetworkFault::IsolateFollower)],
                &[link(NetworkFault::OneWay)],
                &[link(NetworkFault::Slow(Slow::Far))],
                &[Step::Restart, Step::Continue, Step::AwaitWrites, Step::Kill(Target::Leader)],
                &[Step::Restart, Step::Heal, Step::Traffic((0, 300)), Step::Stop(Target::Leader)],
            ]),
            Step::Traffic((300, 1_500)),
            Step::Heal,
            Step::Continue,
            Step::Restart,
            Step::AwaitWrites,
            Step::Traffic((200, 500)),
        ],
        demands: DEMANDS,
        release: Release { runs: 10, rounds: 12 },
        expected_errors: ERRORS,
        ..BASE
    },
    Scenario {
        name: "mixed-power",
        summary: "power cuts together with kills, pauses and starved processors",
        explanation: "As in `mixed`, with one node's or every node's power cut as the first or the second fault. Needs root \
            and loop devices (rules W1, W3, L1 to L5, X1 to X5).",
        setup: Setup { disks: Some(DiskKind::Loop), arguments: &["--snapshot-every", "300"], ..PLAIN },
        round: &[
            Step::Traffic((300, 800)),
            Step::OneOf(&[
                &[Step::AfterUpdate((0, 20_000)), Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::Leader)))],
                &[Step::Kill(Target::Follower), Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::Leader)))],
                &[
                    Step::Stop(Target::Leader),
                    Step::Traffic((0, 700)),
                    Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::Follower))),
                ],
            ]),
            Step::Traffic((100, 700)),
            Step::OneOf(&[
                &[],
                &[
                    Step::Heal,
                    Step::Restart,
                    Step::Traffic((0, 400)),
                    Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::All))),
                ],
                &[Step::Heal, Step::Restart, Step::Traffic((0, 400)), Step::Kill(Target::Next)],
                &[Step::Fault(Fault::Cpu(CpuFault::Starve))],
            ]),
            Step::Traffic((200, 800)),
            Step::Heal,
            Step::Continue,
            Step::Restart,
            Step::AwaitWrites,
            Step::Traffic((200, 500)),
        ],
        demands: DEMANDS,
        release: Release { runs: 10, rounds: 6 },
        expected_errors: super::disk::STORAGE_ERRORS,
        ..BASE
    },
];
