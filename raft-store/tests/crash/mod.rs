//! The common part of both crash tests: a child that writes and reports what was acknowledged, and a model that judges
//! what is found afterwards.
//!
//! Invariant: the child reports an attempt before it makes it, and an acknowledgement only after the storage has given
//! it. What is found must contain everything acknowledged and nothing that was never attempted.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by several test programs; a broken test may panic")]

pub mod child;
pub mod model;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::EntryPayload;
use raft_store::catalog::{Batch, Command as CatalogCommand, ExpirePeer, Op, Stamp};
use raft_store::raft::{CommittedLeader, Entry, LogId};
use raft_store::storage::OpenOptions;
use raft_store::types::PeerId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Gives the directory to a child; without it the child's test does nothing.
const CHILD_DIR: &str = "RAFT_STORE_CRASH_DIR";
const CHILD_SEED: &str = "RAFT_STORE_CRASH_SEED";
/// The total number of crashes.
const ROUNDS: &str = "RAFT_STORE_CRASH_ROUNDS";
const ROUNDS_DEFAULT: u64 = 30;

/// The requested number of crashes.
#[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the test")]
pub fn rounds() -> u64 {
    std::env::var(ROUNDS).ok().map_or(ROUNDS_DEFAULT, |text| text.parse().expect("a number of rounds"))
}

pub fn options() -> OpenOptions {
    OpenOptions { node_id: 1, new_store_id: 0x5eed }
}

/// For a checker: a directory that was created again shows by its store id.
pub fn options_of_another_disk() -> OpenOptions {
    OpenOptions { node_id: 1, new_store_id: 0x0bad }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    use openraft::vote::RaftLeaderId;
    let leader: CommittedLeader = openraft::impls::leader_id_std::LeaderId::new(term, 1_u64).to_committed();
    LogId::new(leader, index)
}

/// The only entry that may ever be written at this index and term, so that a checker can compute it again.
pub fn entry(term: u64, index: u64) -> Entry {
    let mut rng = StdRng::seed_from_u64(term << 40 ^ index);
    let commands = (0..rng.random_range(0..16)).map(|_| {
        let name: String = (0..rng.random_range(1..128)).map(|_| rng.random_range('a'..='z')).collect();
        let peer = PeerId::parse(name).expect("a valid peer id");
        CatalogCommand { key: None, op: Op::ExpirePeer(ExpirePeer { peer, incarnation: rng.random(), term }) }
    });
    let batch = Batch { stamp: Some(Stamp { term, at: index }), commands: commands.collect() };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch.into()) }
}

/// The longest wait for a line of a child; only a child that hangs takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lines of a child so far.
#[derive(Default)]
struct Said {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A running child, and the thread that reads its lines.
pub struct Running {
    child: Child,
    said: Arc<Said>,
    reader: JoinHandle<()>,
}

impl Running {
    /// Starts this test executable again as a child that works in `dir`.
    pub fn start(dir: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the path of this executable"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir)
            .env(CHILD_SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let said = Arc::new(Said::default());
        let reader = {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    said.lines.lock().expect("no panic").0.push(line);
                    said.more.notify_all();
                }
                said.lines.lock().expect("no panic").1 = true;
                said.more.notify_all();
            })
        };
        Self { child, said, reader }
    }

    /// Waits for a random moment of the child's run: often after a number of lines, sometimes just after its start.
    /// With a number of lines, the amount of work does not depend on how busy the machine is.
    #[expect(clippy::disallowed_methods, reason = "a test without a runtime")]
    pub fn wait_for_a_moment(&self, rng: &mut StdRng) {
        if rng.random_bool(0.8) {
            let wanted = rng.random_range(0..120);
            let lines = self.said.lines.lock().expect("no panic");
            let waiting = |said: &mut (Vec<String>, bool)| said.0.len() < wanted && !said.1;
            let (_lines, timeout) = self.said.more.wait_timeout_while(lines, PATIENCE, waiting).expect("no panic");
            assert!(!timeout.timed_out(), "the child hangs");
        }
        // The fault itself: a random moment, not a wait for anything.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..50_000)));
    }

    /// Kills the child with SIGKILL and returns all its lines.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child ends");
        self.reader.join().expect("the reader ends");
        std::mem::take(&mut self.said.lines.lock().expect("no panic").0)
    }
}
