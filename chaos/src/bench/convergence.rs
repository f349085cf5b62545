//! How long it takes until a new file has a second copy: two real peers, a file of a few KiB put into the folder of
//! one, and the time from sending its announcement until the index lists two current holders.
//!
//! Invariant: the bytes are in place before the clock starts, by the same steps as `raftshare update`; the clock ends
//! when a read shows both holders, so the pause between two reads is part of the figure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use client::cluster::{Consistency, IndexClient, ReadOptions};
use client::contract::{AnnounceRequest, FileEntry};
use client::peer::Folder;
use raft_store::types::FileName;

use super::samples::Samples;
use super::single::library;
use super::{Bench, Figure, original};
use node::testbed::{Process, Spec, find_binary};

/// Size of the files.
const FILE_BYTES: usize = 4_096;
/// Pause between two polls at the holders.
const POLL_PAUSE: Duration = Duration::from_micros(500);
/// How long a file may take before the measurement is given up.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let index = library(bench)?;
    let _peers = [start_peer(bench, "a")?, start_peer(bench, "b")?];
    wait_for_peers(&index, 2).await?;
    let folder = Folder::open(&bench.directory.join("a"), None)?;
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    let reader = index.with_reading(reading);
    let mut samples = Samples::default();
    for number in 0..if bench.quick { 10 } else { 60 } {
        samples.add(one_file(&index, &reader, &folder, number).await?);
    }
    let what = "announce until two current holders, 4 KiB (median)";
    let figure = Figure::median("convergence", what, &samples);
    Ok(vec![figure.with_original(original::CONVERGENCE_MS).with_target("< 15")])
}

/// A real peer that shares the folder of its name below the directory of the measurement.
pub(super) fn start_peer(bench: &Bench, name: &str) -> anyhow::Result<Process> {
    let directory = bench.directory.join(name);
    std::fs::create_dir_all(&directory)?;
    let program = find_binary("raftshare", bench.bin_dir.as_deref())?;
    let arguments = ["serve", "--no-shell", "--bind", "127.0.0.1:0", "--peer-id", name, "--server"];
    let mut arguments: Vec<String> = arguments.map(String::from).to_vec();
    arguments.extend([bench.cluster.urls().join(","), "--dir".into(), directory.display().to_string()]);
    let log = bench.logs.join(format!("{name}.log"));
    Ok(Process::start(Spec { program, arguments, environment: Vec::new(), log })?)
}

/// Waits until so many peers are registered.
pub(super) async fn wait_for_peers(index: &IndexClient, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    while index.peers().await?.value.len() < count {
        if Instant::now() > deadline {
            bail!("the {count} peers did not register within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn one_file(index: &IndexClient, reader: &IndexClient, folder: &Folder, number: u32) -> anyhow::Result<Duration> {
    let name = FileName::parse(format!("bench/{number}.bin"))?;
    let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(FILE_BYTES).collect();
    let publishing = folder.begin_publish(folder.stage_bytes(&bytes)?, &name, 1, 0)?;
    let copy = publishing.copy;
    let request = AnnounceRequest {
        peer_id: folder.peer_id(),
        file: Some(FileEntry { name: name.clone(), version: Some(1), size: Some(FILE_BYTES as u64), hash: copy.hash }),
        files: None,
        lease_token: None,
        keep_lease: None,
    };
    let sent = Instant::now();
    index.announce(&request).await.context("the announcement was refused")?;
    let elapsed = loop {
        let holders = reader.file_peers(&name).await?.value;
        if holders.iter().filter(|holder| holder.current).count() >= 2 {
            break sent.elapsed();
        }
        if sent.elapsed() > WITHIN {
            bail!("{name} had no second copy within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(POLL_PAUSE).await;
    };
    folder.complete_publish(publishing, 1, None)?;
    Ok(elapsed)
}
