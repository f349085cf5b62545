//! A peer with 100,000 files registers while others write: what they notice of it, and what it costs the peer to
//! register again when nothing has changed.
//!
//! Invariant: the pages are those a peer sends, and the digest is the library's; the others write
//! before, during and after without a pause.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use raft_store::types::{ContentHash, FileName};
use serde_json::Value;

use super::load::Connection;
use super::samples::Samples;
use super::writers::{WriterOptions, Writers};
use super::{Bench, Figure};

/// Files of the peer.
const FILES: usize = 100_000;
/// Files in one page, as a peer sends them.
const PAGE: usize = 1_000;
/// Clients that write meanwhile.
const CLIENTS: usize = 50;
/// Re-registrations with a digest.
const REPEATS: usize = 20;
const PEER: &str = "large-peer";

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    let files = files(if bench.quick { FILES / 10 } else { FILES })?;
    let before_for = Duration::from_secs(if bench.quick { 2 } else { 8 });
    let plan =
        WriterOptions { host: leader.address.clone(), run: "beside".into(), clients: CLIENTS, pace: None, names: None };
    let writers = Writers::start(&plan).await?;
    let began = Instant::now();
    tokio::time::sleep(before_for).await;
    let mut connection = Connection::open(&leader.address).await?;
    let registering = Instant::now();
    let pages = files.chunks(PAGE).count();
    for (number, page) in files.chunks(PAGE).enumerate() {
        let last = number + 1 == pages;
        let entries: Vec<String> = page
            .iter()
            .map(|(name, hash)| format!(r#"{{"name":"{name}","version":1,"size":1,"hash":"{hash}"}}"#))
            .collect();
        let listing = format!(r#""listing":{{"id":"listing-1","last":{last}}},"files":[{}]"#, entries.join(","));
        register(&mut connection, number, &listing).await?;
    }
    let registered = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let digest = client::peer::digest(files.iter().map(|(name, hash)| (name, hash)));
    let mut repeats = Samples::default();
    let mut bytes = 0;
    for number in 0..REPEATS {
        let listing = format!(r#""digest":"{digest}","count":{}"#, files.len());
        let sent = Instant::now();
        bytes = register(&mut connection, pages + number, &listing).await?;
        repeats.add(sent.elapsed());
        let answer: Value = serde_json::from_slice(connection.body()).context("not JSON")?;
        if answer["listing"] != "unchanged" {
            bail!("the digest was answered with {}", answer["listing"]);
        }
    }
    let done = writers.stop().await?;
    let (before, during) = (done.between(began, registering), done.between(registering, registered));
    let others = |what: &str, samples: &Samples| {
        Figure::median("register", format!("announces of {CLIENTS} clients {what} (p50)"), samples)
            .with_errors(done.errors)
    };
    let took = (registered - registering).as_secs_f64();
    Ok(vec![
        others("before a large peer registers", &before),
        others("while a large peer registers", &during).with_target("p99 < 2x before"),
        Figure::of("register", format!("{} files registered", files.len()), took, "s"),
        Figure::of("register", "request of its next registration, by digest", bytes as f64, "bytes")
            .with_target("< 1,024"),
        Figure::median("register", "registered again by digest (median)", &repeats).with_target("< 10"),
    ])
}

fn files(count: usize) -> anyhow::Result<Vec<(FileName, ContentHash)>> {
    let one = |number: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let name = FileName::parse(format!("photos/{:02}/{number:06}.jpg", number % 100))?;
        Ok((name, ContentHash(hash)))
    };
    (0..count).map(one).collect()
}

/// Sends a registration; answers the bytes of its body.
async fn register(connection: &mut Connection, sequence: usize, listing: &str) -> anyhow::Result<usize> {
    let headers = format!("idempotency-key: {PEER}:{sequence}\r\nidempotency-floor: {sequence}\r\n");
    let body = format!(r#"{{"peerId":"{PEER}","address":"http://127.0.0.1:9",{listing}}}"#);
    match connection.send("POST", "/register", &headers, &body).await? {
        200 => Ok(body.len()),
        status => bail!("a registration was answered with {status}: {}", String::from_utf8_lossy(connection.body())),
    }
}
