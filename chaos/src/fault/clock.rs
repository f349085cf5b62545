//! Faults of the nodes' clocks, by a preloaded library that the system's clock is read through.
//!
//! Invariants: a healed clock is the machine's; a fault counts as installed only once the node itself tells the
//! wrong time, in the `Date` of its answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use raft_store::types::NodeId;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::json;

use super::{Arena, Effect, Environment, Family, NodePlan, Unavailable};
use crate::cluster::READY_WITHIN;
use crate::history::{FaultName, FaultOutcome};
use crate::scenario::Setup;

/// Where the library is on the usual systems; the first that exists is taken.
const LIBRARIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
/// What to do where it is not.
const HINT: &str = "libfaketime is not installed: apt-get install faketime";
/// How far a wall clock jumps.
const JUMP_S: i64 = 3_600;
/// Difference to the machine's clock from which on a jumped one counts as wrong; `Date` has whole seconds.
const WRONG_S: i64 = 1_800;
/// Difference from which on a clock of another rate counts as wrong.
const DRIFTED_S: i64 = 2;
/// How long it may take until a node tells another time: the library looks once a second, and a clock has to drift.
const SHOWS_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two polls.
const POLL_PAUSE: Duration = Duration::from_millis(50);
/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(2);

/// What can be done to the clocks of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockKind {
    /// The wall clock jumps; the monotonic clock is the machine's.
    Wall,
    /// Both clocks run at another rate, from the start of the node's process on.
    Rate,
}

/// Fastest clock of a node relative to the clients' clock, in thousandths.
pub const FASTEST_PERMILLE: u32 = 2_000;

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// The wall clock of one node, or of several, jumps by an hour or more; healing makes it jump back.
    Jump,
    /// One node is started again with clocks of half or double the rate, and often made the leader.
    Rate,
}

/// The family's state in a run.
#[derive(Debug)]
pub struct Clocks {
    kind: ClockKind,
    library: PathBuf,
    directory: PathBuf,
    http: reqwest::Client,
    wrong: Vec<NodeId>,
    /// How often each node's wall clock has jumped.
    jumps: BTreeMap<NodeId, i64>,
}

impl Family for Clocks {
    type Fault = ClockFault;

    /// Before the first node starts; fails if the library is not there.
    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        let Some(kind) = setup.clocks else { return Ok(None) };
        let directory = environment.data.join("clocks");
        std::fs::create_dir_all(&directory).context("cannot make a directory for clocks")?;
        let library = LIBRARIES.iter().map(PathBuf::from).find(|path| path.is_file());
        let library = library.ok_or_else(|| Unavailable(HINT.into()))?;
        let http = reqwest::Client::builder().no_proxy().timeout(WITHIN).build()?;
        Ok(Some(Self { kind, library, directory, http, wrong: Vec::new(), jumps: BTreeMap::new() }))
    }

    async fn shape(&mut self, plan: &mut NodePlan) -> anyhow::Result<()> {
        let file = self.file(plan.id);
        write(&file, "+0")?;
        let mut set = |name: &str, value: String| plan.environment.push((name.to_owned(), value));
        set("LD_PRELOAD", self.library.display().to_string());
        set("FAKETIME_TIMESTAMP_FILE", file.display().to_string());
        set("FAKETIME_CACHE_DURATION", "1".into());
        if self.kind == ClockKind::Wall {
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1".into());
            set("DONT_FAKE_MONOTONIC", "1".into());
        }
        Ok(())
    }

    async fn inject(&mut self, fault: ClockFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {
            ClockFault::Jump => self.jump(arena).await,
            ClockFault::Rate => self.rate(arena).await,
        }
    }

    async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for node in std::mem::take(&mut self.wrong) {
            write(&self.file(node), "+0")?;
            if self.kind == ClockKind::Rate {
                // A monotonic clock never goes back: the process ends with its clock.
                self.restart(arena, node).await?;
            }
            effects.push(Effect::installed(FaultName::ClockHeal, Some(node), format!("n{node} tells the right time")));
        }
        Ok(effects)
    }
}

impl Clocks {
    async fn jump(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut ids = arena.cluster.living();
        ids.shuffle(&mut arena.rng);
        if let Some(leader) = arena.leader.as_ref().filter(|_| arena.rng.random_bool(0.5)) {
            ids.sort_by_key(|id| *id != leader.id);
        }
        ids.truncate(arena.rng.random_range(1..=ids.len().max(1)));
        let mut effects = Vec::new();
        for node in ids {
            // Servers tell a cached date until their clock has passed it: only a jump further than all before shows.
            let jumps = self.jumps.entry(node).or_default();
            *jumps += 1;
            let jump = *jumps * JUMP_S;
            write(&self.file(node), &format!("{jump:+}"))?;
            self.wrong.push(node);
            let shown = self.differs(arena, node, |wrong| wrong > jump - WRONG_S).await;
            effects.push(effect(FaultName::ClockJump, node, &format!("n{node}'s wall clock {jump:+} s"), shown));
        }
        Ok(effects)
    }

    async fn rate(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let living = arena.cluster.living();
        let Some(node) = living.choose(&mut arena.rng).copied() else {
            return Ok(vec![Effect::skipped(FaultName::ClockRate, "nobody lives")]);
        };
        let (rate, sign) = if arena.rng.random_bool(0.5) { ("2", 1) } else { ("0.5", -1) };
        let leads = arena.rng.random_bool(0.7);
        write(&self.file(node), &format!("+0 x{rate}"))?;
        self.wrong.push(node);
        self.restart(arena, node).await?;
        if leads {
            self.make_leader(arena, node).await;
        }
        let shown = self.differs(arena, node, |wrong| wrong.signum() == sign && wrong.abs() >= DRIFTED_S).await;
        let leader = arena.cluster.leader().await.is_some_and(|leader| leader.id == node);
        let role = if leader { " (leader)" } else { "" };
        Ok(vec![effect(FaultName::ClockRate, node, &format!("n{node}{role} runs x{rate}"), shown)])
    }

    async fn restart(&self, arena: &mut Arena<'_>, node: NodeId) -> anyhow::Result<()> {
        arena.cluster.kill(node)?;
        arena.cluster.restart_dead()?;
        arena.cluster.wait_ready(READY_WITHIN).await?;
        Ok(())
    }

    /// Asks the leader to hand over. That may fail; the effect says who leads.
    async fn make_leader(&self, arena: &Arena<'_>, node: NodeId) {
        let Some(url) = arena.cluster.url(node) else { return };
        let sent = self.http.post(format!("{url}/cluster/transfer")).json(&json!({ "id": node })).send().await;
        drop(sent);
    }

    /// Waits until what a node tells as its time differs from the machine's as `test` wants, in seconds.
    async fn differs(&self, arena: &Arena<'_>, node: NodeId, test: impl Fn(i64) -> bool) -> bool {
        let deadline = Instant::now() + SHOWS_WITHIN;
        while Instant::now() < deadline {
            if self.wrong_by(arena, node).await.is_some_and(&test) {
                return true;
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        false
    }

    #[expect(clippy::disallowed_methods, reason = "the wall clock is what this fault changes")]
    async fn wrong_by(&self, arena: &Arena<'_>, node: NodeId) -> Option<i64> {
        let url = arena.cluster.url(node)?;
        let answer = self.http.get(format!("{url}/healthz")).send().await.ok()?;
        let told = seconds_of_date(answer.headers().get("date")?.to_str().ok()?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(told - i64::try_from(now).ok()?)
    }

    fn file(&self, node: NodeId) -> PathBuf {
        self.directory.join(format!("n{node}"))
    }
}

fn effect(fault: FaultName, node: NodeId, words: &str, shown: bool) -> Effect {
    let outcome = if shown {
        FaultOutcome::Installed
    } else {
        FaultOutcome::Indeterminate("the node does not tell a wrong time".to_owned())
    };
    Effect { fault, node: Some(node), words: words.to_owned(), outcome }
}

/// Written beside and renamed: the library never reads half of it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, format!("{text}\n")).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds since 1970 of a date as HTTP writes it: `Sat, 21 Nov 2026 10:14:19 GMT`.
fn seconds_of_date(text: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(seconds_of_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(seconds_of_date("never"), None);
    }
}
