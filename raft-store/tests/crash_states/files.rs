//! Cuts the power after every operation on every file.
//!
//! Once `Storage::open` has returned for the first time, every state has to open, with every acknowledged entry, vote,
//! purge point, snapshot and cluster id, and with nothing that was never written. Before that nothing is promised: a
//! directory that is being created may open as a new one or as what it became, or may be refused as damaged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use raft_store::storage::Storage;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::crash::model::Model;
use super::crash::options;
use super::recorder::{Op, Recording, say};
use super::script::{SCRIPT, Step, Writer, random_steps};
use super::states::{Chooser, Disk, Tree};

/// How many states of files to open for each recording.
const STATES: &str = "RAFT_STORE_CRASH_STATES";
const STATES_DEFAULT: usize = 500;
/// States whose recovery is recorded and cut as well.
const RECOVERIES: usize = 20;
/// Random choices of what survives at each point.
const SUBSETS: usize = 3;

#[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the test")]
fn states_wanted() -> usize {
    std::env::var(STATES).ok().map_or(STATES_DEFAULT, |text| text.parse().expect("a number of states"))
}

/// A directory in memory, if there is one: the test writes thousands of small file systems.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    dir.expect("a temporary directory")
}

/// One run of a process in the directory `data`, reported through `say`.
async fn live(data: &Path, steps: &[Step], cluster: Option<u64>) {
    let storage = Storage::open(data, &options()).expect("it opens");
    say(format!("@I {}", storage.identity.get().store_id));
    if let Some(cluster) = cluster {
        say(format!("@c {cluster}"));
        storage.identity.adopt_cluster(cluster).await.expect("adopted");
        say(format!("@C {cluster}"));
    }
    let machine = Some((storage.state_machine, storage.state));
    let mut writer = Writer::start(storage.log_store, machine, &say).await;
    for step in steps {
        writer.step(*step).await;
    }
}

/// Records the runs in one directory, and checks that the recording explains the final contents.
async fn record(steps: &[Step], lives: usize) -> Vec<Op> {
    let root = scratch();
    let recording = Recording::start(root.path(), &[]);
    for (life, part) in (0..).zip(steps.chunks(steps.len().div_ceil(lives))) {
        live(&root.path().join("data"), part, (life == 0).then_some(77)).await;
    }
    let ops = recording.finish();
    let mut disk = Disk::default();
    (0..ops.len()).for_each(|at| disk.step(&ops, at));
    let (told, found) = (disk.everything(&ops), Tree::read(root.path()).expect("readable"));
    let names = |tree: &Tree| tree.files.keys().cloned().collect::<Vec<PathBuf>>();
    assert_eq!(names(&told), names(&found), "the recording misses an operation");
    assert!(told == found, "the recording misses a write");
    ops
}

/// A state to open, and what was promised at that point.
struct Case {
    at: usize,
    tree: Tree,
    model: Model,
}

/// What was checked.
#[derive(Debug, Default)]
struct Counts {
    operations: usize,
    states: usize,
    /// States from before the first opening had returned, and how many of them were refused.
    unborn: AtomicUsize,
    refused: AtomicUsize,
}

/// Where a recording began.
#[derive(Default, Clone)]
struct Start {
    disk: Disk,
    model: Model,
}

/// Goes through a recording, and creates the states for which `visit` returns a destination.
fn walk(ops: &[Op], start: &Start, seed: u64, mut visit: impl FnMut(usize) -> Option<SyncSender<Case>>) -> usize {
    let Start { mut disk, mut model } = start.clone();
    let mut chooser = Chooser::new(seed);
    let (mut number, mut promised) = (0, 0);
    for at in 0..=ops.len() {
        for choice in chooser.choices(&disk, ops, promised, SUBSETS) {
            if let Some(cases) = visit(number) {
                let case = Case { at, tree: disk.tree(ops, &choice), model: model.clone() };
                cases.send(case).expect("somebody judges");
            }
            number += 1;
        }
        match ops.get(at) {
            Some(Op::Said(line)) => {
                model.hear(std::slice::from_ref(line));
                promised += 1;
            }
            Some(_) => disk.step(ops, at),
            None => {}
        }
    }
    number
}

/// Opens up to `wanted` states of a recording, chosen evenly at random, and says what is wrong with them.
fn judge(ops: &[Op], start: &Start, seed: u64, wanted: usize) -> (Counts, Vec<String>) {
    let all = walk(ops, start, seed, |_| None);
    let chosen: BTreeSet<_> = sample(&mut StdRng::seed_from_u64(seed), all, wanted.min(all)).into_iter().collect();
    let counts = Counts { operations: ops.len(), states: chosen.len(), ..Counts::default() };
    let wrong = Mutex::new(Vec::new());
    // A channel of one: the states are megabytes each.
    let (sender, receiver) = sync_channel(1);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().build().expect("a runtime");
                loop {
                    let next = receiver.lock().expect("no panic").recv();
                    let Ok(Case { at, tree, model }) = next else { return };
                    if let Err(why) = runtime.block_on(opened(&tree, model, &counts)) {
                        let op = at.checked_sub(1).map(|last| format!("{:.120?}", ops[last]));
                        let why = format!("cut after {at} of {} ({op:?}): {why}", ops.len());
                        wrong.lock().expect("no panic").push(why);
                    }
                }
            });
        }
        let sender = sender;
        walk(ops, start, seed, |number| chosen.contains(&number).then(|| sender.clone()));
    });
    (counts, wrong.into_inner().expect("no panic"))
}

/// Opens one state, in a directory of its own.
async fn opened(tree: &Tree, mut model: Model, counts: &Counts) -> Result<(), String> {
    let root = scratch();
    tree.write(root.path()).map_err(|error| format!("the state cannot be written: {error}"))?;
    let data = root.path().join("data");
    if !model.is_promised_nothing() {
        if !tree.files.contains_key(Path::new("data/MARK")) {
            return Err("the mark is gone, and a log that lost its end would go unnoticed".to_owned());
        }
        return model.verify(&data).await;
    }
    counts.unborn.fetch_add(1, Ordering::Relaxed);
    if model.verify_unborn(&data).await? {
        counts.refused.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "how many states were tried, for the person who runs the test")]
async fn judge_steps(name: &str, steps: &[Step], lives: usize, seed: u64) -> Counts {
    let ops = record(steps, lives).await;
    let (counts, wrong) = judge(&ops, &Start::default(), seed, states_wanted());
    println!("{name}: {counts:?}");
    assert_all_right(name, &counts, &wrong);
    counts
}

fn assert_all_right(name: &str, counts: &Counts, wrong: &[String]) {
    let first: Vec<_> = wrong.iter().take(10).cloned().collect();
    assert!(wrong.is_empty(), "{name}: {} of {} states are wrong:\n{}", wrong.len(), counts.states, first.join("\n"));
}

/// Some states of a recording, created one after another.
fn some_states(ops: &[Op], seed: u64, wanted: usize) -> Vec<Case> {
    let all = walk(ops, &Start::default(), seed, |_| None);
    let chosen: BTreeSet<_> = sample(&mut StdRng::seed_from_u64(seed), all, wanted.min(all)).into_iter().collect();
    let (sender, receiver) = sync_channel(chosen.len());
    walk(ops, &Start::default(), seed, |number| chosen.contains(&number).then(|| sender.clone()));
    receiver.try_iter().collect()
}

#[tokio::test]
async fn every_cut_of_the_script_leaves_files_that_hold_what_was_acknowledged() {
    let counts = judge_steps("script", SCRIPT, 2, 0).await;
    assert!(counts.operations > 200, "{counts:?}");
}

#[tokio::test]
async fn every_cut_of_random_sequences_leaves_files_that_hold_what_was_acknowledged() {
    for seed in 1..4 {
        let steps = random_steps(&mut StdRng::seed_from_u64(seed), 40);
        let counts = judge_steps(&format!("seed {seed}"), &steps, 3, seed).await;
        assert!(counts.operations > 100, "{counts:?}");
    }
}

#[tokio::test]
async fn every_cut_of_a_recovery_leaves_files_that_hold_what_was_acknowledged() {
    let ops = record(&random_steps(&mut StdRng::seed_from_u64(9), 40), 2).await;
    let mut recovered = 0;
    for Case { at, tree, model } in some_states(&ops, 9, RECOVERIES) {
        if model.is_promised_nothing() {
            continue;
        }
        let root = scratch();
        tree.write(root.path()).expect("written");
        let files: Vec<_> = tree.files.keys().cloned().collect();
        let recording = Recording::start(root.path(), &files);
        let opened = Storage::open(&root.path().join("data"), &options());
        drop(opened.unwrap_or_else(|error| panic!("cut after {at}: {error}")));
        let recovery = recording.finish();
        let start = Start { disk: Disk::of(&tree), model };
        let (counts, wrong) = judge(&recovery, &start, 9, states_wanted() / RECOVERIES);
        assert_all_right(&format!("recovery from the cut after {at}"), &counts, &wrong);
        assert!(counts.states > 1, "{counts:?}");
        recovered += 1;
    }
    assert!(recovered > RECOVERIES / 2, "only {recovered} recoveries");
}
