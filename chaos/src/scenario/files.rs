//! Files of one node that are damaged or gone.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::files::FileFault;
use crate::history::FaultName;

/// Snapshots often enough that there are some to damage, and ports for nodes that take a damaged one's place.
const SETUP: Setup = Setup { spares: 2, arguments: &["--snapshot-every", "300"], ..PLAIN };
const ERRORS: &[&str] =
    &["data directory", "storage failed", "snapshot", "corrupt", "checksum", "configuration", "failed to"];

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bit-flip",
        summary: "bits flipped in a file of one node that is down",
        explanation: "Each round the leader, or the next node in turn, is killed, up to eight bits of one of its files \
            (log, snapshot, mark, identity) are flipped, and it is started. It either serves, with the state that all \
            others have, or refuses to start and says which directory is damaged; then it is wiped and a new node takes \
            its place. Afterwards the leader is killed, so that what the damaged node says counts. Nothing acknowledged \
            may be lost and no damage spread (rules W3, D1, D3, C3).",
        setup: SETUP,
        round: &[
            Step::Traffic((700, 1_200)),
            Step::AfterUpdate((0, 20_000)),
            Step::OneIn(2, &[Step::Fault(Fault::Files(FileFault::BitFlip(Target::Leader)))]),
            Step::Fault(Fault::Files(FileFault::BitFlip(Target::Follower))),
            Step::Traffic((100, 300)),
            Step::Kill(Target::Leader),
            Step::AwaitWrites,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::BitFlip),
        release: Release { runs: 10, rounds: 8 },
        expected_errors: ERRORS,
        ..BASE
    },
    Scenario {
        name: "torn-tail",
        summary: "the end of a file of one node that is down cut off or zeroed",
        explanation: "Each round the next node is killed, up to 8 KiB at the end of one of its files (log, snapshot, \
            mark, identity) are cut off or zeroed, as a disk does that lied about a sync, and it is started. It either \
            serves with the state that all others have, or refuses to start and says which directory is damaged; then a \
            new node takes its place. Afterwards the leader is killed, so that what the damaged node forgot would count. \
            Nothing acknowledged may be lost (rules W3, D1, C3).",
        setup: SETUP,
        round: &[
            Step::Traffic((700, 1_200)),
            Step::AfterUpdate((0, 20_000)),
            Step::OneIn(2, &[Step::Fault(Fault::Files(FileFault::TornTail(Target::Leader)))]),
            Step::Fault(Fault::Files(FileFault::TornTail(Target::Follower))),
            Step::Traffic((100, 300)),
            Step::Kill(Target::Leader),
            Step::AwaitWrites,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::TornTail),
        release: Release { runs: 10, rounds: 8 },
        expected_errors: ERRORS,
        ..BASE
    },
    Scenario {
        name: "wipe-node",
        summary: "a node loses its data directory and comes back as a new member",
        explanation: "Each round the leader or a follower is killed and its data directory removed. Half of the time it \
            is first started as if nothing had happened: the others must not let it in under its old id, because it may \
            have voted. Then a new node with a new id joins as a learner, is promoted, and the old one removed (rules C2, \
            C3, W3).",
        setup: SETUP,
        round: &[
            Step::Traffic((700, 1_200)),
            Step::AfterUpdate((0, 20_000)),
            Step::OneIn(2, &[Step::Fault(Fault::Files(FileFault::Wipe(Target::Leader))), Step::AwaitWrites]),
            Step::Fault(Fault::Files(FileFault::Wipe(Target::Follower))),
            Step::AwaitWrites,
        ],
        demands: Demands::full(FaultName::Wipe),
        release: Release { runs: 10, rounds: 5 },
        expected_errors: ERRORS,
        ..BASE
    },
];
