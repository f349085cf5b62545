//! The faults that a history can name, and what checkers and reports need to know about each.
//!
//! Invariant: [`FaultName::facts`] is one match without a default, so a new fault does not compile until somebody has
//! said what it means for every checker. The words in a history file are the names in kebab case; they never change.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The name of a fault, or of what ends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum FaultName {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// A dead node was started again.
    Restart,
    /// Faults of one family were removed.
    Heal,

    /// Nodes were cut off from the rest.
    Cut,
    /// Every node reaches only its neighbours in a ring.
    Ring,
    /// The leader reaches only one follower, which reaches all others.
    Bridge,
    /// One direction of links was cut.
    OneWay,
    /// Links go up and down.
    Flap,
    /// Links are slow or lossy.
    Slow,
    /// Bits were flipped, on the links or in a peer's copy of a file.
    Corrupt,
    /// Nodes came back at other addresses.
    Move,

    /// A node's disk lost what was not synced, and the process was killed.
    PowerCut,
    /// A disk works again.
    PowerOn,
    /// A node's disk has no space left.
    DiskFull,
    /// A full disk has space again.
    DiskFreed,
    /// A node's disk fails every read and write.
    DiskError,
    /// A node whose disk failed ended.
    StorageExit,

    /// Bits of a file were flipped.
    BitFlip,
    /// The end of a file was cut off or overwritten with zeros.
    TornTail,
    /// All files of a node were removed.
    Wipe,
    /// A node with damaged files serves.
    Healthy,
    /// A node with damaged files refuses to start.
    RefusedStart,
    /// A node was started without its data under its old id.
    EmptyStart,
    /// A new node took the place of one that is gone for good.
    Replace,
    /// A node's directory was replaced by an older copy.
    StaleCopy,
    /// A node that runs on an older copy of its directory was taken in again.
    OlderCopy,
    /// A copy of a node was started beside it, or instead of it.
    Clone,

    /// A wall clock jumped.
    ClockJump,
    /// A node's clocks run at another rate.
    ClockRate,
    /// A node's clocks are right again.
    ClockHeal,

    /// A node gets little processor time.
    Starve,
    /// A starved node runs again.
    Feed,

    /// The membership was changed.
    Change,
    /// A node was lost for good.
    Loss,
    /// A node joined.
    Join,
    /// An operator gave a command that the cluster has to refuse.
    Mistake,
    /// A node was away until only a snapshot helps it.
    Outage,
    /// A node was killed while it received a snapshot.
    KillBeforeInstall,
    /// A node was killed just after it had received a snapshot.
    KillAfterInstall,
    /// A node came back through a snapshot.
    SnapshotInstall,

    /// A fault of a peer that could not be tried.
    Peer,
    /// A peer was killed.
    PeerKill,
    /// A peer was stopped.
    PeerPause,
    /// A killed peer's folder got another file.
    PeerExtend,
    /// A stopped peer runs again.
    PeerContinue,
    /// A killed peer was started again.
    PeerRestart,

    /// A lease holder was stopped until after its lease had ended.
    HolderPause,
    /// Strangers flood the nodes' ports.
    Flood,

    /// Simulated: one machine lost power.
    CrashOne,
    /// Simulated: some or all machines lost power at once.
    CrashMany,
    /// Simulated: a machine lost power at a delicate moment.
    CrashAtMoment,
    /// Simulated: the cluster fell into two parts.
    Partition,
    /// Simulated: pairs of machines were cut by chance.
    PartitionGraph,
    /// Simulated: the leader reaches one machine of a majority that is whole without it.
    PartitionBridge,
    /// Simulated: one machine does not hear another.
    PartitionOneWay,
    /// Simulated: leadership was handed to a machine that was lost right then.
    TransferLoss,
    /// Simulated: messages were kept and delivered late.
    Hold,
    /// Simulated: a disk got slow.
    SlowDisk,
    /// Simulated: members came and went.
    Churn,
    /// Simulated: the machines' clocks run at different rates.
    ClockRates,
}

/// How a fault shows on a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The process is gone until it is started again.
    Down,
    /// The process is stopped until it is continued.
    Paused,
    /// The node is disturbed until the fault is removed.
    Disturbed,
    /// It happens in a moment.
    Moment,
    /// It ends `Down`.
    Restarts,
    /// It ends `Paused`.
    Resumes,
    /// It ends `Disturbed`.
    Repairs,
}

/// What checkers and reports need to know about a fault.
struct Facts {
    span: Span,
    strikes_process: bool,
    voids_leader_reads: bool,
    refusals: &'static [&'static str],
}

impl Facts {
    /// A fault that no checker makes an exception for.
    const fn plain(span: Span) -> Self {
        Self { span, strikes_process: false, voids_leader_reads: false, refusals: &[] }
    }

    const fn strikes_process(self) -> Self {
        Self { strikes_process: true, ..self }
    }

    const fn voids_leader_reads(self) -> Self {
        Self { voids_leader_reads: true, ..self }
    }

    const fn explains(self, refusals: &'static [&'static str]) -> Self {
        Self { refusals, ..self }
    }
}

impl FaultName {
    const fn facts(self) -> Facts {
        use Span::{Disturbed, Down, Moment, Paused, Repairs, Restarts, Resumes};
        match self {
            Self::Kill | Self::Terminate => Facts::plain(Down).strikes_process(),
            Self::Stop => Facts::plain(Paused).strikes_process().voids_leader_reads(),
            Self::Continue => Facts::plain(Resumes),
            Self::Restart => Facts::plain(Restarts).strikes_process(),
            Self::Heal | Self::Healthy | Self::PowerOn | Self::DiskFreed => Facts::plain(Repairs),
            Self::ClockHeal | Self::Feed | Self::PeerContinue | Self::PeerRestart => Facts::plain(Repairs),
            Self::Cut | Self::Ring | Self::Bridge | Self::OneWay | Self::Flap => Facts::plain(Disturbed),
            Self::Slow | Self::Corrupt | Self::Move => Facts::plain(Disturbed),
            Self::PowerCut => Facts::plain(Down).strikes_process().explains(&["storage_failed"]),
            Self::DiskFull | Self::DiskError => Facts::plain(Disturbed).explains(&["storage_failed"]),
            Self::StorageExit | Self::Outage => Facts::plain(Down),
            Self::BitFlip | Self::TornTail | Self::Wipe | Self::Join => {
                Facts::plain(Moment).explains(&["not_initialized"])
            }
            Self::RefusedStart | Self::EmptyStart | Self::Replace | Self::SnapshotInstall => Facts::plain(Moment),
            Self::StaleCopy | Self::Clone => {
                Facts::plain(Disturbed).explains(&["not_initialized", "diverged", "removed"])
            }
            Self::OlderCopy | Self::ClockJump => Facts::plain(Disturbed),
            Self::ClockRate => Facts::plain(Disturbed).voids_leader_reads(),
            Self::Starve => Facts::plain(Disturbed).strikes_process().voids_leader_reads(),
            Self::Change => Facts::plain(Moment).explains(&["removed"]),
            Self::Loss => Facts::plain(Moment).explains(&["not_initialized", "removed"]),
            Self::Mistake => Facts::plain(Disturbed).explains(&["not_initialized", "removed"]),
            Self::KillBeforeInstall | Self::KillAfterInstall => Facts::plain(Disturbed),
            Self::Peer | Self::PeerKill | Self::PeerPause | Self::PeerExtend => Facts::plain(Disturbed),
            Self::HolderPause | Self::Flood => Facts::plain(Disturbed),
            // The simulator records which faults it drew, and not when each one ended.
            Self::CrashOne | Self::CrashMany | Self::CrashAtMoment => Facts::plain(Disturbed),
            Self::Partition | Self::PartitionGraph | Self::PartitionBridge => Facts::plain(Disturbed),
            Self::PartitionOneWay | Self::TransferLoss | Self::Hold => Facts::plain(Disturbed),
            Self::SlowDisk | Self::Churn | Self::ClockRates => Facts::plain(Disturbed),
        }
    }

    /// How it shows on a timeline.
    pub const fn span(self) -> Span {
        self.facts().span
    }

    /// Whether it ends a node's process.
    pub const fn ends_process(self) -> bool {
        matches!(self.span(), Span::Down)
    }

    /// Whether it ends a fault, rather than being one.
    pub const fn ends_fault(self) -> bool {
        matches!(self.span(), Span::Restarts | Span::Resumes | Span::Repairs)
    }

    /// Whether it strikes a node's process, rather than its links, disk or clock.
    pub const fn strikes_process(self) -> bool {
        self.facts().strikes_process
    }

    /// Whether it voids the clock assumption of leader reads (R1): a process was stopped or starved, or a clock runs at
    /// another rate.
    pub const fn voids_leader_reads(self) -> bool {
        self.facts().voids_leader_reads
    }

    /// Whether a node may refuse requests with this code because of the fault.
    pub fn explains(self, code: &str) -> bool {
        self.facts().refusals.contains(&code)
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| formatter.pad(value.get_name()))
    }
}

/// A history names a fault that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown fault `{0}`; check this history with the revision of the program that its first line names")]
pub struct UnknownFault(String);

impl TryFrom<String> for FaultName {
    type Error = UnknownFault;

    fn try_from(name: String) -> Result<Self, UnknownFault> {
        Self::from_str(&name, false).map_err(|_| UnknownFault(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(test: impl Fn(FaultName) -> bool) -> String {
        let all = FaultName::value_variants().iter().filter(|name| test(**name));
        all.map(FaultName::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_name_is_written_and_read_as_the_same_word() {
        for name in FaultName::value_variants() {
            let json = serde_json::to_string(name).expect("JSON");
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<FaultName>(&json).expect("known"), *name);
        }
        let error = serde_json::from_str::<FaultName>("\"earthquake\"").expect_err("unknown").to_string();
        assert!(error.contains("unknown fault `earthquake`") && error.contains("revision"), "{error}");
    }

    #[test]
    fn checkers_make_exceptions_for_these_faults_only() {
        assert_eq!(names(FaultName::voids_leader_reads), "stop clock-rate starve");
        assert_eq!(names(FaultName::strikes_process), "kill terminate stop restart power-cut starve");
        assert_eq!(names(FaultName::ends_process), "kill terminate power-cut storage-exit outage");
        let repairs = "continue restart heal power-on disk-freed healthy clock-heal feed peer-continue peer-restart";
        assert_eq!(names(FaultName::ends_fault), repairs);
        let explaining = |code| names(|name| name.explains(code));
        assert_eq!(explaining("storage_failed"), "power-cut disk-full disk-error");
        assert_eq!(explaining("not_initialized"), "bit-flip torn-tail wipe stale-copy clone loss join mistake");
        assert_eq!(explaining("diverged"), "stale-copy clone");
        assert_eq!(explaining("removed"), "stale-copy clone change loss mistake");
    }
}
