//! Peers that share folders, come and go, and have damaged copies.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::peers::PeerFault;
use crate::history::FaultName;

const SETUP: Setup = Setup { peers: 5, arguments: &["--peer-ttl", "2s", "--grace", "1s", "--replicas", "2"], ..PLAIN };

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "peer-churn",
        summary: "peers with shared folders are killed, stopped and started again, with new files in between",
        explanation: "Five peers share folders, every file is wanted on two. Each round one is killed, one stopped for \
            longer than the peer time to live, and one comes back with another file; in one round of two the leader of \
            the index is killed meanwhile. At the end every file is back at two live copies, and every copy that counts \
            has the file's bytes on its disk (rules P3 to P5, F4, F8, M1, M2).",
        setup: SETUP,
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Peers(PeerFault::Kill)),
            Step::Fault(Fault::Peers(PeerFault::Pause)),
            Step::OneIn(2, &[Step::Kill(Target::Leader), Step::AwaitWrites, Step::Restart]),
            Step::Traffic((2_000, 4_000)),
            Step::Heal,
            Step::Traffic((500, 1_000)),
            Step::Fault(Fault::Peers(PeerFault::Extend)),
            Step::Traffic((200, 500)),
            Step::Heal,
        ],
        demands: Demands::full(FaultName::PeerKill),
        release: Release { runs: 10, rounds: 3 },
        ..BASE
    },
    Scenario {
        name: "corrupt-source",
        summary: "a copy is changed on a peer's disk behind its back, and is the only one left to copy from",
        explanation: "Each round one byte of a file is changed on the disk of one of its holders and the others are \
            killed, so that whoever makes a new copy meets the damaged one. It may not take over the wrong bytes, nor \
            may the damaged copy go on counting; when the sound holders are back, every file has two live copies with \
            its bytes (rules F4, F8, M4; bug class B14).",
        setup: SETUP,
        round: &[
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Peers(PeerFault::Corrupt)),
            Step::Traffic((3_000, 4_500)),
            Step::Heal,
            Step::Traffic((800, 1_500)),
        ],
        demands: Demands::full(FaultName::Corrupt),
        release: Release { runs: 10, rounds: 3 },
        ..BASE
    },
];
