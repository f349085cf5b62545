//! The lock server as its users know it: clients append to one file in turn while leaders die, and a queue that anybody
//! can look at. Real node processes, and real peers that serve the file to each other.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;
#[path = "../../client/examples/append_line/turns.rs"]
mod turns;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{Cluster, DEADLINE, eventually, file};
use turns::Clerk;

const CLIENTS: usize = 20;
const LINES: usize = 2;
/// A leader is killed after each so many lines.
const LINES_BETWEEN_KILLS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_append_in_the_order_of_their_grants_while_leaders_die() {
    let mut cluster = Cluster::start(3).await;
    let servers: Vec<String> = cluster.nodes.iter().map(|node| node.url("")).collect();
    let folders = tempfile::tempdir().unwrap();
    let clerks = turns::open(&servers.join(","), folders.path(), CLIENTS).await.unwrap();
    let (lines, mut written) = tokio::sync::watch::channel(0);
    let told = Arc::new(move |_: &turns::Turn| lines.send_modify(|lines| *lines += 1));
    let working = {
        let clerks = clerks.clone();
        tokio::spawn(async move { turns::take_turns(&clerks, "shared.log", LINES, told).await })
    };
    let mut kills = 0;
    loop {
        let next = LINES_BETWEEN_KILLS * (kills + 1);
        if next >= CLIENTS * LINES || written.wait_for(|lines| *lines >= next).await.is_err() {
            break;
        }
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        cluster.leader().await;
        cluster.nodes[leader].start();
        cluster.ready().await;
        kills += 1;
    }
    let turns = tokio::time::timeout(DEADLINE, working).await.expect("the lines are written").unwrap().unwrap();
    assert_eq!((turns.len(), kills), (CLIENTS * LINES, 3));
    let content = clerks[0].read("shared.log").await.unwrap();
    turns::check(&content, &turns).unwrap();
    for clerk in clerks {
        Clerk::close(clerk).await;
    }
    cluster.equal_digests().await;
}

fn lease(peer: &str) -> Value {
    json!({"peerId": peer, "fileName": "a.txt", "ttlMs": 60_000})
}

/// Who waits, in order, as any node tells.
async fn queue(cluster: &Cluster, node: usize) -> Vec<String> {
    let status = cluster.get(node, "/lease?file=a.txt&consistency=linearizable").await.json;
    let line = status["line"].as_array().unwrap();
    assert!(line.iter().zip(1..).all(|(place, position)| place["position"] == json!(position)), "{status}");
    line.iter().map(|place| place["peerId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_queue_and_its_answers_survive_the_leader() {
    let mut cluster = Cluster::start(3).await;
    for peer in ["p1", "p2", "p3"] {
        cluster.register(peer).await;
    }
    let granted = cluster.post_with(0, "/lease", lease("p1"), &[("idempotency-key", "s:1")]).await;
    let token = granted.json["leaseToken"].clone();
    for (position, peer) in (1..).zip(["p2", "p3"]) {
        let mut waiting = lease(peer);
        waiting["wait"] = json!(true);
        let denied = cluster.post_with(0, "/lease", waiting, &[("idempotency-key", "s:1")]).await;
        assert_eq!((&denied.json["granted"], &denied.json["position"]), (&json!(false), &json!(position)));
    }
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let node = (leader + 1) % 3;
    eventually("another leader answers", async || {
        cluster.get(node, "/lease?file=a.txt&consistency=linearizable").await.status == 200
    })
    .await;
    assert_eq!(queue(&cluster, node).await, ["p2", "p3"]);

    // Whoever does not hold the lease is told so, and changes nothing.
    let wrong = json!({"peerId": "p2", "fileName": "a.txt", "leaseToken": "00".repeat(16)});
    for (path, code) in [("/lease/release", "lease_expired"), ("/lease/renew", "lease_expired")] {
        let refused = cluster.post(node, path, wrong.clone()).await;
        assert_eq!((refused.status, refused.code(), &refused.json["applied"]), (403, code, &json!("no")), "{path}");
    }
    let append = json!({"peerId": "p2", "file": file("a.txt", 1, "x"), "leaseToken": "00".repeat(16)});
    assert_eq!(cluster.post(node, "/announce", append).await.status, 403);

    // A duplicate is answered like the first, whether the lease is taken or published under.
    let again = cluster.post_with(node, "/lease", lease("p1"), &[("idempotency-key", "s:1")]).await;
    assert_eq!(again.json["leaseToken"], token);
    let publish = json!({"peerId": "p1", "file": file("a.txt", 1, "x"), "leaseToken": token});
    for _ in 0..2 {
        let published = cluster.post_with(node, "/announce", publish.clone(), &[("idempotency-key", "s:2")]).await;
        assert_eq!((published.status, &published.json["version"]), (200, &json!(1)), "{}", published.text);
    }
    // Publishing has ended the lease, so the head of the queue claims it with its next poll, and the other moves up.
    let mut poll = lease("p2");
    poll["wait"] = json!(true);
    let claimed = cluster.post_with(node, "/lease", poll, &[("idempotency-key", "s:1")]).await;
    assert_eq!(claimed.json["granted"], json!(true), "{}", claimed.text);
    assert!(claimed.json["fencingToken"].as_u64() > granted.json["fencingToken"].as_u64());
    assert_eq!(queue(&cluster, node).await, ["p3"]);
    let release = json!({"peerId": "p2", "fileName": "a.txt", "leaseToken": claimed.json["leaseToken"]});
    for _ in 0..2 {
        let released = cluster.post_with(node, "/lease/release", release.clone(), &[("idempotency-key", "s:9")]).await;
        assert_eq!(released.status, 204, "{}", released.text);
    }
    let left = cluster.post(node, "/lease/leave", json!({"peerId": "p3", "fileName": "a.txt"})).await;
    assert_eq!(left.status, 204);
    assert_eq!(cluster.get(node, "/lease?file=a.txt&consistency=linearizable").await.status, 404);
}
