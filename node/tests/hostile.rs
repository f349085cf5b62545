//! Whatever arrives on a node's port, and however much of it: the node goes on (N2, N4).
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::json;
use support::{Cluster, DEADLINE, eventually};

/// First bytes of a node-to-node connection.
const MAGIC: &[u8] = b"RSN1";
/// Descriptors of a node that is short of them.
const DESCRIPTORS: u32 = 512;

/// Sends bytes and waits until the node has closed the connection.
fn sends_until_closed(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        // It was closed with bytes unread.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{bytes:?}"),
    }
}

async fn metric(cluster: &Cluster, name: &str) -> u64 {
    let text = cluster.get(0, "/metrics").await.text;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_end_their_connection_and_not_the_node() {
    let mut cluster = Cluster::start(1).await;
    cluster.register("p").await;
    let hello = |frame: &[u8]| [MAGIC, frame].concat();
    let frames = [
        // 4 GiB, 64 MiB, and a hello of 5 KiB are announced.
        hello(&[0xff; 8]),
        hello(&[0, 0, 0, 4, 0, 0, 0, 0]),
        hello(&[0, 0x14, 0, 0, 0, 0, 0, 0]),
        // The checksum is wrong.
        hello(&[2, 0, 0, 0, 1, 2, 3, 4, 1, 5]),
        hello(&[0; 64]),
    ];
    let address = cluster.nodes[0].address.clone();
    for frame in &frames {
        sends_until_closed(&address, frame);
    }
    sends_until_closed(&address, b"\x16\x03\x01 no HTTP either\r\n\r\n");
    eventually("all of them were counted", async || {
        metric(&cluster, "raftshare_bad_frames_total").await == frames.len() as u64
    })
    .await;
    cluster.register("q").await;
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.ready().await;
    assert_eq!(cluster.get(0, "/peers").await.json.as_array().map(Vec::len), Some(2), "nothing is lost");
}

/// A hello of somebody who is no member, and has a question.
fn outsider_hello() -> Vec<u8> {
    let (length, message) = (2_u32.to_le_bytes(), [1_u8, 5]);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length);
    checksum.update(&message);
    [MAGIC, &length, &checksum.finalize().to_le_bytes(), &message].concat()
}

/// Connections to a node that say hello and nothing more, or nothing at all.
fn strangers(address: &str) -> Vec<TcpStream> {
    let stranger = |number: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&if number.is_multiple_of(2) { MAGIC.to_vec() } else { outsider_hello() }).unwrap();
        stream
    };
    (0..300).map(stranger).collect()
}

/// There are more of them than slots for members' connections, and they take those that a member leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_keep_no_member_out() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p").await;
    let follower = (cluster.leader().await + 1) % 3;
    let addresses: Vec<_> = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    let others = || addresses.iter().enumerate().filter(|(node, _)| *node != follower).map(|(_, address)| address);
    let before: Vec<_> = others().flat_map(|address| strangers(address)).collect();
    cluster.nodes[follower].kill();
    let after: Vec<_> = others().flat_map(|address| strangers(address)).collect();
    cluster.nodes[follower].start();
    cluster.ready().await;
    cluster.equal_digests().await;
    drop((before, after));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_callers_keep_neither_clients_nor_the_store_out() {
    let mut cluster = Cluster::start(1).await;
    cluster.nodes[0].kill();
    cluster.nodes[0].start_with_descriptors(DESCRIPTORS);
    cluster.ready().await;
    // More than there are descriptors: some never say anything, others stop in the middle of a head.
    let silent: Vec<_> = (0..DESCRIPTORS + 100)
        .map(|number| {
            let mut stream = TcpStream::connect(&cluster.nodes[0].address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a").unwrap();
            }
            stream
        })
        .collect();
    cluster.register("p").await;
    let taken = cluster.post(0, "/cluster/snapshot", json!({})).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    eventually("the snapshot is taken", async || {
        cluster.get(0, "/stats").await.json["snapshotIndex"].as_u64().is_some_and(|index| index > 0)
    })
    .await;
    assert!(metric(&cluster, "raftshare_connections_closed_total").await > 0);
    cluster.register("q").await;
    drop(silent);
}
