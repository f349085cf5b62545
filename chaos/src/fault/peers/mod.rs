//! Peers that share folders, come, go, and have copies that change behind their backs.
//!
//! Invariants: the peers are real `raftshare serve` processes with files that no other peer began with; a healed
//! network has all its peers; what is counted at the end is held against the bytes on the peers' disks.

mod copies;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Arena, Effect, Environment, Family};
use crate::history::FaultName;
use crate::scenario::Setup;
use node::testbed::free_ports;
use node::testbed::{Process, Spec, find_binary};

/// Files that every peer begins with.
const FILES: usize = 4;
/// Sizes of files in bytes.
const SIZES: std::ops::Range<usize> = 1_000..60_000;
/// How long the peers may take to register and to make the first copies.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take until every file is back at its number of copies, after everything is healed.
const REPLICATED_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(100);

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFault {
    /// A peer is killed.
    Kill,
    /// A peer is stopped.
    Pause,
    /// A killed peer's folder gets another file before it is started again.
    Extend,
    /// A copy is changed on the disk of one holder, behind its back, and the other holders of that file are killed:
    /// who makes a new copy meets the damaged one first.
    Corrupt,
}

/// The family's state in a run.
#[derive(Debug)]
pub struct Peers {
    environment: Environment,
    peers: BTreeMap<String, Peer>,
    /// Every file, with the bytes that it began with.
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
struct Peer {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
    stopped: bool,
}

impl Family for Peers {
    type Fault = PeerFault;

    /// Makes the folders.
    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        let count = setup.peers;
        if count == 0 {
            return Ok(None);
        }
        let mut family = Self { environment: environment.clone(), peers: BTreeMap::new(), files: BTreeMap::new() };
        let mut rng = StdRng::seed_from_u64(count as u64);
        for (number, port) in (1..=count).zip(free_ports(count)?) {
            let name = format!("p{number}");
            let folder = environment.data.join("peers").join(&name);
            std::fs::create_dir_all(&folder)?;
            family.peers.insert(name.clone(), Peer { folder, port, process: None, stopped: false });
            for file in 0..FILES {
                family.add_file(&name, &format!("{name}-{file}.bin"), &mut rng)?;
            }
        }
        Ok(Some(family))
    }

    /// Starts the peers and waits for the first copies.
    async fn started(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        self.start_missing(arena)?;
        if !self.settle(arena, SETTLED_WITHIN).await? {
            bail!("the peers' files did not get their copies within {} s", SETTLED_WITHIN.as_secs());
        }
        Ok(())
    }

    async fn inject(&mut self, fault: PeerFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let running: Vec<String> = self.running();
        // Two of them stay, so that there is somebody to make copies.
        let Some(name) = running.choose(&mut arena.rng).filter(|_| running.len() > 2).cloned() else {
            return Ok(vec![Effect::skipped(FaultName::Peer, "too few peers run")]);
        };
        match fault {
            PeerFault::Kill => {
                self.kill(&name);
                Ok(vec![Effect::installed(FaultName::PeerKill, None, format!("kill -9 {name}"))])
            }
            PeerFault::Pause => {
                if let Some(peer) = self.peers.get_mut(&name)
                    && let Some(process) = &peer.process
                {
                    process.stop()?;
                    peer.stopped = true;
                }
                Ok(vec![Effect::installed(FaultName::PeerPause, None, format!("SIGSTOP {name}"))])
            }
            PeerFault::Extend => {
                self.kill(&name);
                let file = format!("{name}-round-{}.bin", arena.round);
                let mut rng = StdRng::seed_from_u64(arena.rng.random());
                self.add_file(&name, &file, &mut rng)?;
                Ok(vec![Effect::installed(FaultName::PeerExtend, None, format!("{name} killed, and has {file} now"))])
            }
            PeerFault::Corrupt => self.corrupt(arena).await,
        }
    }

    /// Every peer runs again.
    async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.stopped) {
            if let Some(process) = &peer.process {
                process.resume()?;
            }
            peer.stopped = false;
            effects.push(Effect::installed(FaultName::PeerContinue, None, format!("SIGCONT {name}")));
        }
        for name in self.start_missing(arena)? {
            effects.push(Effect::installed(FaultName::PeerRestart, None, format!("{name} again")));
        }
        Ok(effects)
    }

    /// Waits for the copies, and holds what is counted against what is on the disks.
    async fn verify(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        self.settle(arena, REPLICATED_WITHIN).await?;
        for (file, original) in &self.files {
            let folders = |peer: &str| self.peers.get(peer).map(|peer| peer.folder.join(file));
            let record = copies::compare(arena, (file, original), self.peers.len(), folders).await;
            arena.recorder.record(record);
        }
        Ok(())
    }
}

impl Peers {
    fn add_file(&mut self, peer: &str, file: &str, rng: &mut StdRng) -> anyhow::Result<()> {
        let mut bytes = vec![0; rng.random_range(SIZES)];
        rng.fill(bytes.as_mut_slice());
        if let Some(peer) = self.peers.get(peer) {
            std::fs::write(peer.folder.join(file), &bytes)?;
        }
        self.files.insert(file.to_owned(), bytes);
        Ok(())
    }

    fn start_missing(&mut self, arena: &Arena<'_>) -> anyhow::Result<Vec<String>> {
        let program = find_binary("raftshare", self.environment.bin_dir.as_deref())?;
        let servers = arena.cluster.urls().join(",");
        let mut started = Vec::new();
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.process.is_none()) {
            let bind = format!("127.0.0.1:{}", peer.port);
            let folder = peer.folder.display().to_string();
            let arguments = ["serve", "--no-shell", "--bind", &bind, "--peer-id", name, "--server", &servers];
            let mut arguments: Vec<String> = arguments.map(String::from).to_vec();
            arguments.extend(["--dir".into(), folder]);
            let log = self.environment.logs.join(format!("{name}.log"));
            let spec = Spec { program: program.clone(), arguments, environment: Vec::new(), log };
            peer.process = Some(Process::start(spec)?);
            started.push(name.clone());
        }
        Ok(started)
    }

    /// Waits until every file has as many live copies as it should have.
    async fn settle(&self, arena: &Arena<'_>, within: Duration) -> anyhow::Result<bool> {
        let until = Instant::now() + within;
        loop {
            let mut missing = false;
            for file in self.files.keys() {
                let entry = copies::count_copies(arena, file).await;
                missing |= !entry.is_some_and(|entry| entry.is_satisfied(self.peers.len()));
                if missing {
                    break;
                }
            }
            if !missing || Instant::now() > until {
                return Ok(!missing);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn corrupt(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        // Every file has its copies again first; otherwise there may be nothing to choose from.
        self.settle(arena, SETTLED_WITHIN).await?;
        let names: Vec<String> = self.files.keys().cloned().collect();
        let Some(file) = names.choose(&mut arena.rng).cloned() else {
            return Ok(vec![Effect::skipped(FaultName::Corrupt, "there are no files")]);
        };
        let holders = copies::count_copies(arena, &file).await.map(|entry| entry.live).unwrap_or_default();
        let (Some(bad), true) = (holders.first().cloned(), holders.len() > 1) else {
            return Ok(vec![Effect::skipped(FaultName::Corrupt, "the file has no second copy")]);
        };
        let Some(path) = self.peers.get(&bad).map(|peer| peer.folder.join(&file)) else {
            return Ok(vec![Effect::skipped(FaultName::Corrupt, "the holder is no peer of ours")]);
        };
        let mut bytes = std::fs::read(&path)?;
        let at = arena.rng.random_range(0..bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x40;
        }
        std::fs::write(&path, bytes)?;
        for other in holders.iter().filter(|holder| **holder != bad) {
            self.kill(other);
        }
        let words = format!("{file} changed on the disk of {bad}, killed {}", holders[1..].join(", "));
        Ok(vec![Effect::installed(FaultName::Corrupt, None, words)])
    }

    fn running(&self) -> Vec<String> {
        let runs = |peer: &Peer| peer.process.is_some() && !peer.stopped;
        self.peers.iter().filter(|(_, peer)| runs(peer)).map(|(name, _)| name.clone()).collect()
    }

    fn kill(&mut self, name: &str) {
        if let Some(peer) = self.peers.get_mut(name) {
            // Dropping it kills it.
            peer.process = None;
            peer.stopped = false;
        }
    }
}
