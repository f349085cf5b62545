//! Faults of the links between nodes: every node is advertised at the address of a proxy, so that all traffic
//! between nodes passes one; clients dial the nodes themselves.
//!
//! Invariants: a healed link passes every byte, in order; a cut counts as installed only after a
//! request that passed before was held by it.

mod diag;
mod link;
mod majority;
mod moves;
mod owner;
mod probe;
mod proxy;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use raft_store::types::NodeId;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Arena, Effect, Environment, Family, NodePlan};
use crate::history::{FaultName, FaultOutcome, Record};
use crate::scenario::Setup;
use link::{Counters, Direction, Links, Rule};
use majority::without_majority;
use owner::Owners;
pub use owner::Pids;

/// How long a link stays up or down while it flaps, in milliseconds.
const FLAP_MS: std::ops::RangeInclusive<u64> = 50..=500;
/// How long it may take until traffic shows the effect of a rule that strikes by chance.
const SHOWS_WITHIN: Duration = Duration::from_secs(3);
/// Share of the chunks between nodes that arrive with a flipped bit.
const FLIPPED: f64 = 0.05;
/// Pause between two polls at the counters.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// The leader, with as many others as leave a minority or alone, is cut off from the rest.
    IsolateLeader,
    /// A follower is cut off from everybody.
    IsolateFollower,
    /// Every node reaches its two neighbours in a ring only.
    Ring,
    /// The leader keeps one follower, which keeps everybody: a majority that is whole without the leader.
    Bridge,
    /// One direction is cut: of the leader, to the leader, or of a single pair.
    OneWay,
    /// Links go up and down until healing.
    Flap,
    /// Links are slow or lossy, all of them.
    Slow(Slow),
    /// Single bits of Raft's traffic arrive flipped, on all links.
    Corrupt,
    /// One node, or every node, is killed and comes back at another address.
    Move(Moved),
}

/// Who comes back at another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// One node.
    One,
    /// All of them, each told where all are.
    All,
}

/// How links are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// 75 ± 50 ms each way.
    Wan,
    /// 500 ms each way.
    Far,
    /// 10 to 50 % of the chunks are lost, and sent again after 200 ms or more.
    Lossy,
    /// One chunk in fifty breaks its connection.
    Resets,
    /// 16 KiB a second.
    Narrow,
}

/// The family's state in a run.
#[derive(Debug)]
pub struct Network {
    links: Links,
    owners: Owners,
    fronts: Vec<(NodeId, SocketAddr)>,
    /// Their proxies, in the same order.
    servers: Vec<JoinHandle<()>>,
    flapping: Option<JoinHandle<()>>,
    /// Parts that were cut off from the rest, one after the other, since the last healing.
    parts: Vec<BTreeSet<NodeId>>,
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in self.servers.drain(..).chain(self.flapping.take()) {
            task.abort();
        }
    }
}

impl Family for Network {
    type Fault = NetworkFault;

    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        Ok(setup.links.then(|| Self {
            links: Links::default(),
            owners: Owners::new(environment.pids.clone()),
            fronts: Vec::new(),
            servers: Vec::new(),
            flapping: None,
            parts: Vec::new(),
        }))
    }

    async fn shape(&mut self, plan: &mut NodePlan) -> anyhow::Result<()> {
        let (server, front) = self.front(plan.id, &plan.listen).await?;
        self.servers.push(server);
        self.fronts.push((plan.id, front));
        plan.advertise = Some(front.to_string());
        Ok(())
    }

    async fn inject(&mut self, fault: NetworkFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let ids = arena.cluster.ids();
        let leader = arena.leader.as_ref().map(|leader| leader.id);
        match (fault, leader) {
            (NetworkFault::IsolateLeader, Some(leader)) => {
                let mut others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != leader).collect();
                others.shuffle(&mut arena.rng);
                let company = arena.rng.random_range(0..=(ids.len() - 1) / 2 - 1);
                let minority = std::iter::once(leader).chain(others.into_iter().take(company)).collect();
                self.part(arena, FaultName::Cut, minority).await
            }
            (NetworkFault::IsolateFollower, Some(leader)) => {
                let followers: Vec<NodeId> = ids.into_iter().filter(|id| *id != leader).collect();
                let chosen = followers.choose(&mut arena.rng).copied();
                self.part(arena, FaultName::Cut, chosen.into_iter().collect()).await
            }
            (NetworkFault::OneWay, Some(leader)) => self.one_way(arena, leader).await,
            (NetworkFault::Bridge, Some(leader)) => self.bridge(arena, leader).await,
            (
                NetworkFault::IsolateLeader
                | NetworkFault::IsolateFollower
                | NetworkFault::OneWay
                | NetworkFault::Bridge,
                None,
            ) => Ok(vec![Effect::skipped(FaultName::Cut, "nobody leads")]),
            (NetworkFault::Ring, _) => self.ring(arena).await,
            (NetworkFault::Flap, _) => self.flap(arena, leader).await,
            (NetworkFault::Slow(slow), _) => self.slow(arena, slow).await,
            (NetworkFault::Corrupt, _) => self.corrupt().await,
            (NetworkFault::Move(Moved::One), _) => {
                let chosen = ids.choose(&mut arena.rng).copied();
                self.move_away(arena, &chosen.into_iter().collect::<Vec<_>>()).await
            }
            (NetworkFault::Move(Moved::All), _) => self.move_away(arena, &ids).await,
        }
    }

    async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        if let Some(flapping) = self.flapping.take() {
            flapping.abort();
            // Its end is awaited, or it might set one more rule; being aborted is how it ends.
            let _ = flapping.await;
        }
        // Before the first byte passes: from here on nobody counts as cut off.
        arena.recorder.record(Record::Quorum { without: Vec::new(), majority: true });
        self.parts.clear();
        let reset = arena.rng.random_bool(0.5);
        let healed = self.links.heal(reset);
        if healed.is_empty() {
            return Ok(Vec::new());
        }
        let how = if reset { "reset" } else { "resumed" };
        let words = format!("{} links healed, connections {how}", healed.len());
        Ok(vec![Effect::installed(FaultName::Heal, None, words)])
    }
}

impl Network {
    /// Starts a proxy in front of a node.
    async fn front(&self, id: NodeId, listen: &str) -> anyhow::Result<(JoinHandle<()>, SocketAddr)> {
        let port = node::testbed::free_ports(1)?.first().copied().context("no port for a proxy")?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("a proxy cannot listen")?;
        let front = listener.local_addr().context("a proxy has no address")?;
        let target: SocketAddr = listen.parse().context("a node's address is no address")?;
        let (links, owners) = (self.links.clone(), self.owners.clone());
        Ok((tokio::spawn(proxy::serve(listener, id, target, links, owners, id)), front))
    }

    /// Cuts a part of the nodes off from the rest, both ways.
    async fn part(&mut self, arena: &mut Arena<'_>, name: FaultName, part: Vec<NodeId>) -> anyhow::Result<Vec<Effect>> {
        let inside: BTreeSet<NodeId> = part.iter().copied().collect();
        let crosses = |direction: &Direction| inside.contains(&direction.0) != inside.contains(&direction.1);
        let cuts: Vec<Direction> = self.directions().into_iter().filter(crosses).collect();
        let outcome = self.cut(&cuts).await?;
        if outcome == FaultOutcome::Installed {
            self.parts.push(inside);
            let (without, majority) = without_majority(&arena.cluster.ids(), &self.parts);
            arena.recorder.record(Record::Quorum { without, majority });
        }
        let words = format!("n{part:?} cut off");
        let effect = |node| Effect { fault: name, node: Some(node), words: words.clone(), outcome: outcome.clone() };
        Ok(part.first().map(|node| effect(*node)).into_iter().collect())
    }

    async fn ring(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut order = arena.cluster.ids();
        order.shuffle(&mut arena.rng);
        let place = |id: NodeId| order.iter().position(|other| *other == id).unwrap_or(0);
        let apart = |(from, to): &Direction| {
            let distance = place(*from).abs_diff(place(*to));
            distance != 1 && distance != order.len() - 1
        };
        let cuts: Vec<Direction> = self.directions().into_iter().filter(apart).collect();
        let outcome = self.cut(&cuts).await?;
        Ok(vec![Effect { fault: FaultName::Ring, node: None, words: format!("ring n{order:?}"), outcome }])
    }

    async fn bridge(&mut self, arena: &mut Arena<'_>, leader: NodeId) -> anyhow::Result<Vec<Effect>> {
        let mut followers: Vec<NodeId> = arena.cluster.ids().into_iter().filter(|id| *id != leader).collect();
        followers.shuffle(&mut arena.rng);
        let (bridge, others) = followers.split_first().context("a cluster of one has no links")?;
        let bridge = *bridge;
        // Those that are left must need the bridge for a majority, or they would elect one of themselves without it.
        let needed = followers.len().div_ceil(2);
        let lost = others.get(needed..).unwrap_or_default().to_vec();
        let apart = |(from, to): Direction| {
            let of_leader = (from == leader && to != bridge) || (to == leader && from != bridge);
            of_leader || lost.contains(&from) || lost.contains(&to)
        };
        let outcome = self.cut(&self.where_(apart)).await?;
        let without: String = lost.iter().map(|id| format!(", and n{id} nobody")).collect();
        let words = format!("n{leader} (leader) reaches n{bridge} only, which reaches all others{without}");
        Ok(vec![Effect { fault: FaultName::Bridge, node: Some(leader), words, outcome }])
    }

    async fn corrupt(&mut self) -> anyhow::Result<Vec<Effect>> {
        let all = self.directions();
        let flips = |network: &Self| network.sum(&all, |counters| Counters::get(&counters.flips));
        let before = flips(self);
        for direction in &all {
            self.links.slow(*direction, Rule { flip: FLIPPED, ..Rule::default() });
        }
        let bites = self.shows(|network| flips(network) > before).await;
        let outcome = if bites { FaultOutcome::Installed } else { nothing_seen("no bit was flipped") };
        Ok(vec![Effect { fault: FaultName::Corrupt, node: None, words: "links flip bits".into(), outcome }])
    }

    async fn one_way(&mut self, arena: &mut Arena<'_>, leader: NodeId) -> anyhow::Result<Vec<Effect>> {
        let (words, cuts): (String, Vec<Direction>) = match arena.rng.random_range(0..4) {
            0 => (format!("n{leader} (leader) is not heard"), self.where_(|(from, _)| from == leader)),
            1 => (format!("n{leader} (leader) hears nobody"), self.where_(|(_, to)| to == leader)),
            2 => {
                let others: Vec<Direction> = self.where_(|(from, to)| from == leader || to == leader);
                let (from, to) = others.choose(&mut arena.rng).copied().context("a cluster of one has no links")?;
                (format!("n{to} does not hear n{from}"), vec![(from, to)])
            }
            _ => {
                let (from, to) =
                    self.directions().choose(&mut arena.rng).copied().context("a cluster of one has no links")?;
                (format!("n{to} does not hear n{from}"), vec![(from, to)])
            }
        };
        let outcome = self.cut(&cuts).await?;
        Ok(vec![Effect { fault: FaultName::OneWay, node: None, words, outcome }])
    }

    async fn flap(&mut self, arena: &mut Arena<'_>, leader: Option<NodeId>) -> anyhow::Result<Vec<Effect>> {
        let ids = arena.cluster.ids();
        let centre = match leader.filter(|_| arena.rng.random_bool(0.5)) {
            Some(leader) => leader,
            None => ids.choose(&mut arena.rng).copied().context("a cluster without nodes")?,
        };
        let links = self.where_(|(from, to)| from == centre || to == centre);
        let before = self.sum(&links, |counters| Counters::get(&counters.held));
        self.flapping = Some(tokio::spawn(flapping(self.links.clone(), links.clone(), arena.rng.random())));
        let bites = self.shows(|network| network.sum(&links, |counters| Counters::get(&counters.held)) > before).await;
        let outcome = if bites { FaultOutcome::Installed } else { nothing_seen("no byte was held") };
        let words = format!("links of n{centre} flap");
        Ok(vec![Effect { fault: FaultName::Flap, node: Some(centre), words, outcome }])
    }

    async fn slow(&mut self, arena: &mut Arena<'_>, slow: Slow) -> anyhow::Result<Vec<Effect>> {
        let ms = Duration::from_millis;
        let (words, rule) = match slow {
            Slow::Wan => ("75 ± 50 ms".to_owned(), Rule { delay: ms(25), jitter: ms(100), ..Rule::default() }),
            Slow::Far => ("500 ms".to_owned(), Rule { delay: ms(500), ..Rule::default() }),
            Slow::Lossy => {
                let loss = arena.rng.random_range(0.1..0.5);
                (format!("{:.0} % lost", loss * 100.0), Rule { loss, ..Rule::default() })
            }
            Slow::Resets => ("resets".to_owned(), Rule { reset: 0.02, ..Rule::default() }),
            Slow::Narrow => ("16 KiB/s".to_owned(), Rule { rate: Some(16 * 1_024), ..Rule::default() }),
        };
        let all = self.directions();
        let seen = |counters: &Counters| match slow {
            Slow::Wan | Slow::Far | Slow::Narrow => Counters::get(&counters.late),
            Slow::Lossy => Counters::get(&counters.lost),
            Slow::Resets => Counters::get(&counters.resets),
        };
        let before = self.sum(&all, seen);
        for direction in &all {
            self.links.slow(*direction, rule);
        }
        let bites = self.shows(|network| network.sum(&all, seen) > before).await;
        let outcome = if bites { FaultOutcome::Installed } else { nothing_seen("no chunk was touched") };
        Ok(vec![Effect { fault: FaultName::Slow, node: None, words: format!("links: {words}"), outcome }])
    }

    /// Cuts these directions, and proves it: a connection per direction, made and used before, is held afterwards.
    async fn cut(&self, cuts: &[Direction]) -> anyhow::Result<FaultOutcome> {
        let probes = cuts.iter().map(|direction| probe::Probe::open(*direction, &self.fronts, &self.owners));
        let mut probes = futures::future::join_all(probes).await;
        for direction in cuts {
            self.links.cut(*direction);
        }
        let held = futures::future::join_all(probes.iter_mut().flatten().map(|probe| probe.is_held())).await;
        Ok(if probes.iter().any(Result::is_err) {
            // A node may be down, for example; it cannot be reached anyway.
            nothing_seen("not every link passed a request before")
        } else if held.iter().all(|held| *held) {
            FaultOutcome::Installed
        } else {
            nothing_seen("a request passed a cut")
        })
    }

    async fn shows(&self, test: impl Fn(&Self) -> bool) -> bool {
        let look = async {
            while !test(self) {
                tokio::time::sleep(POLL_PAUSE).await;
            }
        };
        tokio::time::timeout(SHOWS_WITHIN, look).await.is_ok()
    }

    fn sum(&self, directions: &[Direction], counter: impl Fn(&Counters) -> u64) -> u64 {
        directions.iter().map(|direction| counter(&self.links.get(*direction).counters)).sum()
    }

    fn directions(&self) -> Vec<Direction> {
        let ids: Vec<NodeId> = self.fronts.iter().map(|(id, _)| *id).collect();
        ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to).collect()
    }

    fn where_(&self, test: impl Fn(Direction) -> bool) -> Vec<Direction> {
        self.directions().into_iter().filter(|direction| test(*direction)).collect()
    }
}

fn nothing_seen(why: &str) -> FaultOutcome {
    FaultOutcome::Indeterminate(why.to_owned())
}

/// Links go up and down, each pair of directions by itself or all at once.
async fn flapping(links: Links, directions: Vec<Direction>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        for direction in &directions {
            if rng.random_bool(0.5) {
                links.flip(*direction);
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(FLAP_MS))).await;
    }
}
