//! A follower's answer to a client that has just written at the leader: how long `min_index` makes a stale read wait,
//! while others write (R3).
//!
//! Invariant: the read is sent when the write's answer is there, and it is answered by the follower that was asked.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::load::Connection;
use super::samples::Samples;
use super::writers::{WriterOptions, Writers, announcement, register};
use super::{Bench, Figure, original};

/// Writes per second in the background, and the clients that make them.
const BACKGROUND_PER_SECOND: u32 = 1_000;
const BACKGROUND_CLIENTS: u32 = 50;
const PEER: &str = "fresh";

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    let follower = bench.cluster.ids().into_iter().find(|id| *id != leader.id).context("there is no follower")?;
    let follower = bench.cluster.url(follower).context("it has no address")?;
    let follower = follower.trim_start_matches("http://");
    let plan = WriterOptions {
        host: leader.address.clone(),
        run: "background".into(),
        clients: BACKGROUND_CLIENTS as usize,
        pace: Some(Duration::from_secs(1) * BACKGROUND_CLIENTS / BACKGROUND_PER_SECOND),
        names: None,
    };
    let writers = Writers::start(&plan).await?;
    let began = Instant::now();
    let (mut writer, mut reader) = (Connection::open(&leader.address).await?, Connection::open(follower).await?);
    register(&mut writer, PEER, false).await?;
    let mut samples = Samples::default();
    for number in 1..=if bench.quick { 300 } else { 3_000 } {
        let (headers, body) = announcement(PEER, number, number);
        let status = writer.send("POST", "/announce", &headers, &body).await?;
        let index = writer.header("raftshare-index").map(str::to_owned);
        let index = index.filter(|_| status == 200).with_context(|| format!("a write was answered with {status}"))?;
        let path = format!("/file?name=load/{PEER}/{number}&consistency=stale&min_index={index}");
        let sent = Instant::now();
        let status = reader.send("GET", &path, "", "").await?;
        samples.add(sent.elapsed());
        if status != 200 {
            bail!("a read was answered with {status}: {}", String::from_utf8_lossy(reader.body()));
        }
    }
    let took = began.elapsed().as_secs_f64();
    let done = writers.stop().await?;
    let rate = done.answered.len() as f64 / took;
    let what = "stale read at a follower of what was just written (median)";
    Ok(vec![
        Figure::median("freshness", what, &samples)
            .with_errors(done.errors)
            .with_original(original::SHADOW_LAG_MS)
            .with_target("p99 < 5"),
        Figure::of("freshness", "writes of others beside it", rate, "writes/s"),
    ])
}
