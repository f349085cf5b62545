//! The HTTP contract against a running cluster: conventions, errors, reads, leases, exactly-once.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod support;

use serde_json::{Value, json};
use support::{Cluster, eventually, file, hash};

#[tokio::test]
async fn conventions_hold() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let hash_a = hash("a");
    let good = json!({"name": "a.txt", "version": 1, "size": 1, "hash": hash_a});
    let with = |field: &str, value: Value| {
        let mut file = good.clone();
        file[field] = value;
        json!({"peerId": "p1", "file": file}).to_string()
    };
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("/announce", "{".into(), 400, "bad_request"),
        ("/announce", "[]".into(), 400, "bad_request"),
        ("/announce", "{}".into(), 400, "bad_request"),
        ("/announce", json!({"peerId": "p1"}).to_string(), 400, "bad_request"),
        ("/announce", json!({"peerId": 7, "file": good}).to_string(), 400, "bad_request"),
        ("/announce", json!({"peerId": "", "file": good}).to_string(), 400, "bad_request"),
        ("/announce", with("name", json!("../x")), 400, "bad_name"),
        ("/announce", with("name", json!("a\\b")), 400, "bad_name"),
        ("/announce", with("name", json!("")), 400, "bad_name"),
        ("/announce", with("hash", json!(hash_a.to_uppercase())), 400, "bad_request"),
        ("/announce", with("hash", json!("sha")), 400, "bad_request"),
        ("/announce", with("version", json!(0)), 400, "bad_request"),
        ("/announce", with("version", json!(-1)), 400, "bad_request"),
        ("/announce", with("version", json!("1")), 400, "bad_request"),
        ("/announce", with("size", json!(1.5)), 400, "bad_request"),
        ("/announce", json!({"peerId": "nobody", "file": good}).to_string(), 409, "unknown_peer"),
        ("/announce", with("version", json!(5)), 409, "version_conflict"),
        ("/lease", json!({"peerId": "p1", "fileName": "a.txt", "ttlMs": 99}).to_string(), 400, "bad_request"),
        ("/lease", json!({"peerId": "p1", "fileName": "a.txt", "ttlMs": 86_400_001}).to_string(), 400, "bad_request"),
        ("/lease", json!({"peerId": "p1", "fileName": "a.txt", "waitMs": 60_001}).to_string(), 400, "bad_request"),
        ("/lease", json!({"peerId": "p1", "fileName": "/a"}).to_string(), 400, "bad_name"),
        (
            "/lease/release",
            json!({"peerId": "p1", "fileName": "a.txt", "leaseToken": "x"}).to_string(),
            403,
            "lease_expired",
        ),
        (
            "/lease/renew",
            json!({"peerId": "p1", "fileName": "a.txt", "leaseToken": "x"}).to_string(),
            403,
            "lease_expired",
        ),
        ("/delete", json!({"peerId": "p1", "fileName": "none"}).to_string(), 404, "not_found"),
        ("/register", json!({"peerId": "p1", "address": "nowhere", "files": []}).to_string(), 400, "bad_request"),
        ("/register", json!({"peerId": "p1", "address": "http://h:1"}).to_string(), 400, "bad_request"),
        ("/nope", "{}".into(), 404, "not_found"),
        ("/search", "{}".into(), 405, "method_not_allowed"),
        ("/raft/append", "{}".into(), 403, "forbidden"),
        ("/cluster/init", "{}".into(), 409, "already_initialized"),
        ("/cluster/promote", json!({"id": 9}).to_string(), 409, "membership_refused"),
    ];
    for (path, body, status, code) in cases {
        let answer = cluster.post_text(0, path, body.clone(), &[]).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{path} {body}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json["applied"], "no", "{path} {body}");
        assert_eq!(answer.json["status"], status);
        for header in ["node", "role", "term", "applied", "staleness-ms", "boot"] {
            assert_ne!(answer.header(&format!("raftshare-{header}")), "", "{path} lacks raftshare-{header}");
        }
    }
    let wrong_method = cluster.get(0, "/register").await;
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, "POST"));
    let unknown_fields = cluster.post(0, "/announce", json!({"peerId": "p1", "file": good, "color": "red"})).await;
    assert_eq!(unknown_fields.status, 200, "unknown fields are ignored");
}

#[tokio::test]
async fn an_oversized_body_still_gets_its_answer() {
    let cluster = Cluster::start(1).await;
    let answer = cluster.post_text(0, "/register", " ".repeat(9 * 1_024 * 1_024), &[]).await;
    assert_eq!((answer.status, answer.code()), (413, "too_large"));
}

#[tokio::test]
async fn reads_check_their_parameters() {
    let cluster = Cluster::start(1).await;
    for (path, status, code) in [
        ("/search?consistency=maybe", 400, "bad_request"),
        ("/search?limit=0", 400, "bad_request"),
        ("/search?limit=x", 400, "bad_request"),
        ("/search?mode=regex", 400, "bad_request"),
        ("/search?mode=bad%20file%20name", 400, "bad_request"),
        ("/search?consistency=missing%20field%20%60x%60", 400, "bad_request"),
        ("/search?min_index=-1", 400, "bad_request"),
        ("/file", 400, "bad_request"),
        ("/file?name=..", 400, "bad_name"),
        ("/file?name=none", 404, "not_found"),
        ("/peers?file=none", 404, "not_found"),
        ("/lease?file=none", 404, "not_found"),
        ("/events?from=x", 400, "bad_request"),
        ("/search?min_index=1000000", 503, "too_stale"),
    ] {
        let answer = cluster.get(0, path).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{path}: {}", answer.text);
        assert_eq!(answer.json["applied"], Value::Null, "{path} is no write");
    }
    for path in ["/search", "/peers", "/stats", "/cluster", "/leader", "/cluster/digest", "/openapi.json"] {
        let answer = cluster.get(0, path).await;
        assert_eq!((answer.status, answer.json.is_null()), (200, false), "{path}: {}", answer.text);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(cluster.get(0, path).await.status, 200, "{path}");
    }
}

/// Whoever asks a node about itself gets an answer, whatever else the request says.
#[tokio::test]
async fn probes_are_not_refused_for_what_does_not_matter() {
    let cluster = Cluster::start(1).await;
    for path in ["/healthz", "/readyz", "/metrics", "/leader", "/cluster", "/cluster/digest", "/openapi.json", "/"] {
        let request = cluster.http.get(cluster.nodes[0].url(path)).header("Raftshare-Deadline-Ms", "soon");
        let answer = request.body("x".repeat(9 * 1_024 * 1_024)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let backup = cluster.http.get(cluster.nodes[0].url("/cluster/backup")).header("Raftshare-Deadline-Ms", "soon");
    assert_eq!(backup.send().await.unwrap().status(), 400, "a backup takes as long as its caller says");
}

#[tokio::test]
async fn any_node_takes_writes_and_answers_reads() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.register("p1").await;
    let written = cluster.post(follower, "/announce", json!({"peerId": "p1", "file": file("a.txt", 1, "a")})).await;
    assert_eq!(written.status, 200, "{}", written.text);
    assert_eq!(written.header("raftshare-role"), "leader", "a forwarded answer keeps the leader's headers");
    let refused = cluster
        .post_with(
            follower,
            "/announce",
            json!({"peerId": "p1", "file": file("b.txt", 1, "b")}),
            &[("raftshare-forward", "never")],
        )
        .await;
    assert_eq!((refused.status, refused.code()), (403, "not_leader"));
    assert_eq!(refused.json["leader"]["address"], cluster.nodes[leader].address);
    for node in 0..3 {
        let own = cluster.nodes[node].id.to_string();
        let stale =
            cluster.get(node, &format!("/file?name=a.txt&consistency=stale&min_index={}", written.index())).await;
        assert_eq!((stale.status, stale.header("raftshare-node")), (200, own.as_str()), "{}", stale.text);
        let linearizable = cluster.get(node, "/file?name=a.txt&consistency=linearizable").await;
        assert_eq!((linearizable.status, linearizable.header("raftshare-node")), (200, own.as_str()));
        let by_leader = cluster.get(node, "/file?name=a.txt&consistency=leader").await;
        assert_eq!((by_leader.status, by_leader.header("raftshare-role")), (200, "leader"));
    }
    eventually("a follower's state is fresh", async || {
        cluster.get(follower, "/search?q=a&consistency=stale&max_staleness_ms=2000").await.status == 200
    })
    .await;
    cluster.equal_digests().await;
}

#[tokio::test]
async fn a_key_makes_a_write_exactly_once() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let lease = json!({"peerId": "p1", "fileName": "a.txt"});
    let key = [("idempotency-key", "s:1"), ("idempotency-floor", "1")];
    let first = cluster.post_with(0, "/lease", lease.clone(), &key).await;
    let again = cluster.post_text(0, "/lease", r#"{"fileName":"a.txt",  "peerId":"p1"}"#.into(), &key).await;
    assert_eq!(first.json["leaseToken"], again.json["leaseToken"]);
    assert_eq!(first.json["fencingToken"], again.json["fencingToken"]);
    let other = cluster.post_with(0, "/lease", json!({"peerId": "p1", "fileName": "b.txt"}), &key).await;
    assert_eq!((other.status, other.code()), (422, "key_reused"));
    let publish = json!({"peerId": "p1", "file": file("a.txt", 1, "a"), "leaseToken": first.json["leaseToken"]});
    let key = [("idempotency-key", "s:3"), ("idempotency-floor", "3")];
    for _ in 0..2 {
        let published = cluster.post_with(0, "/announce", publish.clone(), &key).await;
        assert_eq!((published.status, &published.json["version"]), (200, &json!(1)), "{}", published.text);
    }
    let below =
        cluster.post_with(0, "/lease", lease.clone(), &[("idempotency-key", "s:1"), ("idempotency-floor", "3")]).await;
    assert_eq!((below.status, below.code()), (409, "key_expired"));
    let long = "k".repeat(129);
    let refused = cluster.post_with(0, "/lease", lease, &[("idempotency-key", long.as_str())]).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_request"));
}

#[tokio::test]
async fn a_lease_has_one_holder_and_a_line() {
    let cluster = Cluster::start(3).await;
    for peer in ["p1", "p2", "p3"] {
        cluster.register(peer).await;
    }
    let lease = |peer: &str| json!({"peerId": peer, "fileName": "a.txt"});
    let wait = |peer: &str, ms: u64| json!({"peerId": peer, "fileName": "a.txt", "wait": true, "waitMs": ms});
    let granted = cluster.post(0, "/lease", lease("p1")).await;
    assert_eq!(granted.json["granted"], true);
    assert_eq!(granted.json["ttlMs"], 60_000);
    let denied = cluster.post(1, "/lease", lease("p2")).await;
    assert_eq!((&denied.json["granted"], &denied.json["holder"]), (&json!(false), &json!("p1")));
    assert!(denied.json["remainingMs"].as_u64().unwrap() <= 60_000);
    assert_eq!(denied.json["position"], Value::Null);
    assert_eq!(cluster.post(1, "/lease", wait("p2", 0)).await.json["position"], 1);
    assert_eq!(cluster.post(2, "/lease", wait("p3", 0)).await.json["position"], 2);
    let status = cluster.get(0, "/lease?file=a.txt").await;
    assert_eq!(status.json["line"], json!([{"peerId": "p2", "position": 1}, {"peerId": "p3", "position": 2}]));
    let waiting = cluster.post(1, "/lease", wait("p2", 20_000));
    let publish = async {
        let body = json!({"peerId": "p1", "file": file("a.txt", 1, "a"), "leaseToken": granted.json["leaseToken"]});
        cluster.post(2, "/announce", body).await
    };
    let (turn, published) = tokio::join!(waiting, publish);
    assert_eq!(published.status, 200, "{}", published.text);
    assert_eq!((&turn.json["granted"], &turn.json["version"]), (&json!(true), &json!(1)), "{}", turn.text);
    assert!(turn.json["fencingToken"].as_u64() > granted.json["fencingToken"].as_u64());
    let late = json!({"peerId": "p1", "file": file("a.txt", 2, "late"), "leaseToken": granted.json["leaseToken"]});
    let late = cluster.post(0, "/announce", late).await;
    assert_eq!((late.status, late.code(), &late.json["holder"]), (403, "lease_expired", &json!("p2")));
    assert_eq!(cluster.post(0, "/lease/leave", lease("p3")).await.status, 204);
    let release = json!({"peerId": "p2", "fileName": "a.txt", "leaseToken": turn.json["leaseToken"]});
    assert_eq!(cluster.post(0, "/lease/release", release).await.status, 204);
    assert_eq!(cluster.get(0, "/lease?file=a.txt").await.status, 404);
}

#[tokio::test]
async fn a_lease_ends_with_its_time() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    cluster.register("p2").await;
    let short = json!({"peerId": "p1", "fileName": "a.txt", "ttlMs": 100});
    let first = cluster.post(0, "/lease", short).await;
    eventually("the lease is over", async || {
        cluster.post(0, "/lease", json!({"peerId": "p2", "fileName": "a.txt"})).await.json["granted"] == true
    })
    .await;
    let body = json!({"peerId": "p1", "fileName": "a.txt", "leaseToken": first.json["leaseToken"]});
    let renewed = cluster.post(0, "/lease/renew", body).await;
    assert_eq!((renewed.status, renewed.code()), (403, "lease_expired"));
}

#[tokio::test]
async fn heartbeats_bring_tasks_and_notice_replacement() {
    let cluster = Cluster::start(3).await;
    let first = cluster.register("p1").await.json["incarnation"].clone();
    let beat = |peer: &str, incarnation: &Value, wait: u64| json!({"peerId": peer, "incarnation": incarnation, "waitMs": wait, "freeBytes": 1_000_000_000u64});
    let alive = cluster.post(1, "/heartbeat", beat("p1", &first, 0)).await;
    assert_eq!(alive.json, json!({"ok": true, "tasks": []}));
    assert_eq!(alive.header("raftshare-index"), "");
    assert_eq!(
        cluster.post(1, "/heartbeat", beat("nobody", &json!(1), 0)).await.json,
        json!({"ok": false, "tasks": []})
    );
    let second = cluster.register("p1").await.json["incarnation"].clone();
    let replaced = cluster.post(2, "/heartbeat", beat("p1", &first, 0)).await;
    assert_eq!(replaced.json, json!({"ok": false, "reason": "replaced", "tasks": []}));
    cluster.register("p2").await;
    let waiting = cluster.post(2, "/heartbeat", beat("p1", &second, 20_000));
    let announce = cluster.announce("p2", "docs/a.txt", 1, "a");
    let (told, announced) = tokio::join!(waiting, announce);
    assert_eq!(announced.status, 200, "{}", announced.text);
    let task = &told.json["tasks"][0];
    assert_eq!((&task["type"], &task["file"]), (&json!("REPLICATE"), &json!("docs/a.txt")), "{}", told.text);
    assert_eq!((&task["source"], &task["hash"]), (&json!("http://127.0.0.1:1/p2"), &json!(hash("a"))));
    let working = json!({"peerId": "p1", "incarnation": second, "working": [task["id"]]});
    assert_eq!(cluster.post(0, "/heartbeat", working).await.json["tasks"], json!([]));
    let done = cluster.announce("p1", "docs/a.txt", 1, "a").await;
    assert_eq!(done.json["tasks"], json!([]), "the task is done");
    let why = cluster.get(0, "/why?file=docs/a.txt").await;
    assert_eq!(why.status, 200, "{}", why.text);
    let peers = cluster.get(0, "/peers?file=docs/a.txt").await;
    assert_eq!(peers.json.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_large_listing_is_taken_in_and_repeated_by_its_digest() {
    let cluster = Cluster::start(1).await;
    let files: Vec<_> = (0..2_000).map(|n| file(&format!("many/{n:05}.txt"), 1, &n.to_string())).collect();
    let body = json!({"peerId": "p1", "address": "http://127.0.0.1:9", "files": files});
    let key = [("idempotency-key", "big")];
    let first = cluster.post_with(0, "/register", body.clone(), &key).await;
    assert_eq!((first.status, &first.json["listing"]), (200, &json!("accepted")), "{}", first.text);
    let again = cluster.post_with(0, "/register", body, &key).await;
    assert_eq!(first.json["incarnation"], again.json["incarnation"], "the same key is the same registration");
    assert_eq!(cluster.get(0, "/stats").await.json["files"], 2_000);
    let text: String = (0..2_000).map(|n| format!("many/{n:05}.txt\0{}\n", hash(&n.to_string()))).collect();
    let digest = |digest: String| json!({"peerId": "p1", "address": "http://127.0.0.1:9", "files": [], "digest": digest, "count": 2_000});
    let unchanged = cluster.post(0, "/register", digest(hash(&text))).await;
    assert_eq!(unchanged.json["listing"], "unchanged", "{}", unchanged.text);
    assert_eq!(cluster.post(0, "/register", digest(hash("other"))).await.json["listing"], "wanted");
    let many =
        json!({"peerId": "p1", "files": [file("x", 1, "x"), file("many/00000.txt", 1, "other"), file("y", 1, "y")]});
    let answer = cluster.post(0, "/announce", many).await;
    let ok: Vec<_> =
        answer.json["results"].as_array().unwrap().iter().map(|result| result["ok"].as_bool().unwrap()).collect();
    assert_eq!(ok, [true, false, true], "{}", answer.text);
}

#[tokio::test]
async fn events_arrive_in_log_order_and_resume() {
    use futures::StreamExt;
    let cluster = Cluster::start(1).await;
    let from = cluster.register("p1").await.index();
    cluster.announce("p1", "a.txt", 1, "a").await;
    cluster.announce("p1", "b.txt", 1, "b").await;
    let read = async |from: String, until: &str| {
        let answer = cluster.http.get(cluster.nodes[0].url(&format!("/events?from={from}"))).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (mut text, mut pieces) = (String::new(), answer.bytes_stream());
        while !text.contains(until) {
            text.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
        }
        text
    };
    let all = read(from.to_string(), "b.txt").await;
    assert!(all.find("a.txt") < all.find("b.txt"), "{all}");
    let ids: Vec<_> = all.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let resumed = read(ids[0].to_owned(), "b.txt").await;
    let resumed_ids: Vec<_> = resumed.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(resumed_ids[..], ids[1..=resumed_ids.len()], "exactly what follows the event named");
}

#[tokio::test]
async fn changes_of_members_are_events() {
    use futures::StreamExt;
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let from = cluster.register("p1").await.index();
    let demoted = cluster.nodes[(leader + 1) % 3].id;
    let answer = cluster.post(leader, "/cluster/demote", json!({"id": demoted})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let url = cluster.nodes[leader].url(&format!("/events?from={from}"));
    let (mut text, mut pieces) = (String::new(), cluster.http.get(url).send().await.unwrap().bytes_stream());
    let wanted = format!("\"learners\":[{demoted}]");
    while !text.contains(&wanted) {
        text.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("event: members-changed"), "{text}");
}

#[tokio::test]
async fn only_objects_are_bodies() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let cases = [
        ("/lease/leave", json!(["p1", "f"])),
        ("/lease", json!(["p1", "f", 1000, false, 0])),
        ("/announce", json!({"peerId": "p1", "file": ["f", 1, 1, hash("f")]})),
        ("/announce", json!({"peerId": "p1", "files": [["f", 1, 1, hash("f")]]})),
        ("/register", json!({"peerId": "p1", "address": "http://h:1", "files": [], "listing": ["x", true]})),
        ("/heartbeat", json!({"peerId": "p1", "failed": [["t", "code"]]})),
        ("/cluster/promote", json!([9])),
        ("/cluster/init", json!([null])),
        ("/cluster/init", json!({"nodes": [[1, "127.0.0.1:1"]]})),
    ];
    for (path, body) in cases {
        let answer = cluster.post(0, path, body).await;
        assert_eq!((answer.status, answer.code()), (400, "bad_request"), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn any_text_is_a_key() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let leave = json!({"peerId": "p1", "fileName": "f"});
    let key = [("idempotency-key", "schl\u{fc}ssel")];
    assert_eq!(cluster.post_with(0, "/lease/leave", leave, &key).await.status, 204);
    let other = cluster.post_with(0, "/lease/leave", json!({"peerId": "p1", "fileName": "g"}), &key).await;
    assert_eq!((other.status, other.code()), (422, "key_reused"));
}

#[tokio::test]
async fn reads_may_ask_not_to_be_forwarded_and_followers_explain() {
    let cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "a.txt", 1, "a").await;
    let follower = (cluster.leader().await + 1) % 3;
    let read = async |path: &str| {
        let request = cluster.http.get(cluster.nodes[follower].url(path)).header("raftshare-forward", "never");
        request.send().await.unwrap()
    };
    let refused = read("/peers?consistency=leader").await;
    assert_eq!(refused.status(), 403);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!((&refused["code"], refused["leader"]["id"].is_u64()), (&json!("not_leader"), true));
    let here = read("/peers").await;
    let node = here.headers()["raftshare-node"].to_str().unwrap().to_owned();
    assert_eq!((here.status().as_u16(), node), (200, cluster.nodes[follower].id.to_string()));
    for level in ["stale", "leader", "linearizable"] {
        eventually("the node has the file", async || {
            cluster.get(follower, &format!("/why?file=a.txt&consistency={level}")).await.status == 200
        })
        .await;
        let why = cluster.get(follower, &format!("/why?file=a.txt&consistency={level}")).await;
        assert_eq!((&why.json["rule"]["desired"], &why.json["holders"][0]["id"]), (&json!(2), &json!("p1")), "{level}");
    }
    for (node, level) in [(0, "leader"), (1, "leader"), (2, "leader"), (0, "linearizable"), (1, "stale")] {
        let late = cluster.get(node, &format!("/peers?min_index=999999&consistency={level}")).await;
        assert_eq!((late.status, late.code()), (503, "too_stale"), "{level} at {node}");
    }
}

#[tokio::test]
async fn a_cluster_is_founded_only_from_distinct_nodes() {
    let cluster = Cluster::start(0).await;
    let mut node = cluster.extra_node(4, &[]);
    node.start();
    eventually("it listens", async || cluster.http.get(node.url("/healthz")).send().await.is_ok()).await;
    let ready = cluster.http.get(node.url("/readyz")).send().await.unwrap();
    assert_eq!(
        (ready.status().as_u16(), &ready.headers()["content-type"]),
        (503, &"application/problem+json".parse().unwrap())
    );
    assert_eq!(ready.json::<Value>().await.unwrap()["code"], "not_initialized");
    let other = support::free_addresses(1).remove(0);
    let lists = [
        json!([{"id": 4, "address": node.address}, {"id": 4, "address": other}]),
        json!([{"id": 4, "address": node.address}, {"id": 5, "address": node.address}]),
        json!([{"id": 0, "address": node.address}]),
    ];
    for nodes in lists {
        let body = json!({"nodes": nodes}).to_string();
        let answer = cluster.http.post(node.url("/cluster/init")).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    let elsewhere = json!({"nodes": [{"id": 4, "address": other}]}).to_string();
    let answer = cluster.http.post(node.url("/cluster/init")).body(elsewhere).send().await.unwrap();
    assert!(!answer.status().is_success(), "nobody listens where this node is said to be");
    let leader = cluster.http.get(node.url("/leader")).send().await.unwrap();
    assert_eq!(leader.status(), 503, "nothing was founded");
}

#[tokio::test]
async fn a_cluster_founded_over_http_wants_the_founders_number_of_copies() {
    let mut cluster = Cluster::start(0).await;
    let mut node = cluster.extra_node(1, &["--replicas".to_owned(), "3".to_owned()]);
    node.start();
    cluster.nodes.push(node);
    let init = cluster.nodes[0].url("/cluster/init");
    eventually("it founds a cluster", async || {
        cluster.http.post(&init).body("{}").send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    cluster.ready().await;
    cluster.register("p").await;
    assert_eq!(cluster.announce("p", "a.txt", 1, "bytes").await.status, 200);
    eventually("the founder's number is the cluster's", async || {
        cluster.get(0, "/file?name=a.txt").await.json["replicas"]["desired"] == 3
    })
    .await;
}
