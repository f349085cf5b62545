//! A lease holder that is stopped for longer than its lease lasts, and continues without noticing.
//!
//! Invariant: it counts as stopped only if it held a lease and had published nothing under it when it was.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::Rng;

use super::{Arena, Effect, Environment, Family};
use crate::history::{Answer, Event, FaultName, FaultOutcome, Op, OpId, Record};
use crate::recorder::Recorder;
use crate::scenario::Setup;
use crate::verify::Published;
use node::testbed::{Process, Spec};

/// Its lease's duration, in milliseconds.
const TTL_MS: u64 = 1_000;
/// How much longer than that it is stopped, in milliseconds.
const BEYOND_MS: std::ops::Range<u64> = 200..1_200;
/// Operations of the holder are numbered from here.
const FIRST_OP: OpId = 1 << 40;
/// The file it works on: one of those that all clients fight for.
const FILE: &str = "shared/0.txt";
/// How long it may take until it holds a lease.
const HOLDS_WITHIN: Duration = Duration::from_secs(15);
/// How long it may take until its late publish was answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two polls at its history.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderFault {
    /// The holder is stopped as soon as it holds a lease, and continued when that is over.
    Pause,
}

/// The holder's process.
#[derive(Debug)]
pub struct Holders {
    history: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Family for Holders {
    type Fault = HolderFault;

    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        if !setup.holder {
            return Ok(None);
        }
        std::fs::create_dir_all(&environment.data).context("cannot make the directory for the holder's history")?;
        let (history, log) = (environment.data.join("holder.jsonl"), environment.logs.join("holder.log"));
        Ok(Some(Self { history, log, process: None }))
    }

    /// Starts the holder.
    async fn started(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut arguments = vec!["client".to_owned()];
        let mut add = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
        add("servers", arena.cluster.urls().join(","));
        add("name", "holder".into());
        add("file", FILE.into());
        add("ttl-ms", TTL_MS.to_string());
        add("history", self.history.display().to_string());
        add("began", arena.recorder.began_us().to_string());
        add("first-op", FIRST_OP.to_string());
        add("seed", arena.rng.random::<u32>().to_string());
        let spec = Spec { program, arguments, environment: Vec::new(), log: self.log.clone() };
        self.process = Some(Process::start(spec)?);
        Ok(())
    }

    async fn inject(&mut self, HolderFault::Pause: HolderFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let Some(process) = &self.process else {
            return Ok(vec![Effect::skipped(FaultName::HolderPause, "no holder runs")]);
        };
        let seen = self.read()?.len();
        let deadline = Instant::now() + HOLDS_WITHIN;
        // A grant that is new, and nothing after it.
        while Instant::now() < deadline && !self.holds(seen)? {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        process.stop()?;
        let held = self.holds(seen)?;
        let beyond = arena.rng.random_range(BEYOND_MS);
        if held {
            tokio::time::sleep(Duration::from_millis(TTL_MS + beyond)).await;
        }
        let lines = self.read()?.len();
        process.resume()?;
        if !held {
            return Ok(vec![Effect::skipped(FaultName::HolderPause, "it held no lease in time")]);
        }
        let deadline = Instant::now() + ANSWERED_WITHIN;
        // Its publish, and the answer.
        while Instant::now() < deadline && self.read()?.len() < lines + 2 {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        let (refused, told) = self.late_publish(lines)?;
        let words = format!("holder slept {} ms past its lease; its publish: {told}", beyond);
        let outcome = if refused {
            FaultOutcome::Installed
        } else {
            // Whether that breaks a rule, the checkers know.
            FaultOutcome::Indeterminate(told)
        };
        Ok(vec![Effect { fault: FaultName::HolderPause, node: None, words, outcome }])
    }

    /// Ends the holder and joins its history to the run's; returns the contents that it published, or tried to.
    fn end_clients(&mut self, recorder: &Recorder) -> anyhow::Result<Published> {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        let mut published = Published::new();
        for Event { at, record } in self.read()? {
            if let Record::Invoke { op: Op::Publish { file, hash, .. }, .. } = &record {
                published.entry(file.clone()).or_default().push(hash.clone());
            }
            recorder.record_at(at, record);
        }
        Ok(published)
    }
}

impl Holders {
    fn holds(&self, seen: usize) -> anyhow::Result<bool> {
        let events = self.read()?;
        let last = events.get(seen..).and_then(<[Event]>::last).map(|event| &event.record);
        Ok(matches!(last, Some(Record::Ok { answer: Answer::Granted { .. }, .. })))
    }

    /// What became of the first publish after line number `lines`.
    fn late_publish(&self, lines: usize) -> anyhow::Result<(bool, String)> {
        let events = self.read()?;
        let answer = events.iter().skip(lines).find_map(|event| match &event.record {
            Record::Ok { .. } => Some((false, "ACCEPTED".to_owned())),
            Record::Refused { code, .. } => Some((true, code.clone())),
            Record::Unknown { reason, .. } => Some((false, reason.clone())),
            _ => None,
        });
        Ok(answer.unwrap_or((false, "no answer".into())))
    }

    /// Its history so far.
    fn read(&self) -> anyhow::Result<Vec<Event>> {
        let text = match std::fs::read_to_string(&self.history) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("cannot read the holder's history"),
        };
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).context("the holder's history is damaged")).collect()
    }
}
