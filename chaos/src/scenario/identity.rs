//! Nodes whose directories are copied, and nodes that come back at other addresses.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::files::FileFault;
use crate::fault::network::{Moved, NetworkFault};
use crate::history::FaultName;

const RELEASE: Release = Release { runs: 10, rounds: 3 };

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "stale-copy",
        summary: "a follower's directory is replaced by an older copy of itself",
        explanation: "Each round a follower's directory is copied while it is down, the follower runs on, and the copy is put in \
            its place. It must be recognised: `older copy` in /cluster, not ready, no vote and no acknowledgement, also while \
            the leader is killed. `replace N N` brings it back, and nothing acknowledged is lost (rules C3, W3).",
        round: &[
            Step::Traffic((400, 800)),
            Step::Fault(Fault::Files(FileFault::OlderCopy(Target::Follower))),
            Step::Traffic((300, 600)),
            Step::Kill(Target::Leader),
            Step::AwaitWrites,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::StaleCopy),
        release: RELEASE,
        expected_errors: &["older copy"],
        ..BASE
    },
    Scenario {
        name: "cloned-node",
        summary: "a copy of a voter's directory is started beside it, then instead of it",
        explanation: "Each round a copy of a follower's directory is started at another port while its original runs: the copy \
            ends with the reason, the original goes on. Then a copy is started while the original is down: it is a moved node, \
            acknowledges writes, and the original is an older copy from then on, until `replace N N`. Nothing acknowledged is \
            lost (rules C3, C4, C5, W3).",
        round: &[
            Step::Traffic((400, 800)),
            Step::Fault(Fault::Files(FileFault::CloneBeside(Target::Follower))),
            Step::AwaitWrites,
            Step::Fault(Fault::Files(FileFault::CloneInstead(Target::Follower))),
            Step::AwaitWrites,
            Step::Kill(Target::Leader),
            Step::AwaitWrites,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::Clone),
        release: RELEASE,
        expected_errors: &["older copy"],
        ..BASE
    },
    Scenario {
        name: "moved-nodes",
        summary: "one node, then all nodes come back at other addresses",
        explanation: "Each round one node is killed and comes back at another address, then all of them at once, each started with \
            the new `--members`. They find each other again within 10 s, and nothing acknowledged is lost (rules C4, W3). What \
            moves is where nodes reach each other; clients dial the same ports.",
        setup: Setup { links: true, ..PLAIN },
        round: &[
            Step::Traffic((400, 800)),
            Step::Fault(Fault::Network(NetworkFault::Move(Moved::One))),
            Step::AwaitWrites,
            Step::Traffic((300, 600)),
            Step::Fault(Fault::Network(NetworkFault::Move(Moved::All))),
            Step::AwaitWrites,
        ],
        demands: Demands::full(FaultName::Move),
        release: RELEASE,
        ..BASE
    },
];
