//! What happened in a run, in the order of one clock: operations invoked and answered, faults, final reads.
//!
//! Invariants:
//! - every time is in microseconds on one monotonic clock of the runner's process, taken *before* a request is sent and
//!   *after* its answer arrived, so real-time order read from a history is never stronger than what really happened;
//! - an operation without an answer, or whose answer leaves open whether it was applied, is *unknown*, never failed;
//! - a history file is JSON lines and can be checked again by itself.

mod fault;
mod op;
mod txn;

use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};

pub use fault::{FaultName, Span};
pub use op::{Answer, Level, Op, Seen};
pub use txn::{Action, After, AttributeValue, Attributes, Branch, Change, Comparison, Condition, Txn};

/// Microseconds since the run began.
pub type Micros = u64;
/// Number of an operation within a run.
pub type OpId = u64;

/// Version of the file's format; `check` refuses others.
pub const FORMAT: u32 = 1;

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Micros,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// What a line can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First line: what ran.
    Run(RunInfo),
    /// A client is about to send a request.
    Invoke {
        /// Its number.
        id: OpId,
        /// Who sends.
        client: String,
        /// What.
        op: Op,
        /// Its idempotency key, where the runner chose it; the library keeps its own keys to itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The node it is sent to, where the runner chose it; a read names it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<NodeId>,
    },
    /// It was answered: done.
    Ok {
        /// The operation.
        id: OpId,
        /// The answer.
        answer: Answer,
        /// Whose state answered, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Seen>,
    },
    /// It was definitely not applied.
    Refused {
        /// The operation.
        id: OpId,
        /// The contract's code, such as `lease_expired`.
        code: String,
        /// In words.
        detail: String,
    },
    /// It may or may not have been applied.
    Unknown {
        /// The operation.
        id: OpId,
        /// Why nobody knows.
        reason: String,
    },
    /// A fault was tried.
    Fault(FaultRecord),
    /// After a fault, writes were acknowledged again.
    Recovered {
        /// Which round.
        round: u32,
        /// From the fault to the first acknowledged write sent after it, in microseconds.
        after_us: Micros,
    },
    /// From now on these living nodes reach no majority; none: every node may.
    Quorum {
        /// Which nodes.
        without: Vec<NodeId>,
        /// Whether some other node may reach one.
        majority: bool,
    },
    /// A node's process ended though nobody killed it.
    Exit {
        /// Which node.
        node: NodeId,
        /// How, as the system words it.
        status: String,
    },
    /// A node's process ended as it should after a fault, and said why.
    ExpectedExit {
        /// Which node.
        node: NodeId,
        /// How, as the system words it.
        status: String,
    },
    /// Something did not behave as it should under its fault, as the fault's family saw.
    Misbehaved {
        /// What it did, or failed to do.
        what: String,
    },
    /// Every fault was removed and the whole cluster serves again.
    Healed {
        /// How long that took after the last fault was removed, in microseconds.
        after_us: Micros,
    },
    /// The cluster did not serve again within the deadline.
    NotHealed {
        /// What was missing.
        reason: String,
    },
    /// A linearizable read of one file after healing; version 0 stands for "no such file".
    Final {
        /// Which node was asked.
        node: NodeId,
        /// The file.
        file: String,
        /// Its version.
        version: u64,
        /// Its hash.
        hash: String,
    },
    /// A linearizable read of a name's attributes after healing; none stand for "no such name" as well.
    FinalAttributes {
        /// Which node was asked.
        node: NodeId,
        /// The name.
        name: String,
        /// Its attributes.
        attributes: Attributes,
        /// The applied log index of the answer, if it told one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        applied: Option<u64>,
    },
    /// After healing, a published hash was looked up among the remembered versions.
    Audit {
        /// The file.
        file: String,
        /// The hash that an operation had published, or tried to.
        hash: String,
        /// The version that has this hash; absent if the index does not know it.
        version: Option<u64>,
    },
    /// Copies of a file after healing: what the index counts, held against what the peers have on their disks.
    Copies {
        /// The file.
        file: String,
        /// Copies it should have: the replication factor, or the number of live peers if they are fewer.
        wanted: u64,
        /// Live holders of the current version that the index counts.
        live: u64,
        /// Counted holders whose bytes on disk are not the file's.
        differing: Vec<String>,
    },
    /// A line of a node's log that says that something went wrong: level ERROR, or a panic.
    LogLine {
        /// Which node.
        node: NodeId,
        /// The line, cut to a bounded length.
        line: String,
    },
    /// A node's log was looked through for such lines.
    LogRead {
        /// Which node.
        node: NodeId,
        /// Lines it has.
        lines: u64,
    },
    /// What a node's process took, sampled every few seconds.
    Resources {
        /// Which node.
        node: NodeId,
        /// Resident memory in KiB.
        rss_kib: u64,
        /// Bytes below its data directory.
        data_bytes: u64,
    },
    /// Somebody else leads, as the nodes themselves say.
    Leader {
        /// Who.
        node: NodeId,
        /// Its term.
        term: u64,
    },
    /// Rounds that were done, where that is not the number that was planned.
    Rounds {
        /// How many.
        done: u32,
    },
    /// The run was interrupted from outside; its remaining rounds were not done.
    Interrupted,
    /// Every node's digest, taken while all had the same applied index.
    Digest {
        /// Which node.
        node: NodeId,
        /// At which applied log index.
        applied: u64,
        /// SHA-256 over its state.
        digest: String,
    },
}

/// What ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of its schedule and workload.
    pub seed: u64,
    /// Index nodes.
    pub nodes: u64,
    /// Rounds that were planned.
    pub rounds: u32,
    /// Version of the checked software.
    pub version: String,
    /// Revision of the sources of this program.
    #[serde(default)]
    pub revision: String,
    /// Clients.
    #[serde(default)]
    pub clients: usize,
    /// Seconds since 1970 when the run began, for people.
    #[serde(default)]
    pub started_at: u64,
    /// More arguments of every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_arguments: Vec<String>,
    /// Rounds went on until this many seconds were over, instead of `rounds` of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
    /// Fastest clock of a node relative to the clients', in thousandths; 0 means that all run alike.
    #[serde(default)]
    pub fastest_clock_permille: u32,
}

/// A fault and whether it took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// In which round.
    pub round: u32,
    /// Which.
    pub fault: FaultName,
    /// On which node.
    pub node: Option<NodeId>,
    /// Whether it led when it was hit.
    pub led: bool,
    /// Its term, if it led.
    pub term: Option<u64>,
    /// What became of the fault.
    pub outcome: FaultOutcome,
}

/// What became of a fault; a fault never "fails".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultOutcome {
    /// It took effect, and that was confirmed.
    Installed,
    /// It could not be tried, for this reason.
    Skipped(String),
    /// It may have taken effect.
    Indeterminate(String),
}
