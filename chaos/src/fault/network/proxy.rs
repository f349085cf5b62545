//! A proxy in front of one node: takes the connections that others make to it, and passes their
//! bytes as the links' rules allow.
//!
//! Invariants:
//! - bytes are delivered in order, or their connection is reset: nothing is dropped out of the middle;
//! - bits are flipped only in connections that speak Raft's own protocol, and never in the bytes that say so: HTTP that
//!   one node forwards to another has no checksum of its own;
//! - what a cut holds is bounded ([`CHUNKS_MAX`] chunks of [`CHUNK_BYTES`] per direction of a connection); beyond it
//!   the sender is no longer read from, as with a full window;
//! - a connection that is made while a link is cut is accepted, and reaches the node only once the link is open and if
//!   its maker still waits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft_store::types::NodeId;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::link::{Counters, Link, Links};
use super::owner::{Owner, Owners};

/// Longest chunk, in bytes.
pub const CHUNK_BYTES: usize = 16 * 1_024;
/// Chunks under way per direction of one connection.
pub const CHUNKS_MAX: usize = 256;
/// Connections of one node at a time.
const CONNECTIONS_MAX: usize = 4_096;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The first bytes of a connection that carries Raft's messages; fixed by the product's protocol.
const RAFT: &[u8; 4] = b"RSN1";

/// A connection that must be reset.
struct Reset;

/// Bytes and when they may arrive; no bytes are the sender's end.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

/// Serves the proxy of node `to`, which listens at `target`, until it is dropped.
pub async fn serve(listener: TcpListener, to: NodeId, target: SocketAddr, links: Links, owners: Owners, seed: u64) {
    let mut connections = JoinSet::new();
    let mut seeds = StdRng::seed_from_u64(seed);
    loop {
        let inbound = match listener.accept().await {
            Ok((inbound, _)) => inbound,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            let rng = StdRng::seed_from_u64(seeds.random());
            connections.spawn(connection(inbound, to, target, links.clone(), owners.clone(), rng));
        }
    }
}

async fn connection(inbound: TcpStream, to: NodeId, target: SocketAddr, links: Links, owners: Owners, rng: StdRng) {
    let (Ok(near), Ok(far)) = (inbound.peer_addr(), inbound.local_addr()) else { return };
    let owner = owners.find(near, far).await;
    // Nagle would add delays that no rule asked for.
    let _ = inbound.set_nodelay(true);
    match owner {
        Owner::Gone => {}
        Owner::Node(from) => ruled(inbound, target, &links.get((from, to)), &links.get((to, from)), rng).await,
        Owner::Outsider => {
            let Ok(mut outbound) = TcpStream::connect(target).await else { return reset(&inbound) };
            let _ = outbound.set_nodelay(true);
            let mut inbound = inbound;
            // However it ends, both sides are closed.
            let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
        }
    }
}

async fn ruled(inbound: TcpStream, target: SocketAddr, there: &Link, back: &Link, mut rng: StdRng) {
    if there.rule().refuse || back.rule().refuse {
        Counters::add(&there.counters.resets, 1);
        return reset(&inbound);
    }
    let broken = async {
        tokio::select! {
            () = there.broken() => {}
            () = back.broken() => {}
        }
    };
    tokio::pin!(broken);
    let mut other = StdRng::seed_from_u64(rng.random());
    let (near_read, mut near_write) = inbound.into_split();
    let (sent, received) = mpsc::channel(CHUNKS_MAX);
    let raft = AtomicBool::new(false);
    let mut reading = Box::pin(read(near_read, (there, &raft), sent, &mut rng));
    // What the maker sends meanwhile is held; if it hangs up before the link opened, it is forgotten with what it sent.
    let outbound = tokio::select! {
        biased;
        () = &mut broken => None,
        dialled = dial(target, there, back) => dialled.ok(),
        _ = &mut reading => return,
    };
    let Some(outbound) = outbound else {
        Counters::add(&there.counters.resets, 1);
        reset(near_write.as_ref());
        // Or dropping it would end the connection in order first.
        return near_write.forget();
    };
    let (far_read, mut far_write) = outbound.into_split();
    let (answered, answers) = mpsc::channel(CHUNKS_MAX);
    let relay = async {
        tokio::try_join!(
            reading,
            write(received, there, &mut far_write),
            read(far_read, (back, &raft), answered, &mut other),
            write(answers, back, &mut near_write),
        )
        .is_err()
    };
    let is_broken = tokio::select! {
        // First, or a link that breaks as it heals would deliver what it held.
        biased;
        () = &mut broken => true,
        is_broken = relay => is_broken,
    };
    if is_broken {
        Counters::add(&there.counters.resets, 1);
        reset(near_write.as_ref());
        reset(far_write.as_ref());
        near_write.forget();
        far_write.forget();
    }
}

/// Connects to the node once both directions are open: a handshake needs both.
async fn dial(target: SocketAddr, there: &Link, back: &Link) -> std::io::Result<TcpStream> {
    while there.rule().holds() || back.rule().holds() {
        there.open().await;
        back.open().await;
    }
    let outbound = TcpStream::connect(target).await?;
    let _ = outbound.set_nodelay(true);
    Ok(outbound)
}

/// Takes bytes from one end and gives each chunk its time; `raft` turns true with the first chunk that says so.
async fn read(
    mut from: OwnedReadHalf,
    (link, raft): (&Link, &AtomicBool),
    chunks: mpsc::Sender<Chunk>,
    rng: &mut StdRng,
) -> Result<(), Reset> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut due = Instant::now();
    loop {
        // A connection that broke has ended, for the other end.
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let rule = link.rule();
        if rule.reset > 0.0 && rng.random_bool(rule.reset) {
            return Err(Reset);
        }
        let (late, lost) = rule.lateness(rng);
        let sending = rule.sending(count);
        due = (due + sending).max(Instant::now() + late + sending);
        let counters = &link.counters;
        Counters::add(&counters.held, if rule.holds() { count as u64 } else { 0 });
        Counters::add(&counters.late, u64::from(!(late + sending).is_zero()));
        Counters::add(&counters.lost, u64::from(lost));
        let known = raft.load(Ordering::Relaxed);
        if known && rule.damage(&mut buffer[..count], rng) {
            Counters::add(&counters.flips, 1);
        }
        if !known && buffer[..count].starts_with(RAFT) {
            raft.store(true, Ordering::Relaxed);
        }
        let chunk = Chunk { due, bytes: buffer[..count].to_vec() };
        // A full queue waits; a closed one means that nobody wants to know any more.
        if chunks.send(chunk).await.is_err() || count == 0 {
            return Ok(());
        }
    }
}

/// Delivers chunks at their time, while the link is open.
async fn write(mut chunks: mpsc::Receiver<Chunk>, link: &Link, to: &mut OwnedWriteHalf) -> Result<(), Reset> {
    while let Some(Chunk { due, bytes }) = chunks.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        link.open().await;
        if bytes.is_empty() {
            // Fails only for an end that is gone already.
            let _ = to.shutdown().await;
            return Ok(());
        }
        // The other end learns that this one is gone when the opposite direction is read.
        if to.write_all(&bytes).await.is_err() {
            return Ok(());
        }
        Counters::add(&link.counters.passed, bytes.len() as u64);
    }
    Ok(())
}

fn reset(stream: &TcpStream) {
    // Closing then sends a reset; fails only for a connection that is gone.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
