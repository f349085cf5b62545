//! Disks that lose what was not synced, are full, or fail.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::disk::{DiskFault, DiskKind};
use crate::history::FaultName;

const LOOP: Setup = Setup { disks: Some(DiskKind::Loop), ..PLAIN };

/// What a node writes when its disk is gone: its log store's own words and panics in its threads, and what the Raft
/// library says about requests that meet a core that stopped.
pub(super) const STORAGE_ERRORS: &[&str] = &[
    "hit error while",
    "storage failed",
    "Input/output error",
    "No space left on device",
    "/pagecache/",
    "to RaftCore",
    "from RaftCore",
    "rx recv error",
    "raft stopped",
    "failed to report metrics",
];

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "power-cut-one",
        summary: "loss of power of the leader, then of a follower, in the middle of lease updates",
        explanation: "Every node's data is on an ext4 file system of its own. Each round the leader's, later a \
            follower's file system is shut down without writing its journal, 0 to 20 ms after a client sent a lease \
            update, and the process killed at the same moment: what it had not synced is gone. It comes back with what \
            is on the disk. Nothing acknowledged may be missing, no vote be forgotten (rules W1, W3, C3, L1 to L3, X1). \
            Needs root and loop devices.",
        setup: LOOP,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::Leader))),
            Step::AwaitWrites,
            Step::Heal,
            Step::Restart,
            Step::Traffic((300, 700)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::Follower))),
            Step::AwaitWrites,
            Step::Heal,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::PowerCut),
        release: Release { runs: 10, rounds: 8 },
        expected_errors: STORAGE_ERRORS,
        ..BASE
    },
    Scenario {
        name: "power-cut-all",
        summary: "loss of power of every node at the same moment",
        explanation: "Each round every node's file system is shut down within microseconds without writing its journal, \
            and all processes are killed: what was not synced is gone everywhere. Everything acknowledged must still be \
            there when the power is back, on a majority's disks (rules W1, W3, L3, X5). Needs root and loop devices.",
        setup: LOOP,
        round: &[
            Step::Traffic((600, 1_200)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::PowerCut(Target::All))),
            Step::Heal,
            Step::Restart,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::PowerCut),
        release: Release { runs: 10, rounds: 12 },
        expected_errors: STORAGE_ERRORS,
        ..BASE
    },
    Scenario {
        name: "disk-full",
        summary: "no space left on the leader's disk, then on a follower's",
        explanation: "Each round all free space of the leader's, later of a follower's file system is taken. The node             acknowledges nothing more, answers storage_failed and ends by itself within seconds, with a message that             names the directory; the others go on. Once there is space again it is started and catches up (rules W1,             W4, R4). Needs root and loop devices.",
        setup: Setup { arguments: &["--snapshot-every", "100"], ..LOOP },
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::Fill(Target::Leader))),
            Step::AwaitWrites,
            Step::Fault(Fault::Disk(DiskFault::AwaitExit)),
            Step::AwaitWrites,
            Step::Heal,
            Step::Restart,
            Step::Traffic((500, 900)),
            Step::Fault(Fault::Disk(DiskFault::Fill(Target::Follower))),
            Step::AwaitWrites,
            Step::Fault(Fault::Disk(DiskFault::AwaitExit)),
            Step::Heal,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::StorageExit),
        release: Release { runs: 10, rounds: 6 },
        expected_errors: STORAGE_ERRORS,
        ..BASE
    },
    Scenario {
        name: "disk-error",
        summary: "I/O errors on the leader's disk, then on a follower's, and loss of what was not synced",
        explanation: "Each round everything that the leader, later a follower, reads or writes starts to fail with EIO             in the middle of lease updates. The node acknowledges nothing more, never tries a sync again, and ends by             itself within seconds with a message that names the directory. What it had not synced is lost; started             again it has everything it acknowledged (rules W1, W3, W4). Needs root and loop devices.",
        setup: LOOP,
        round: &[
            Step::Traffic((400, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::Fail(Target::Leader))),
            Step::AwaitWrites,
            Step::Fault(Fault::Disk(DiskFault::AwaitExit)),
            Step::Heal,
            Step::Restart,
            Step::Traffic((500, 900)),
            Step::AfterUpdate((0, 20_000)),
            Step::Fault(Fault::Disk(DiskFault::Fail(Target::Follower))),
            Step::AwaitWrites,
            Step::Fault(Fault::Disk(DiskFault::AwaitExit)),
            Step::Heal,
            Step::Restart,
        ],
        demands: Demands::full(FaultName::StorageExit),
        release: Release { runs: 10, rounds: 6 },
        expected_errors: STORAGE_ERRORS,
        ..BASE
    },
];
