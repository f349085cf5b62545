//! The wire format of the original under `/v0`: its scenarios, its mistakes, its peers beside those of this version.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

#[path = "v0/mixed.rs"]
mod mixed;
#[path = "v0/original.rs"]
mod original;
mod support;

use original::{OldPeer, ZERO_TIME};
use serde_json::{Value, json};
use support::{Cluster, eventually, hash};

/// Nanoseconds, as the original's client numbers its versions.
const NANOS: i64 = 1_700_000_000_000_000_000;

fn v0(cluster: &Cluster, node: usize) -> String {
    cluster.nodes[node].url("/v0")
}

fn peer(id: &str) -> Value {
    json!({"id": id, "addr": format!("http://127.0.0.1:9/{id}"), "lastSeen": ZERO_TIME})
}

fn ids(peers: &Value) -> Vec<&str> {
    peers.as_array().unwrap().iter().map(|peer| peer["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn register_search_and_get_work_between_peers_of_the_original() {
    let cluster = Cluster::start(1).await;
    let server = v0(&cluster, 0);
    let (one, two) = (OldPeer::start(&[("doc.txt", "content"), ("Notes a.md", "n")]).await, OldPeer::start(&[]).await);
    one.register(&server).await;
    let found = one.get(&server, "/search?q=DOC.T").await;
    assert_eq!(found.status, 200);
    let expected = json!({"name": "doc.txt", "size": 7, "hash": hash("content"), "version": 1});
    assert_eq!(found.json["matches"][0]["file"], expected);
    let told = &found.json["matches"][0]["peers"][0];
    assert_eq!((told["id"].as_str(), told["addr"].as_str()), (Some(one.id.as_str()), Some(one.addr.as_str())));
    assert!(told["lastSeen"].as_str().unwrap().starts_with("20"), "it was seen just now: {told}");
    // A substring as it was typed, unlike the search of this version.
    assert_eq!(one.get(&server, "/search?q=oc%20t").await.json["matches"], json!([]));
    assert_eq!(one.get(&server, "/search?q=%20es%20a.").await.json["matches"][0]["file"]["name"], "Notes a.md");
    let all = one.get(&server, "/search").await.json["matches"].as_array().unwrap().len();
    assert_eq!(all, 2, "an empty query finds everything");

    two.fetch(&server, "doc.txt").await;
    assert_eq!(two.content("doc.txt").as_deref(), Some("content"));
    let holders = one.get(&server, "/peers?file=doc.txt").await;
    assert_eq!(ids(&holders.json["peers"]).len(), 2, "{}", holders.text);
    assert_eq!(one.get(&server, "/healthz").await.text, "ok");
    for path in ["/peers?file=none", "/peers", "/peers?file=../x"] {
        let unknown = one.get(&server, path).await;
        assert_eq!((unknown.status, unknown.text.as_str()), (404, "not found\n"), "{path}");
    }
}

#[tokio::test]
async fn a_new_peer_is_given_its_copies_in_the_answer_to_its_registration() {
    let cluster = Cluster::start(1).await;
    let server = v0(&cluster, 0);
    let old = OldPeer::start(&[]).await;
    let file = json!({"name": "replication_test.txt", "size": 1234, "hash": "abc", "version": 1});
    old.post(&server, "/register", &json!({"peer": peer("rep1"), "files": [file]})).await;
    let two = old.post(&server, "/register", &json!({"peer": peer("rep2"), "files": []})).await;
    let task = &two.json["tasks"][0];
    assert_eq!(task["file"], file, "as it was registered");
    assert_eq!((&task["sourcePeer"]["id"], &task["sourcePeer"]["addr"]), (&peer("rep1")["id"], &peer("rep1")["addr"]));
    assert_eq!(task.as_object().unwrap().len(), 2, "and no other fields");
    let again = old.post(&server, "/heartbeat", &json!({"peerId": "rep2"})).await;
    assert_eq!(again.json, json!({"ok": true, "tasks": []}), "a task is given once");
    let announced = old.post(&server, "/announce", &json!({"peer": peer("rep2"), "file": task["file"]})).await;
    assert_eq!((announced.status, announced.text.as_str()), (204, ""));
    let found = old.get(&server, "/search?q=replication_test").await;
    assert_eq!(ids(&found.json["matches"][0]["peers"]), ["rep1", "rep2"]);
}

#[tokio::test]
async fn a_higher_version_takes_the_callers_live_lease() {
    let cluster = Cluster::start(1).await;
    let server = v0(&cluster, 0);
    let old = OldPeer::start(&[]).await;
    let file = |version: i64| json!({"name": "ver.txt", "size": 100, "version": version});
    old.post(&server, "/register", &json!({"peer": peer("a"), "files": [file(1)]})).await;
    old.post(&server, "/register", &json!({"peer": peer("b"), "files": []})).await;
    let lease = async |id: &str| old.post(&server, "/lease", &json!({"peerId": id, "fileName": "ver.txt"})).await;
    let announce = async |id: &str, addr: &str, version: i64| {
        let peer = json!({"id": id, "addr": addr, "lastSeen": "2025-01-01T00:00:00Z"});
        old.post(&server, "/announce", &json!({"peer": peer, "file": file(version)})).await
    };
    let granted = lease("a").await;
    assert_eq!((granted.status, &granted.json["granted"]), (200, &json!(true)), "{granted:?}");
    assert!(granted.json["expiration"].as_str().unwrap().ends_with('Z'), "{granted:?}");
    let renewed = lease("a").await;
    assert_eq!(renewed.json["granted"], true, "its holder asks again");
    let denied = lease("b").await;
    assert_eq!((denied.status, &denied.json["granted"]), (200, &json!(false)));
    assert_eq!(denied.json["message"], "Lease currently held by a");
    let without = announce("b", "y", 2).await;
    assert_eq!((without.status, without.text.as_str()), (403, "Lease required to update file version\n"));
    // An address that is none does not matter: the peer is known.
    assert_eq!(announce("a", "x", 2).await.status, 204);
    assert_eq!(announce("b", "y", 3).await.status, 403);
    assert_eq!(announce("a", "x", 3).await.status, 403, "the lease ended with the version");
    let found = old.get(&server, "/peers?file=ver.txt").await;
    assert_eq!(
        (&found.json["file"], ids(&found.json["peers"])),
        (&json!({"name": "ver.txt", "size": 100, "hash": "", "version": 2}), vec!["a"])
    );
    // The versions before it are holdings, whoever announces them.
    assert_eq!(announce("b", "y", 1).await.status, 204);
    assert_eq!(announce("b", "y", 2).await.status, 204);
    // A lease may come before the file, and before the peer.
    let body = json!({"peerId": "c", "fileName": "new.txt"});
    assert_eq!(old.post(&server, "/lease", &body).await.json["granted"], true);
    let new =
        |id: &str| json!({"peer": peer(id), "file": {"name": "new.txt", "size": 1, "hash": hash("x"), "version": 1}});
    assert_eq!(old.post(&server, "/announce", &new("b")).await.status, 403);
    assert_eq!(old.post(&server, "/announce", &new("c")).await.status, 204);
}

#[tokio::test]
async fn a_peer_drops_its_own_copies_only() {
    let cluster = Cluster::start(1).await;
    let server = v0(&cluster, 0);
    let (one, two) = (OldPeer::start(&[("a.txt", "a")]).await, OldPeer::start(&[]).await);
    one.register(&server).await;
    let delete = async |id: &str, name: &str| {
        let answer = one.post(&server, "/delete", &json!({"peerId": id, "fileName": name})).await;
        (answer.status, answer.text.trim_end().to_owned())
    };
    assert_eq!(delete(&one.id, "none").await, (404, "file not found".into()));
    assert_eq!(delete("nobody", "none").await, (404, "file not found".into()));
    assert_eq!(delete("nobody", "a.txt").await, (403, "peer does not own this file".into()));
    assert_eq!(delete(&two.id, "a.txt").await, (403, "peer does not own this file".into()));
    assert_eq!(delete(&one.id, "a.txt").await, (204, String::new()));
    assert_eq!(one.get(&server, "/peers?file=a.txt").await.status, 404, "nobody has it");
    assert_eq!(one.heartbeat(&server).await, Vec::<Value>::new(), "it is not given back");
}

#[tokio::test]
async fn requests_are_decoded_as_strictly_as_the_original_decodes_them() {
    let cluster = Cluster::start(1).await;
    let file = json!({"name": "a", "size": 1, "hash": "", "version": 1});
    let with = |field: &str, value: Value| {
        let mut file = file.clone();
        file[field] = value;
        json!({"peer": peer("p"), "files": [file]}).to_string()
    };
    let cases = [
        ("register", json!({"peer": peer("p"), "files": null}).to_string(), 200),
        ("register", json!({"peer": peer("p")}).to_string(), 200),
        ("register", with("hash", json!(hash("a").to_uppercase())), 200),
        ("register", with("version", json!(i64::MAX)), 200),
        ("register", json!({"peer": peer("p"), "files": [], "zone": "z"}).to_string(), 400),
        ("register", with("color", json!("red")), 400),
        ("register", with("version", json!("1")), 400),
        ("register", with("version", json!(1.5)), 400),
        ("register", with("size", json!(-1)), 400),
        ("register", with("name", json!("../a")), 400),
        ("register", with("name", json!("")), 400),
        ("register", json!({"peerId": "p", "address": "http://h:1", "files": []}).to_string(), 400),
        ("register", json!({"peer": {"id": "", "addr": "http://h:1"}}).to_string(), 400),
        ("register", json!({"peer": {"id": "p", "addr": ""}}).to_string(), 400),
        ("register", json!({"peer": {"id": "p", "addr": "http://h:1", "lastSeen": "now"}}).to_string(), 400),
        ("register", json!({"peer": {"id": "p", "addr": "http://h:1", "lastSeen": 7}}).to_string(), 400),
        ("register", "{".into(), 400),
        ("register", "[]".into(), 400),
        ("announce", json!({"peer": peer("p"), "file": file, "leaseToken": "x"}).to_string(), 400),
        ("announce", json!({"peer": peer("p"), "file": [1]}).to_string(), 400),
        ("heartbeat", json!({"peerId": "p", "working": []}).to_string(), 400),
        ("heartbeat", json!({"peerId": 7}).to_string(), 400),
        ("lease", json!({"peerId": "p", "fileName": "a", "ttlMs": 1}).to_string(), 400),
        ("lease", json!({"peerId": "p"}).to_string(), 400),
        ("delete", json!({"peerId": "p", "fileName": "a", "everywhere": true}).to_string(), 400),
        ("sync", json!({"opType": "register", "data": {}}).to_string(), 404),
        ("search", "{}".into(), 405),
        ("healthz", "{}".into(), 405),
    ];
    for (path, body, status) in cases {
        let answer = cluster.post_text(0, &format!("/v0/{path}"), body.clone(), &[]).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        if status >= 400 {
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{path} {body}");
            assert!(answer.text.ends_with('\n') && answer.text.len() > 5, "{path} {body}: {}", answer.text);
        }
    }
    let wrong_method = cluster.get(0, "/v0/register").await;
    assert_eq!((wrong_method.status, wrong_method.text.as_str()), (405, "method not allowed\n"));
    let too_large = cluster.post_text(0, "/v0/register", " ".repeat(8 * 1024 * 1024 + 1), &[]).await;
    assert_eq!(too_large.status, 413, "limits are the same");
    let metrics = cluster.get(0, "/metrics").await.text;
    for row in ["route=\"/v0/register\",code=\"413\"} 1", "route=\"/v0/search\",code=\"405\"} 1"] {
        assert!(metrics.contains(row), "{row} is not in the metrics");
    }
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_gone_and_comes_back_with_its_registration() {
    let cluster = Cluster::start_with(1, &["--peer-ttl", "1s"]).await;
    cluster.ready().await;
    let server = v0(&cluster, 0);
    let old = OldPeer::start(&[("fail_test.txt", "x")]).await;
    let unknown = old.post(&server, "/heartbeat", &json!({"peerId": old.id})).await;
    assert_eq!(unknown.json, json!({"ok": false, "tasks": []}));
    old.register(&server).await;
    assert_eq!(old.get(&server, "/search?q=fail_test").await.json["matches"].as_array().unwrap().len(), 1);
    eventually("the peer is gone", async || {
        old.get(&server, "/search?q=fail_test").await.json == json!({"matches": []})
    })
    .await;
    assert_eq!(old.get(&server, "/peers?file=fail_test.txt").await.status, 404);
    let expired = old.post(&server, "/heartbeat", &json!({"peerId": old.id})).await;
    assert_eq!(expired.json["ok"], false, "it has to register again");
    // Any request brings it back with all that it held.
    let file = json!({"name": "more.txt", "size": 1, "hash": hash("m"), "version": 0});
    assert_eq!(old.post(&server, "/announce", &json!({"peer": old.as_peer(), "file": file})).await.status, 204);
    let found = old.get(&server, "/search?q=.txt").await;
    assert_eq!(found.json["matches"].as_array().unwrap().len(), 2, "{}", found.text);
}

#[tokio::test]
async fn followers_forward_writes_or_refuse_them_as_the_shadow_did() {
    let cluster = Cluster::start(3).await;
    let (leader, old) = (cluster.leader().await, OldPeer::start(&[("a.txt", "a")]).await);
    let follower = v0(&cluster, (leader + 1) % 3);
    old.register(&follower).await;
    let updated = old.update(&follower, "a.txt", "b", NANOS).await;
    assert_eq!(updated.status, 204, "{updated:?}");
    assert_eq!(old.get(&follower, "/peers?file=a.txt").await.json["file"]["hash"], hash("b"));
    drop(cluster);

    let cluster = Cluster::start_with(3, &["--follower-writes", "reject"]).await;
    cluster.ready().await;
    let leader = cluster.leader().await;
    old.register(&v0(&cluster, leader)).await;
    let follower = v0(&cluster, (leader + 1) % 3);
    let file = json!({"name": "x.txt", "size": 1, "version": 1});
    for (path, body) in [
        ("/register", json!({"peer": peer("p"), "files": []})),
        ("/announce", json!({"peer": peer("p"), "file": file})),
        ("/lease", json!({"peerId": "p", "fileName": "x.txt"})),
        ("/heartbeat", json!({"peerId": "p"})),
        ("/delete", json!({"peerId": "p", "fileName": "x.txt"})),
        ("/heartbeat", json!({"is": "not even looked at"})),
    ] {
        let refused = old.post(&follower, path, &body).await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        assert!(refused.text.starts_with("shadow is read-only"), "{path}: {}", refused.text);
    }
    assert_eq!(old.get(&follower, "/peers?file=a.txt").await.status, 200, "reads are answered");
    let ordinary = cluster.post((leader + 1) % 3, "/lease", json!({"peerId": "p", "fileName": "x"})).await;
    assert_eq!((ordinary.status, ordinary.code()), (403, "not_leader"));
}

#[tokio::test]
async fn files_leases_and_numbers_survive_a_killed_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let old = OldPeer::start(&[("doc.txt", "one")]).await;
    old.register(&v0(&cluster, leader)).await;
    assert_eq!(old.update(&v0(&cluster, leader), "doc.txt", "two", NANOS).await.status, 204);
    let lease = json!({"peerId": old.id, "fileName": "doc.txt"});
    assert_eq!(old.post(&v0(&cluster, leader), "/lease", &lease).await.json["granted"], true);
    cluster.nodes[leader].kill();
    let server = v0(&cluster, (leader + 1) % 3);
    assert_eq!(old.get(&server, "/healthz").await.text, "ok");
    let found = old.get(&server, "/peers?file=doc.txt").await;
    assert_eq!((found.status, &found.json["file"]["version"]), (200, &json!(NANOS)), "{found:?}");
    let denied = old.post(&server, "/lease", &json!({"peerId": "other", "fileName": "doc.txt"})).await;
    assert_eq!(denied.json["granted"], false, "{denied:?}");
    // The lease of before counts.
    let file = json!({"name": "doc.txt", "size": 5, "hash": hash("three"), "version": NANOS + 7});
    let published = old.post(&server, "/announce", &json!({"peer": old.as_peer(), "file": file})).await;
    assert_eq!(published.status, 204, "{published:?}");
    cluster.nodes[leader].start();
    cluster.ready().await;
    for node in 0..3 {
        let found = old.get(&v0(&cluster, node), "/search?q=doc").await;
        assert_eq!(found.json["matches"][0]["file"], file, "node {node}");
    }
    cluster.equal_digests().await;
}

#[tokio::test]
async fn a_node_can_be_told_not_to_serve_it() {
    let cluster = Cluster::start_with(1, &["--v0", "off"]).await;
    cluster.ready().await;
    let answer = cluster.get(0, "/v0/healthz").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("--v0 on"), "{}", answer.text);
}
