//! What may happen under a seed: the cluster's shape, its timing, and which kinds of faults are switched on.
//!
//! Invariant: a plan follows from its seed alone. Each seed has a random subset of the faults, so that combinations are
//! tried that a run with everything at once would drown.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::history::FaultName;

/// Silence after which a peer expires.
pub(super) const PEER_TTL: Duration = Duration::from_millis(1_000);
/// A new leader expires nobody for this long.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FaultKind {
    /// One machine loses power.
    CrashOne,
    /// Some or all machines lose power at once.
    CrashMany,
    /// A machine loses power at a delicate moment: it just voted, took or installed a snapshot,
    /// purged, changed members.
    CrashAtMoment,
    /// The cluster falls into two parts.
    Partition,
    /// Each pair of machines may be cut, by chance.
    Graph,
    /// The leader reaches one machine of a majority that is whole without it.
    Bridge,
    /// Leadership is handed over, and the machine that would get it is lost at that moment.
    TransferLoss,
    /// One machine does not hear another.
    OneWay,
    /// Messages between two machines are kept and delivered late, all at once.
    Hold,
    /// A disk gets slow.
    SlowDisk,
    /// A disk reports an error; the node has to end.
    DiskError,
    /// Members come and go, and leadership is handed over.
    Churn,
    /// The machines' clocks run at different rates.
    Clocks,
}

/// All of them.
pub(super) const FAULT_KINDS: [FaultKind; 13] = [
    FaultKind::CrashOne,
    FaultKind::CrashMany,
    FaultKind::CrashAtMoment,
    FaultKind::Partition,
    FaultKind::Graph,
    FaultKind::Bridge,
    FaultKind::TransferLoss,
    FaultKind::OneWay,
    FaultKind::Hold,
    FaultKind::SlowDisk,
    FaultKind::DiskError,
    FaultKind::Churn,
    FaultKind::Clocks,
];

/// Kinds that a quiet world has one of: they leave a majority, or not, for as long as they last.
const OF_QUIET_WORLDS: [FaultKind; 4] =
    [FaultKind::Partition, FaultKind::Graph, FaultKind::Bridge, FaultKind::TransferLoss];

impl FaultKind {
    /// Its name in reports.
    pub(super) fn name(self) -> FaultName {
        match self {
            Self::CrashOne => FaultName::CrashOne,
            Self::CrashMany => FaultName::CrashMany,
            Self::CrashAtMoment => FaultName::CrashAtMoment,
            Self::Partition => FaultName::Partition,
            Self::Graph => FaultName::PartitionGraph,
            Self::Bridge => FaultName::PartitionBridge,
            Self::TransferLoss => FaultName::TransferLoss,
            Self::OneWay => FaultName::PartitionOneWay,
            Self::Hold => FaultName::Hold,
            Self::SlowDisk => FaultName::SlowDisk,
            Self::DiskError => FaultName::DiskError,
            Self::Churn => FaultName::Churn,
            Self::Clocks => FaultName::ClockRates,
        }
    }
}

/// A seed's plan.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Founding voters.
    pub(super) founders: u64,
    /// Machines; those that are no founders wait to be added.
    pub(super) machines: u64,
    pub(super) kinds: Vec<FaultKind>,
    /// One fault at a time, of one kind, and for long: wherever a majority is left, writes must go on meanwhile (C7).
    pub(super) quiet: bool,
    /// Shortest and longest time of a message on its way.
    pub(super) latency: (Duration, Duration),
    /// Shortest and longest time of one step of a disk.
    pub(super) disk: (Duration, Duration),
    /// Entries between two snapshots.
    pub(super) snapshot_every: u64,
    /// Mean time between two faults.
    pub(super) fault_pause: Duration,
    /// Length of the phase with faults.
    pub(super) safety: Duration,
    pub(super) clients: usize,
    pub(super) files: usize,
    /// Rate of each machine's clock in percent.
    pub(super) rates: Vec<u32>,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut kinds: Vec<FaultKind> = FAULT_KINDS.into_iter().filter(|_| rng.random_bool(0.45)).collect();
        // The simulated network cannot hold one direction of a link and cut the other.
        if kinds.contains(&FaultKind::Hold) {
            kinds.retain(|kind| *kind != FaultKind::OneWay);
        }
        if !kinds.iter().any(|kind| !matches!(kind, FaultKind::Clocks | FaultKind::Churn | FaultKind::SlowDisk)) {
            kinds.push(FaultKind::CrashOne);
        }
        let founders = *pick(&mut rng, &[3, 3, 3, 3, 3, 3, 4, 5, 5]);
        let quiet = rng.random_bool(0.2);
        if quiet {
            return Self::quiet(seed, rng);
        }
        let machines = founders + u64::from(kinds.contains(&FaultKind::Churn));
        let ms = Duration::from_millis;
        let latency = (ms(1), ms(*pick(&mut rng, &[4, 10, 20, 50])));
        let rates = (0..machines)
            .map(|_| if kinds.contains(&FaultKind::Clocks) { *pick(&mut rng, &[50, 80, 100, 125, 200]) } else { 100 })
            .collect();
        Self {
            seed,
            founders,
            machines,
            kinds,
            quiet,
            latency,
            disk: (ms(1), ms(*pick(&mut rng, &[2, 5, 8]))),
            snapshot_every: *pick(&mut rng, &[20, 50, 100]),
            fault_pause: ms(*pick(&mut rng, &[600, 1_200, 2_400])),
            safety: ms(rng.random_range(6_000..9_000)),
            clients: rng.random_range(3..=5),
            files: rng.random_range(2..=4),
            rates,
        }
    }

    /// A plan whose faults come one by one, on a network and disks that are as quick as those of one site.
    fn quiet(seed: u64, mut rng: StdRng) -> Self {
        let ms = Duration::from_millis;
        let kind = *pick(&mut rng, &OF_QUIET_WORLDS);
        let founders =
            if kind == FaultKind::Bridge { *pick(&mut rng, &[4, 5]) } else { *pick(&mut rng, &[3, 4, 5, 5]) };
        Self {
            seed,
            founders,
            machines: founders,
            kinds: vec![kind],
            quiet: true,
            latency: (ms(1), ms(*pick(&mut rng, &[2, 4, 10]))),
            disk: (ms(1), ms(*pick(&mut rng, &[2, 5]))),
            snapshot_every: *pick(&mut rng, &[50, 100]),
            fault_pause: ms(0),
            safety: ms(rng.random_range(14_000..18_000)),
            clients: 3,
            files: 3,
            rates: vec![100; founders as usize],
        }
    }

    /// Whether a kind is switched on.
    pub(super) fn has(&self, kind: FaultKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The fastest clock: a lease may end this much earlier on its holder's clock (T2 speaks of the leader's).
    pub(super) fn fastest_permille(&self) -> u32 {
        10 * self.rates.iter().copied().max().unwrap_or(100).max(100)
    }

    /// A stream of chance for one purpose.
    pub(super) fn rng(&self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(purpose))
    }
}

/// One of some values.
pub(super) fn pick<'a, T>(rng: &mut StdRng, values: &'a [T]) -> &'a T {
    &values[rng.random_range(0..values.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_planned_now_and_then_and_none_always() {
        let plans: Vec<Plan> = (0..300).map(Plan::new).collect();
        for kind in FAULT_KINDS {
            let planned = plans.iter().filter(|plan| plan.has(kind)).count();
            assert!((30..270).contains(&planned), "{kind:?} in {planned} of 300 plans");
        }
        assert!(plans.iter().all(|plan| !(plan.has(FaultKind::Hold) && plan.has(FaultKind::OneWay))));
        for kind in OF_QUIET_WORLDS {
            let quiet = plans.iter().filter(|plan| plan.quiet && plan.kinds == [kind]).count();
            assert!(quiet > 3, "{kind:?} in {quiet} quiet worlds of 300 plans");
        }
        assert!(plans.iter().filter(|plan| plan.quiet).all(|plan| plan.kinds.len() == 1));
    }
}
