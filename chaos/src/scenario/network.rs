//! Links between nodes that are cut, slow, or break.

use super::{BASE, PLAIN, Release, Scenario, Setup, Step, Target};
use crate::checker::validity::Demands;
use crate::fault::Fault;
use crate::fault::network::{NetworkFault, Slow};
use crate::history::FaultName;

const LINKS: Setup = Setup { links: true, ..PLAIN };
const FIVE: Setup = Setup { nodes: 5, ..LINKS };
const FOUR: Setup = Setup { nodes: 4, ..LINKS };
const TEN: Release = Release { runs: 10, rounds: 5 };

const fn link(fault: NetworkFault) -> Step {
    Step::Fault(Fault::Network(fault))
}

const fn slow(slow: Slow) -> Step {
    link(NetworkFault::Slow(slow))
}

const BRIDGE: &[Step] = &[
    Step::Traffic((400, 900)),
    link(NetworkFault::Bridge),
    Step::AwaitWritesWithin(2_500),
    Step::Traffic((1_000, 2_500)),
    Step::Heal,
    Step::AwaitWrites,
];

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "partition-leader",
        summary: "the leader is cut off with a minority, or alone",
        explanation: "Each round the leader, alone or with as many others as leave a minority, is cut off from the rest \
            for 1.5 to 3.5 s while clients go on talking to every node. From the minority come no acknowledged write and \
            no strong read, its stale reads go on, and when the cut heals, with connections resumed or reset, its \
            leftovers end no lease and overwrite nothing (rules R1, R4, W1, T2, L3).",
        setup: FIVE,
        round: &[
            Step::Traffic((400, 900)),
            link(NetworkFault::IsolateLeader),
            Step::AwaitWrites,
            Step::Traffic((1_500, 3_500)),
            Step::Heal,
            Step::AwaitWrites,
            Step::Traffic((300, 700)),
        ],
        demands: Demands::reduced(FaultName::Cut),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "partition-minority",
        summary: "a follower is cut off from everybody",
        explanation: "Each round one follower hears nobody and is heard by nobody for 1.5 to 3.5 s. Writes go on; the \
            follower serves stale reads and nothing stronger, and its return deposes nobody for long (rules R2, R4, W1).",
        setup: LINKS,
        round: &[
            Step::Traffic((400, 900)),
            link(NetworkFault::IsolateFollower),
            Step::AwaitWrites,
            Step::Traffic((1_500, 3_500)),
            Step::Heal,
            Step::Traffic((500, 900)),
        ],
        demands: Demands::reduced(FaultName::Cut),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "partition-ring",
        summary: "five nodes, each of which reaches only its two neighbours",
        explanation: "Each round the nodes stand in a ring of random order and every other link is cut, so that each node \
            sees a majority, but each another one. Any of them may lead, and only one of them at a time (rules L1, W1, R1).",
        setup: FIVE,
        round: &[
            Step::Traffic((400, 900)),
            link(NetworkFault::Ring),
            Step::AwaitWrites,
            Step::Traffic((1_000, 2_500)),
            Step::Heal,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::Ring),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "partition-bridge",
        summary: "the leader of five nodes reaches one follower, and that one reaches two others; the fifth reaches nobody",
        explanation: "Each round all links of the leader are cut but one. The follower at its end reaches two others, and the \
            three are a majority that none of them can do without. The leader keeps that follower's lease alive unless it \
            falls silent. Writes are acknowledged again within 2 s while the cut lasts (half a second more is for proving \
            that it does), and only one node leads at a time (rules C7, L1, W1, R1).",
        setup: FIVE,
        round: BRIDGE,
        demands: Demands::reduced(FaultName::Bridge),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "partition-bridge-4",
        summary: "the leader of four nodes reaches one follower, and that one reaches all the others",
        explanation: "Each round all links of the leader are cut but one. The follower at its end reaches everybody, so that the \
            others are a whole majority without the leader, which keeps that follower's lease alive unless it falls silent. \
            Writes are acknowledged again within 2 s while the cut lasts (half a second more is for proving that it does), \
            and only one node leads at a time (rules C7, L1, W1, R1).",
        setup: FOUR,
        round: BRIDGE,
        demands: Demands::reduced(FaultName::Bridge),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "partition-one-way",
        summary: "links that pass bytes in one direction only",
        explanation: "Each round one direction is cut for 0.7 to 2.5 s: nobody hears the leader, the leader hears nobody, or \
            one node does not hear one other. A leader that is not heard, or hears nothing, leads nobody (rules R1, W1, T2).",
        setup: LINKS,
        round: &[
            Step::Traffic((400, 900)),
            link(NetworkFault::OneWay),
            Step::AwaitWrites,
            Step::Traffic((700, 2_500)),
            Step::Heal,
            Step::AwaitWrites,
            Step::Traffic((200, 500)),
        ],
        demands: Demands::reduced(FaultName::OneWay),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "flapping",
        summary: "one node's links go up and down every 50 to 500 ms",
        explanation: "Each round every direction of one node's links, often the leader's, goes up and down by itself for 1 \
            to 2.5 s. No lease is lost early and nothing acknowledged is lost; after healing writes are back (rules W1, L3, \
            R1).",
        setup: LINKS,
        round: &[
            Step::Traffic((400, 900)),
            link(NetworkFault::Flap),
            Step::Traffic((1_000, 2_500)),
            Step::Heal,
            Step::AwaitWrites,
            Step::Traffic((300, 700)),
        ],
        demands: Demands::reduced(FaultName::Flap),
        release: TEN,
        ..BASE
    },
    Scenario {
        name: "slow-network",
        summary: "delay, loss, narrow links and resets between all nodes, with timeouts made for it",
        explanation: "Each round all links are late by 75 ± 50 ms, then lossy (10 to 50 %, as TCP shows it: waits of 200 ms and \
            more), then break one connection in fifty chunks; some rounds 500 ms late. The nodes run with a heartbeat of 400 \
            ms and elections after 2 to 4 s, as for distant sites. Writes go on, slowly (rules W1, L3, R1).",
        setup: Setup { arguments: &["--heartbeat=400ms", "--election=2s..4s"], ..LINKS },
        round: &[
            Step::Traffic((300, 600)),
            slow(Slow::Wan),
            Step::AwaitWrites,
            Step::Traffic((600, 1_200)),
            slow(Slow::Lossy),
            Step::Traffic((1_000, 2_000)),
            slow(Slow::Resets),
            Step::Traffic((500, 1_000)),
            Step::OneIn(
                2,
                &[slow(Slow::Far), Step::Traffic((1_500, 2_500)), slow(Slow::Narrow), Step::Traffic((300, 900))],
            ),
            Step::Heal,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::Slow),
        release: Release { runs: 10, rounds: 3 },
        ..BASE
    },
    Scenario {
        name: "slow-network-defaults",
        summary: "the same with timeouts made for one site: nobody may be able to lead",
        explanation: "Links that are slower than the shortest election timeout of 120 ms allows: elections may fail for as long \
            as it lasts. Only safety is asked for meanwhile, and that writes come back after healing (rules W1, L3, R1).",
        setup: LINKS,
        round: &[
            Step::Traffic((400, 900)),
            slow(Slow::Wan),
            Step::Traffic((700, 1_200)),
            slow(Slow::Lossy),
            Step::Traffic((700, 1_200)),
            slow(Slow::Far),
            Step::Traffic((700, 1_200)),
            Step::Heal,
            Step::AwaitWrites,
            Step::Traffic((300, 700)),
        ],
        demands: Demands::reduced(FaultName::Slow),
        release: Release { runs: 10, rounds: 4 },
        ..BASE
    },
    Scenario {
        name: "corrupt-link",
        summary: "single bits of what nodes send each other arrive flipped",
        explanation: "Each round one chunk in twenty of Raft's own traffic, in both directions of every link, arrives with one \
            bit flipped: appends, votes, answers and snapshots. A damaged frame ends its connection and nothing else: no node \
            ends, no state differs, writes go on (rules N2, D1, W1). HTTP that one node forwards to another is left alone: it \
            has no checksum but TCP's.",
        setup: Setup { arguments: &["--snapshot-every", "200"], ..LINKS },
        round: &[
            Step::Traffic((300, 600)),
            link(NetworkFault::Corrupt),
            Step::AwaitWrites,
            Step::Traffic((1_000, 2_000)),
            Step::OneIn(2, &[Step::Kill(Target::Follower), Step::Traffic((600, 1_200)), Step::Restart]),
            Step::Traffic((500, 1_000)),
            Step::Heal,
            Step::AwaitWrites,
        ],
        demands: Demands::reduced(FaultName::Corrupt),
        release: TEN,
        ..BASE
    },
];
