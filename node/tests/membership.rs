//! Changes of members against dead, lagging, unknown and paused targets: no single command takes the quorum away, each
//! is refused at once with the reason, and nothing happens after its deadline (C2, C6, W6).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and measure")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Cluster, eventually, file, hash, run};

/// What a refusal may take: members are asked for half a second, and a new leader is given a second to hear from them.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn refused(cluster: &Cluster, leader: usize, path: &str, body: Value) -> String {
    let started = Instant::now();
    let answer = cluster.post(leader, path, body.clone()).await;
    let what = format!("{path} {body}: {}", answer.text);
    assert_eq!((answer.status, answer.code()), (409, "membership_refused"), "{what}");
    assert_eq!(answer.json["applied"], "no", "{what}");
    assert!(started.elapsed() < AT_ONCE, "{what} after {:?}", started.elapsed());
    answer.json["detail"].as_str().unwrap().to_owned()
}

async fn takes_writes(cluster: &Cluster, leader: usize, name: &str) {
    let write = json!({"peerId": "p1", "file": file(name, 1, name)});
    let answer = cluster.post(leader, "/announce", write).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_takes_the_quorum_away() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    let [leader_id, dead_id, alive_id] = [leader, dead, alive].map(|place| cluster.nodes[place].id);
    // A learner that had caught up, and died.
    let join = ["--join".to_owned(), cluster.nodes[leader].url(""), "--learner".to_owned()];
    let mut learner = cluster.extra_node(4, &join);
    learner.start();
    cluster.nodes.push(learner);
    let role = async |id: u64| {
        let members = cluster.get(leader, "/cluster").await.json["nodes"].clone();
        let member = members.as_array().unwrap().iter().find(|member| member["id"] == id).cloned();
        member.map(|member| member["role"].as_str().unwrap_or("?").to_owned())
    };
    eventually("node 4 is a learner", async || role(4).await.as_deref() == Some("learner")).await;
    cluster.equal_digests().await;
    cluster.nodes[3].kill();
    cluster.nodes[dead].kill();
    takes_writes(&cluster, leader, "before").await;
    let why = refused(&cluster, leader, "/cluster/promote", json!({"id": 4})).await;
    assert!(why.contains("node 4 does not answer"), "{why}");
    for id in [alive_id, leader_id] {
        let why = refused(&cluster, leader, "/cluster/remove", json!({"id": id})).await;
        assert!(why.contains(&format!("node {dead_id} does not answer")), "{why}");
        refused(&cluster, leader, "/cluster/demote", json!({"id": id})).await;
    }
    refused(&cluster, leader, "/cluster/transfer", json!({"id": dead_id})).await;
    refused(&cluster, leader, "/cluster/transfer", json!({"id": 4})).await;
    for path in ["/cluster/promote", "/cluster/demote", "/cluster/remove", "/cluster/transfer"] {
        refused(&cluster, leader, path, json!({"id": 77})).await;
    }
    refused(&cluster, leader, "/cluster/learners", json!({"id": 5, "address": "127.0.0.1:1"})).await;
    takes_writes(&cluster, leader, "after").await;
    // What helps is allowed: the dead ones go.
    let url = cluster.nodes[leader].url("");
    for id in [4, dead_id] {
        let removed = run(&["remove", &id.to_string(), "--node", &url]);
        assert_eq!(removed.status.code(), Some(0), "{removed:?}");
    }
    takes_writes(&cluster, leader, "with two").await;
    // And the last voter stays.
    let demoted = cluster.post(leader, "/cluster/demote", json!({"id": alive_id})).await;
    assert_eq!(demoted.status, 200, "{}", demoted.text);
    let why = refused(&cluster, leader, "/cluster/remove", json!({"id": leader_id})).await;
    assert!(why.contains("last voter"), "{why}");
    takes_writes(&cluster, leader, "with one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_nobody_who_does_not_answer() {
    let cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let target = (leader + 1) % 3;
    cluster.nodes[target].signal(support::Signal::STOP);
    let url = cluster.nodes[leader].url("");
    let id = cluster.nodes[target].id.to_string();
    let transferred = run(&["transfer-leader", &id, "--node", &url, "-o", "json"]);
    assert_eq!(transferred.status.code(), Some(5), "{transferred:?}");
    let error: Value = serde_json::from_slice(&transferred.stderr).expect("one JSON object");
    assert_eq!((&error["code"], &error["exit"]), (&json!("membership_refused"), &json!(5)), "{error}");
    takes_writes(&cluster, leader, "meanwhile").await;
    cluster.nodes[target].signal(support::Signal::CONT);
    eventually("the target answers again", async || {
        cluster.post(leader, "/cluster/transfer", json!({"id": cluster.nodes[target].id})).await.status == 200
    })
    .await;
    assert_eq!(cluster.leader().await, target);
}

/// W6: what waited while the process was paused is refused when it goes on, although it had
/// just arrived as far as the node knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_that_waited_through_a_pause() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    cluster.nodes[0].signal(support::Signal::STOP);
    let calls = [
        ("/announce", json!({"peerId": "p1", "file": {"name": "late", "version": 1, "size": 1, "hash": hash("l")}})),
        ("/cluster/learners", json!({"id": 2, "address": "127.0.0.1:1"})),
    ];
    let sent = calls.map(|(path, body)| {
        let request = cluster.http.post(cluster.nodes[0].url(path)).body(body.to_string());
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    });
    // Longer than the silence that counts as a pause.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    cluster.nodes[0].signal(support::Signal::CONT);
    for answer in sent {
        let answer = answer.await.unwrap();
        assert_eq!((&answer["code"], &answer["applied"]), (&json!("overloaded"), &json!("no")), "{answer}");
    }
    takes_writes_again(&cluster).await;
    assert_eq!(cluster.get(0, "/file?name=late").await.status, 404);
}

async fn takes_writes_again(cluster: &Cluster) {
    eventually("it takes writes again", async || {
        let write = json!({"peerId": "p1", "file": file("later", 1, "x")});
        cluster.post(0, "/announce", write).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_wherever_it_is_sent() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    // A server that is not there comes first.
    let servers = format!("http://127.0.0.1:1,{}", cluster.nodes[0].url(""));
    let piped = run(&["backup", "-", "--node", &servers]);
    assert_eq!(piped.status.code(), Some(0), "{piped:?}");
    raft_store::storage::check_snapshot(&piped.stdout).expect("the standard output is the backup and nothing else");
    assert!(String::from_utf8_lossy(&piped.stderr).contains("checksum verified"), "{piped:?}");
    let name = cluster.dir.path().join("x.part");
    let saved = run(&["backup", name.to_str().unwrap(), "--node", &servers]);
    assert_eq!(saved.status.code(), Some(0), "{saved:?}");
    let verified = run(&["verify", name.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let nowhere = run(&["backup", "-", "--node", "http://127.0.0.1:1", "--timeout", "2s"]);
    assert_eq!(nowhere.status.code(), Some(6), "{nowhere:?}");
    for wrong in ["0s", "1h", "soon"] {
        let refused = run(&["status", "--node", &servers, "--timeout", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}
