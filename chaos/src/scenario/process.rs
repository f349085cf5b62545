//! Nodes that are killed, stopped and restarted.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::ALL_AND_PATIENCE;
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::holders::HolderFault;
use crate::history::FaultName;

/// What the Raft library writes in a node that is told to end, about requests that arrive meanwhile.
pub(super) const STOPPING: &[&str] = &["to RaftCore", "from RaftCore", "rx recv error", "raft stopped"];

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "leader-kill",
        summary: "kill -9 of the leader while lease updates are under way",
        explanation: "Each round the leader is killed 0 to 20 ms after a client sent a lease update, and started again \
            once another leader acknowledges writes; in one round of three that one is killed as well, as soon as the \
            first is back. Leases must last, tokens must grow, no acknowledged version may be lost, and no repeated \
            request may have two effects (rules L1 to L5, X1 to X3, W1, W3).",
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
        demands: Demands::full(FaultName::Kill),
        release: Release { runs: 10, rounds: 75 },
        ..BASE
    },
    Scenario {
        name: "holder-pause",
        summary: "SIGSTOP of a client that holds a lease, until well after the lease's end",
        explanation: "A client in a process of its own takes the lease of a file that all others wait for too. Each round \
            it is stopped while it holds the lease, for 0.2 to 1.2 s longer than the lease lasts, and then publishes as if \
            no time had passed. That is refused, always, and what the next holders published stays (rules L1, L3, F2).",
        setup: Setup { holder: true, ..PLAIN },
        round: &[Step::Traffic((200, 500)), Step::Fault(Fault::Holders(HolderFault::Pause))],
        demands: Demands::full(FaultName::HolderPause),
        release: Release { runs: 10, rounds: 6 },
        ..BASE
    },
    Scenario {
        name: "follower-kill",
        summary: "kill -9 of a follower under load",
        explanation: "Each round a follower is killed and started again. Writes go on with the majority (rules R4, W1).",
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::Follower),
            Step::AwaitWrites,
            Step::Traffic((100, 500)),
            Step::Restart,
        ],
        demands: Demands::full(FaultName::Kill),
        release: Release { runs: 10, rounds: 12 },
        ..BASE
    },
    Scenario {
        name: "leader-pause",
        summary: "SIGSTOP of the leader for longer than an election and most leases",
        explanation: "Each round the leader is stopped for 0.6 to 2.5 s while another takes over, then it wakes up \
            believing that it leads. It may acknowledge nothing, answer no strong read and end no lease (rules T2, R1, \
            L3).",
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Stop(Target::Leader),
            Step::AwaitWrites,
            Step::Traffic((100, 2_000)),
            Step::Continue,
            Step::Traffic((300, 600)),
        ],
        demands: Demands::reduced(FaultName::Stop),
        release: Release { runs: 10, rounds: 6 },
        ..BASE
    },
    Scenario {
        name: "all-kill",
        summary: "kill -9 of every node at once",
        explanation: "Each round all nodes are killed within a moment and started again. Everything acknowledged is on \
            their disks (rules W1, W3, L3). A killed process keeps its page cache: only a power cut shows what was not \
            synced.",
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::All),
            Step::Restart,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::Kill),
        release: Release { runs: 10, rounds: 12 },
        ..BASE
    },
    Scenario {
        name: "two-of-three-kill",
        summary: "kill -9 of the leader and one more of three nodes",
        explanation: "Each round a majority is killed for 0.5 to 1.5 s. The last node acknowledges no write and answers no \
            strong read; its stale reads go on; once the others are back, so are writes (rules R4, W1, W3).",
        round: &[
            Step::Traffic((700, 1_200)),
            Step::AfterUpdate((0, 20_000)),
            Step::Kill(Target::Majority),
            Step::NoMajority((500, 1_500)),
            Step::Restart,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::Kill),
        release: Release { runs: 10, rounds: 6 },
        ..BASE
    },
    Scenario {
        name: "rolling-restart",
        summary: "SIGTERM and restart of one node after the other under load",
        explanation: "Each round the next node ends in order, is started again and serves before the next one's turn. A client \
            that waits up to 8 s sees no failure, and no node may end in another way than in order (rules X1, X3, W2, W5).",
        round: &[
            Step::Traffic((700, 1_200)),
            Step::Terminate(Target::Next),
            Step::Traffic((0, 500)),
            Step::Restart,
            Step::AwaitReady,
            Step::AwaitWrites,
        ],
        checkers: ALL_AND_PATIENCE,
        demands: Demands::full(FaultName::Terminate),
        release: Release { runs: 10, rounds: 9 },
        expected_errors: STOPPING,
        ..BASE
    },
];
