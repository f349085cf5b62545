//! Cuts the power after every call of the log device, with every prefix of the unsynced batches, and again during the
//! recovery.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use raft_store::storage::{DeviceBatch, FatalSignal, LogDevice, LogStore, MetaKey, SimDisk};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::crash::model::Model;
use super::script::{SCRIPT, Step, Writer, random_steps};

#[derive(Debug, Clone)]
enum Call {
    Apply(DeviceBatch),
    Sync,
    Said(String),
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// A device that records its calls.
struct Recorded {
    device: Arc<dyn LogDevice>,
    calls: Calls,
}

impl Recorded {
    /// Makes a call and records it in one step, so that reports come before or after it.
    fn noted(&self, call: Call, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut calls = self.calls.lock().expect("no panic");
        make()?;
        calls.push(call);
        Ok(())
    }
}

impl LogDevice for Recorded {
    fn apply(&self, batch: DeviceBatch) -> io::Result<()> {
        self.noted(Call::Apply(batch.clone()), || self.device.apply(batch))
    }

    fn sync(&self) -> io::Result<()> {
        self.noted(Call::Sync, || self.device.sync())
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        self.device.meta(key)
    }

    fn records(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.device.records(range)
    }

    fn indexes(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<u64>> {
        self.device.indexes(range, limit)
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        self.device.bytes_on_disk()
    }
}

/// What is certain after some calls, and what is not.
#[derive(Default, Clone)]
struct Cut {
    durable: Vec<DeviceBatch>,
    unsynced: Vec<DeviceBatch>,
    said: Vec<String>,
}

impl Cut {
    fn step(&mut self, call: &Call) {
        match call {
            Call::Apply(batch) => self.unsynced.push(batch.clone()),
            Call::Sync => self.durable.append(&mut self.unsynced),
            Call::Said(line) => self.said.push(line.clone()),
        }
    }

    /// The disk if `keep` of the unsynced batches survive.
    fn disk(&self, keep: usize) -> SimDisk {
        let disk = SimDisk::default();
        let device = disk.open();
        self.durable.iter().for_each(|batch| device.apply(batch.clone()).expect("applied"));
        device.sync().expect("synced");
        self.unsynced.iter().for_each(|batch| device.apply(batch.clone()).expect("applied"));
        disk.crash(keep);
        disk
    }
}

/// Opens a disk and judges it; returns the calls that this took.
async fn reopened(disk: &SimDisk, model: &mut Model) -> Result<Vec<Call>, String> {
    let calls = Calls::default();
    let device = Arc::new(Recorded { device: disk.open(), calls: Arc::clone(&calls) });
    let log = LogStore::on_device(device, FatalSignal::default());
    let mut log = log.map_err(|error| format!("it does not open: {error}"))?;
    model.judge_log(&mut log).await?;
    drop(log);
    Ok(std::mem::take(&mut calls.lock().expect("no panic")))
}

/// Runs a sequence and judges every state that a cut can leave. Returns how many there were.
async fn judge_all(steps: &[Step], lives: usize) -> Result<(usize, Model), String> {
    let (disk, calls) = (SimDisk::default(), Calls::default());
    for part in steps.chunks(steps.len().div_ceil(lives)) {
        let device = Arc::new(Recorded { device: disk.open(), calls: Arc::clone(&calls) });
        let log = LogStore::on_device(device, FatalSignal::default()).expect("it opens");
        let noted = Arc::clone(&calls);
        let say = move |line| noted.lock().expect("no panic").push(Call::Said(line));
        let mut writer = Writer::start(log, None, &say).await;
        for step in part {
            writer.step(*step).await;
        }
    }
    let calls = std::mem::take(&mut *calls.lock().expect("no panic"));
    let mut states = 0;
    let mut cut = Cut::default();
    let mut model = Model::default();
    for at in 0..=calls.len() {
        for keep in 0..=cut.unsynced.len() {
            let wrong = |why| format!("cut after {at} of {} calls, {keep} unsynced batches kept: {why}", calls.len());
            let recovery = reopened(&cut.disk(keep), &mut model.clone()).await.map_err(wrong)?;
            states += 1;
            let mut again = Cut { unsynced: Vec::new(), ..cut.clone() };
            again.durable.extend(cut.unsynced.iter().take(keep).cloned());
            for (second, call) in recovery.iter().enumerate() {
                again.step(call);
                for keep in 0..=again.unsynced.len() {
                    let result = reopened(&again.disk(keep), &mut model.clone()).await;
                    result.map_err(|why| wrong(format!("and again after {second} calls of the recovery: {why}")))?;
                    states += 1;
                }
            }
        }
        if let Some(call) = calls.get(at) {
            cut.step(call);
            model.hear(&std::mem::take(&mut cut.said));
        }
    }
    Ok((states, model))
}

#[tokio::test]
async fn every_cut_of_the_script_keeps_what_was_acknowledged() {
    let (states, model) = judge_all(SCRIPT, 2).await.expect("nothing lost, nothing invented");
    println!("{states} states, {:?}", model.counts);
    assert!(states > 300, "only {states} states");
    assert!(model.counts.votes > 5 && model.counts.truncations > 2 && model.counts.purges > 4, "{:?}", model.counts);
}

#[tokio::test]
async fn every_cut_of_random_sequences_keeps_what_was_acknowledged() {
    let mut states = 0;
    for seed in 0..3 {
        let steps = random_steps(&mut StdRng::seed_from_u64(seed), 40);
        let (more, _) = judge_all(&steps, 3).await.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        states += more;
    }
    println!("{states} states");
    assert!(states > 1_500, "only {states} states");
}
