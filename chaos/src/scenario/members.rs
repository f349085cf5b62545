//! Nodes that are away for long, and members that change.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::members::MemberFault;
use crate::history::FaultName;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "membership-churn",
        summary: "nodes join, are promoted, demoted, removed and replaced under load, with kills in between",
        explanation: "Each round makes drawn changes of members through the product's own commands: a new node joins \
            and is promoted, a learner or a voter (also the leader) is demoted, removed, or lost and replaced, leadership \
            is moved; and the leader is killed up to 150 ms after a change began. A removed node goes on for a moment. \
            Nothing acknowledged may be lost, a change may not lead to two leaders, and the members can be brought back \
            to what they were (rules C2, C3, W3, R1, L3).",
        setup: Setup { spares: 3, arguments: &["--snapshot-every", "300"], ..PLAIN },
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Members(MemberFault::Change)),
            Step::AwaitWrites,
            Step::Traffic((300, 600)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Members(MemberFault::ChangeUnderKill)),
            Step::AwaitWrites,
            Step::OneIn(
                3,
                &[Step::Kill(Target::Follower), Step::AwaitWrites, Step::Traffic((100, 300)), Step::Restart],
            ),
        ],
        demands: Demands::full(FaultName::Change),
        release: Release { runs: 10, rounds: 6 },
        expected_errors: &["configuration change", "membership"],
        ..BASE
    },
    Scenario {
        name: "long-outage",
        summary: "a follower comes back after so long that it needs a snapshot, and is killed over its installation",
        explanation: "Each round a follower is killed and more is written than the others keep in their logs. Started \
            again it is sent a snapshot; it is killed while it writes it to its disk, started, killed as soon as it has \
            it, and started for good. Its state must be that of the others afterwards: leases, versions, remembered \
            answers, and who is a member (rules D1, X5, L3, W3).",
        setup: Setup { spares: 1, arguments: &["--snapshot-every", "200"], ..PLAIN },
        round: &[
            Step::Traffic((400, 800)),
            Step::Fault(Fault::Members(MemberFault::Outage(Target::Follower))),
            Step::Fault(Fault::Members(MemberFault::Return)),
            Step::Traffic((100, 300)),
            Step::OneIn(2, &[Step::Kill(Target::Leader), Step::AwaitWrites, Step::Restart]),
        ],
        demands: Demands::full(FaultName::SnapshotInstall),
        release: Release { runs: 10, rounds: 4 },
        ..BASE
    },
    Scenario {
        name: "operator-mistakes",
        summary: "commands that would take the quorum away, or ask for what cannot be",
        explanation: "Each round a learner joins and dies, then a voter dies, and an operator tries what must not be: promote the \
                dead learner, hand leadership to the dead or to a learner, remove or demote one of the two voters that are left, \
                and the same of nodes that do not exist. Each is refused within six seconds, and after each a write is acknowledged; \
                a dead learner can be removed all the same (rules C2, C6, W6).",
        setup: Setup { spares: 1, ..PLAIN },
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Members(MemberFault::Mistakes)),
            Step::AwaitWrites,
            Step::Traffic((200, 400)),
        ],
        demands: Demands::full(FaultName::Mistake),
        release: Release { runs: 10, rounds: 2 },
        expected_errors: &["configuration change", "membership"],
        ..BASE
    },
];
