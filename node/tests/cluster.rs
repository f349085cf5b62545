//! The cluster under failures that need no fault injector: killed leaders and whole clusters, lost and foreign data,
//! members that come and go, refused starts.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and measure")]

mod support;

use serde_json::{Value, json};
use support::{Cluster, eventually, file, run};

#[tokio::test]
async fn a_lease_and_its_update_survive_the_leader() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let lease = json!({"peerId": "p1", "fileName": "a.txt"});
    let granted = cluster.post_with(0, "/lease", lease.clone(), &[("idempotency-key", "s:1")]).await;
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let other = (leader + 1) % 3;
    let stale = cluster.get(other, "/search?q=").await;
    assert_eq!(stale.status, 200, "a plain read always gets an answer");
    let again = cluster.post_with(other, "/lease", lease, &[("idempotency-key", "s:1")]).await;
    assert_eq!(again.json["leaseToken"], granted.json["leaseToken"], "the new leader remembers the answer");
    assert!(again.json["ttlMs"].as_u64().unwrap() <= 60_000);
    let publish = json!({"peerId": "p1", "file": file("a.txt", 1, "a"), "leaseToken": granted.json["leaseToken"]});
    let published = cluster.post(other, "/announce", publish).await;
    assert_eq!(published.json["version"], 1, "{}", published.text);
    cluster.nodes[leader].start();
    cluster.ready().await;
    cluster.equal_digests().await;
}

#[tokio::test]
async fn everything_survives_a_kill_of_all_nodes() {
    let mut cluster = Cluster::start_with(3, &["--snapshot-every", "20"]).await;
    cluster.ready().await;
    cluster.register("p1").await;
    for n in 0..60 {
        let answer = cluster.announce("p1", &format!("f{n}"), 1, "a").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let lease = cluster.post(0, "/lease", json!({"peerId": "p1", "fileName": "f1"})).await;
    let backup = cluster.http.get(cluster.nodes[1].url("/cluster/backup")).send().await.unwrap();
    assert_eq!(backup.status(), 200);
    raft_store::storage::check_snapshot(&backup.bytes().await.unwrap()).expect("a backup checks itself");
    eventually("a snapshot is taken", async || {
        cluster.get(0, "/stats").await.json["snapshotIndex"].as_u64().unwrap() > 0
    })
    .await;
    cluster.nodes.iter_mut().for_each(support::NodeProcess::kill);
    cluster.nodes.iter_mut().for_each(support::NodeProcess::start);
    cluster.ready().await;
    // A ready node has loaded its name index (R1).
    for node in 0..3 {
        let found = cluster.get(node, "/search?q=f&mode=prefix&consistency=stale").await;
        assert_eq!(found.header("raftshare-total"), "60", "node {node}: {}", found.text);
    }
    let stats = cluster.get(0, "/stats?consistency=linearizable").await;
    assert_eq!((&stats.json["files"], &stats.json["leases"]), (&json!(60), &json!(1)), "{}", stats.text);
    let publish = json!({"peerId": "p1", "file": file("f1", 2, "b"), "leaseToken": lease.json["leaseToken"]});
    assert_eq!(cluster.post(1, "/announce", publish).await.json["version"], 2);
    cluster.equal_digests().await;
}

#[tokio::test]
async fn without_a_majority_writes_fail_definitely_and_reads_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "a.txt", 1, "a").await;
    // The node that is left has to have applied it.
    cluster.equal_digests().await;
    let leader = cluster.leader().await;
    let left = (leader + 1) % 3;
    cluster.nodes[leader].kill();
    cluster.nodes[(leader + 2) % 3].kill();
    let write = cluster.post(left, "/announce", json!({"peerId": "p1", "file": file("b.txt", 1, "b")})).await;
    assert_eq!((write.status, write.code(), &write.json["applied"]), (503, "no_quorum", &json!("no")));
    let strong = cluster.get(left, "/file?name=a.txt&consistency=linearizable").await;
    assert_eq!((strong.status, strong.code()), (503, "no_quorum"));
    let read = cluster.get(left, "/file?name=a.txt").await;
    assert_eq!((read.status, &read.json["version"]), (200, &json!(1)));
    assert_eq!(cluster.get(left, "/readyz").await.status, 503);
    assert_eq!(cluster.get(left, "/healthz").await.status, 200);
    let too_old = cluster.get(left, "/file?name=a.txt&consistency=stale&max_staleness_ms=0").await;
    assert_eq!((too_old.status, too_old.code()), (503, "too_stale"));
    let url = cluster.nodes[left].url("");
    assert_eq!(run(&["status", "--node", &url]).status.code(), Some(6));
}

#[tokio::test]
async fn r5_what_a_node_does_not_know_is_null() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "a.txt", 1, "a").await;
    assert_eq!(cluster.post(0, "/lease", json!({"peerId": "p1", "fileName": "a.txt"})).await.status, 200);
    cluster.equal_digests().await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;

    // A follower's own answer: only the leader plans and hears the peers.
    let stats = cluster.get(follower, "/stats?consistency=stale").await.json;
    for field in ["underReplicated", "tasks", "graceRemainingMs"] {
        assert_eq!(stats.get(field), Some(&Value::Null), "{field}");
    }
    let peers = cluster.get(follower, "/peers?consistency=stale").await.json;
    assert_eq!(peers[0].get("lastSeen"), Some(&Value::Null), "{peers}");
    let why = cluster.get(follower, "/why?file=a.txt&consistency=stale").await.json;
    assert_eq!((&why["tasks"], &why["refused"], &why["rule"]["underWay"]), (&Value::Null, &Value::Null, &Value::Null));
    assert!(!cluster.get(follower, "/metrics").await.text.contains("raftshare_files_below_r"));
    // The leader's own answer, also for the level that any node can answer from its state.
    for level in ["leader", "linearizable"] {
        let stats = cluster.get(follower, &format!("/stats?consistency={level}")).await.json;
        assert!(stats["underReplicated"].is_u64(), "{level}: {stats}");
    }
    assert!(cluster.get(follower, "/peers?consistency=leader").await.json[0]["lastSeen"].is_u64());
    // A read without a level is the leader's, as long as this node hears from it.
    eventually("the leader's answer", async || cluster.get(follower, "/stats").await.json["underReplicated"].is_u64())
        .await;
    assert!(cluster.get(leader, "/metrics").await.text.contains("raftshare_files_below_r"));

    // The leader alone, and then a follower alone.
    cluster.nodes[follower].kill();
    cluster.nodes[(leader + 2) % 3].kill();
    nothing_is_known_about_others(&cluster, leader).await;
    let metrics = cluster.get(leader, "/metrics").await.text;
    assert!(metrics.contains("raftshare_raft_is_leader 0"), "an isolated leader leads nobody");
    cluster.nodes[leader].kill();
    cluster.nodes[follower].start();
    eventually("the follower serves", async || {
        cluster.http.get(cluster.nodes[follower].url("/healthz")).send().await.is_ok()
    })
    .await;
    nothing_is_known_about_others(&cluster, follower).await;
}

/// What the only node that is left says.
async fn nothing_is_known_about_others(cluster: &Cluster, left: usize) {
    eventually("no leader is named", async || cluster.get(left, "/leader").await.code() == "no_quorum").await;
    let answer = cluster.get(left, "/cluster").await;
    assert_ne!(answer.header("raftshare-role"), "leader");
    assert_eq!(answer.json["leader"], Value::Null, "{}", answer.text);
    for node in answer.json["nodes"].as_array().unwrap() {
        let own = node["id"] == json!(cluster.nodes[left].id);
        assert_eq!(node["alive"], json!(own), "{node}");
        assert_eq!(node["lag"], Value::Null, "nobody is ahead of whom: {node}");
        for field in ["role", "lastContactMs", "appliedIndex", "condition", "version"] {
            assert!(node.get(field).is_some_and(|value| value.is_null() != own), "{field}: {node}");
        }
    }
    let stats = cluster.get(left, "/stats").await.json;
    assert_eq!((&stats["underReplicated"], &stats["tasks"]), (&Value::Null, &Value::Null));
    assert_eq!(cluster.get(left, "/peers").await.json[0]["lastSeen"], Value::Null);
    let lease = cluster.get(left, "/lease?file=a.txt").await.json;
    assert_eq!((&lease["remainingMs"], &lease["expiration"]), (&Value::Null, &Value::Null), "{lease}");
    let status = run(&["status", "--node", &cluster.nodes[left].url("")]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned() + &String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.code(), Some(6), "{text}");
    assert!(text.contains("leader none") && text.contains("start it again"), "{text}");
    assert!(!text.contains("raftshare-node remove"), "{text}");
}

#[tokio::test]
async fn a_node_is_ready_once_it_has_caught_up() {
    const PAGES: usize = 50;
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    cluster.nodes[late].kill();
    for page in 0..PAGES {
        let files: Vec<_> = (0..100).map(|n| file(&format!("f{page}-{n}"), 1, "a")).collect();
        let answer = cluster.post(leader, "/announce", json!({"peerId": "p1", "files": files})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    cluster.nodes[late].start();
    // Asked again at once: it is the moment after it says so that counts.
    let (url, started) = (cluster.nodes[late].url("/readyz"), std::time::Instant::now());
    while !cluster.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(started.elapsed() < support::DEADLINE, "it does not become ready");
        tokio::task::yield_now().await;
    }
    let read = cluster.get(late, &format!("/file?name=f{}-99&consistency=stale", PAGES - 1)).await;
    assert_eq!(read.status, 200, "{}", read.text);
}

#[tokio::test]
async fn a_write_lost_with_the_leader_is_unknown_however_the_retries_end() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let (left, dead) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[dead].kill();
    cluster.nodes[leader].signal(support::Signal::STOP);
    let request = cluster
        .http
        .post(cluster.nodes[left].url("/announce"))
        .header("idempotency-key", "k")
        .body(json!({"peerId": "p1", "file": file("a.txt", 1, "a")}).to_string());
    let sent = tokio::spawn(request.send());
    // The stopped leader's kernel takes the forwarded request in; its process dies before it can answer.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    cluster.nodes[leader].kill();
    let answer: Value = sent.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&answer["code"], &answer["applied"]), (&json!("outcome_unknown"), &json!("unknown")), "{answer}");
}

#[tokio::test]
async fn a_learner_joins_by_snapshot_is_promoted_and_removed() {
    let mut cluster = Cluster::start_with(3, &["--snapshot-every", "20"]).await;
    cluster.ready().await;
    cluster.register("p1").await;
    for n in 0..1_100 {
        if n % 100 == 0 {
            let files: Vec<_> = (n..n + 100).map(|n| file(&format!("f{n}"), 1, "a")).collect();
            cluster.post(0, "/announce", json!({"peerId": "p1", "files": files})).await;
        }
    }
    let flags = ["--join".to_owned(), cluster.nodes[0].url("")];
    let mut fourth = cluster.extra_node(4, &flags);
    fourth.start();
    cluster.nodes.push(fourth);
    cluster.ready().await;
    let roles = async || cluster.get(0, "/cluster").await.json["nodes"].clone();
    eventually("node 4 votes", async || {
        roles().await.as_array().unwrap().iter().any(|node| node["id"] == 4 && node["role"] == "follower")
    })
    .await;
    cluster.equal_digests().await;
    let leader = cluster.leader().await;
    let target = (leader + 1) % 3 + 1;
    let transferred = cluster.post(0, "/cluster/transfer", json!({"id": target})).await;
    assert_eq!(transferred.status, 200, "{}", transferred.text);
    assert_eq!(cluster.nodes[cluster.leader().await].id, target as u64);
    let removed = cluster.post(0, "/cluster/remove", json!({"id": 4})).await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    assert_eq!(roles().await.as_array().unwrap().len(), 3);
    let url = cluster.nodes[0].url("");
    let status = run(&["status", "--node", &url]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("HEALTHY"), "{status:?}");
}

#[tokio::test]
async fn a_removal_that_loses_the_majority_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[dead].kill();
    let refused = cluster.post(leader, "/cluster/demote", json!({"id": cluster.nodes[alive].id})).await;
    assert_eq!((refused.status, refused.code()), (409, "membership_refused"), "{}", refused.text);
    let voters = cluster.get(leader, "/cluster").await.json["quorum"]["size"].clone();
    assert_eq!(voters, json!(2), "still three voters");
}

#[tokio::test]
async fn a_dead_node_is_replaced_and_a_wiped_one_returns_as_another() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "a.txt", 1, "a").await;
    let dead = (cluster.leader().await + 1) % 3;
    let alive = cluster.nodes[(dead + 1) % 3].url("");
    cluster.nodes[dead].kill();
    let old = cluster.nodes[dead].id.to_string();
    let mut fourth = cluster.extra_node(4, &[]);
    fourth.start();
    let address = fourth.address.clone();
    cluster.nodes.push(fourth);
    let listening = cluster.nodes[3].url("/healthz");
    eventually("node 4 listens", async || cluster.http.get(&listening).send().await.is_ok()).await;
    let replaced = run(&["replace", &old, "4", "--addr", &address, "--node", &alive]);
    assert_eq!(replaced.status.code(), Some(0), "{replaced:?}");
    cluster.ready().await;
    cluster.equal_digests().await;
    // The same node comes back without its disk: its members refuse it until it is taken in anew.
    cluster.nodes[3].kill();
    std::fs::remove_dir_all(&cluster.nodes[3].data).unwrap();
    cluster.nodes[3].start();
    eventually("node 4 listens again", async || cluster.http.get(&listening).send().await.is_ok()).await;
    let readiness = cluster.http.get(cluster.nodes[3].url("/readyz")).send().await.unwrap();
    assert_eq!(readiness.status(), 503, "an empty node must not take part under its old identity");
    let again = run(&["replace", "4", "4", "--addr", &address, "--node", &alive]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    cluster.ready().await;
    cluster.equal_digests().await;
    let verified = run(&["verify", "--node", &alive]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

#[tokio::test]
async fn a_stopped_leader_hands_over_and_exits_cleanly() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term: Value = cluster.get(leader, "/leader").await.json["term"].clone();
    cluster.nodes[leader].signal(support::Signal::TERM);
    assert!(cluster.nodes[leader].wait().success());
    let next = cluster.leader().await;
    assert!(cluster.get(next, "/leader").await.json["term"].as_u64() > term.as_u64());
}

#[tokio::test]
async fn wrong_starts_are_refused_with_a_word() {
    let mut cluster = Cluster::start(3).await;
    let said = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let in_use = said(&mut cluster.nodes[0].command());
    assert!(in_use.0 != Some(0) && in_use.1.contains("cannot listen"), "{in_use:?}");
    let other_port = cluster.extra_node(1, &[]);
    let same_data = said(&mut other_port.command());
    assert!(same_data.0 != Some(0) && same_data.1.contains("node1"), "{same_data:?}");
    // Another node's directory.
    cluster.nodes[2].kill();
    std::fs::rename(cluster.dir.path().join("node3"), cluster.dir.path().join("node9")).unwrap();
    let foreign = said(&mut cluster.extra_node(9, &[]).command());
    assert!(foreign.0 != Some(0) && foreign.1.contains('3') && foreign.1.contains('9'), "{foreign:?}");
    // A node that lost its directory and is started as if nothing had happened.
    let lost = said(&mut cluster.nodes[2].command());
    assert!(lost.0 != Some(0) && lost.1.contains("lost its disk"), "{lost:?}");
    // A directory of another cluster.
    let mut other = Cluster::start(1).await;
    other.nodes[0].kill();
    let flags: Vec<_> = cluster.nodes[0].flags().to_vec();
    std::fs::rename(other.dir.path().join("node1"), cluster.dir.path().join("node1-of-another")).unwrap();
    let mut stranger = cluster.extra_node(1, &flags);
    stranger.data = cluster.dir.path().join("node1-of-another");
    let stranger = said(&mut stranger.command());
    assert!(stranger.0 != Some(0) && stranger.1.contains("belongs to cluster"), "{stranger:?}");
}
