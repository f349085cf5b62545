//! What 10,000 peers cost the leader that does nothing but hear from them.
//!
//! Invariant: heartbeats are sent at fixed moments, whatever the answers take; processor time is the kernel's account
//! of the leader's process, less what it takes when nobody asks it anything.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::load::Connection;
use super::samples::Samples;
use super::usage::cpu_s;
use super::writers::register;
use super::{Bench, Figure};

/// Registered peers.
const PEERS: usize = 10_000;
/// Time between two heartbeats of a peer (P3).
const INTERVAL: Duration = Duration::from_secs(20);
/// Connections that they share.
const CONNECTIONS: usize = 50;
/// For how long nobody asks the leader anything.
const IDLE: Duration = Duration::from_secs(5);

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    let pid = bench.cluster.pid(leader.id).context("the leader has no process")?;
    let (peers, beating) = if bench.quick { (1_000, Duration::from_secs(5)) } else { (PEERS, Duration::from_secs(30)) };
    let idle = share(pid, IDLE).await?;
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(&leader.address).await?;
        tasks.spawn(async move {
            for peer in (number..peers).step_by(CONNECTIONS) {
                register(&mut connection, &format!("beat-{peer}"), true).await?;
            }
            anyhow::Ok(connection)
        });
    }
    let mut connections = Vec::new();
    while let Some(connection) = tasks.join_next().await {
        connections.push(connection??);
    }
    let until = Instant::now() + beating;
    let mut beats = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        beats.spawn(beat(connection, number, peers, until));
    }
    let busy = share(pid, beating).await?;
    let mut answered = Samples::default();
    let mut errors = 0;
    while let Some(done) = beats.join_next().await {
        let (samples, failed) = done?;
        samples.into_iter().for_each(|sample| answered.add(sample));
        errors += failed;
    }
    if bench.cluster.leader().await.is_none_or(|now| now.id != leader.id) {
        bail!("leadership changed meanwhile");
    }
    let what = format!("leader's processor for {peers} peers, a heartbeat every {} s", INTERVAL.as_secs());
    let figure = Figure::of("heartbeats", what, busy - idle, "% of a core");
    Ok(vec![
        figure.with_samples(&answered).with_errors(errors).with_target("< 5"),
        Figure::of("heartbeats", "leader's processor while nobody asks it anything", idle, "% of a core"),
    ])
}

/// Heartbeats of every peer of one connection, evenly spread over the interval.
async fn beat(mut connection: Connection, number: usize, peers: usize, until: Instant) -> (Vec<Duration>, u64) {
    let (mut samples, mut errors) = (Vec::new(), 0);
    let own: Vec<usize> = (number..peers).step_by(CONNECTIONS).collect();
    let mut ticks = tokio::time::interval(INTERVAL / own.len().max(1) as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for peer in own.iter().cycle() {
        ticks.tick().await;
        if Instant::now() >= until {
            break;
        }
        let sent = std::time::Instant::now();
        match connection.send("POST", "/heartbeat", "", &format!(r#"{{"peerId":"beat-{peer}"}}"#)).await {
            Ok(200) if connection.body().starts_with(br#"{"ok":true"#) => samples.push(sent.elapsed()),
            Ok(_) => errors += 1,
            Err(_) => {
                errors += 1;
                break;
            }
        }
    }
    (samples, errors)
}

/// Processor time of a process over a while, in percent of one core.
async fn share(pid: u32, over: Duration) -> anyhow::Result<f64> {
    let taken = || cpu_s(pid).context("the leader's processor time is not known");
    let (before, started) = (taken()?, Instant::now());
    tokio::time::sleep(over).await;
    Ok((taken()? - before) / started.elapsed().as_secs_f64() * 100.0)
}
