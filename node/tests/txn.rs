//! Conditional updates against a running cluster (K1–K5): transactions, records in `/file` and `/search`, events.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, hash};

fn txn(conditions: Value, then: Value, otherwise: Value) -> Value {
    json!({"peerId": "p1", "if": conditions, "then": then, "else": otherwise})
}

fn set(name: &str, attr: &str, value: impl Into<Value>) -> Value {
    json!({"set": {"name": name, "attr": attr, "value": value.into()}})
}

fn names(answer: &Answer) -> Vec<&str> {
    answer.json.as_array().unwrap().iter().map(|hit| hit["fileName"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn requests_that_make_no_sense_say_what_and_where() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let condition = |condition: Value| txn(json!([{"name": "a", "exists": true}, condition]), json!([]), json!([]));
    let operation = |operation: Value| txn(json!([]), json!([operation]), json!([]));
    let add = |fields: Value| {
        let mut add = json!({"name": "a", "attr": "k", "by": 1});
        add.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        operation(json!({"add": add}))
    };
    let cases = [
        (json!({"peerId": "p1", "if": []}), "bad_request", "`then`"),
        (condition(json!({"name": "a"})), "bad_request", "if[1]: a condition needs exactly one of"),
        (condition(json!({"name": "a", "exists": true, "version": 1})), "bad_request", "it has `exists` and `version`"),
        (condition(json!({"exists": true})), "bad_request", "if[1]: missing field `name`"),
        (condition(json!({"name": "a", "version": 0})), "bad_request", "if[1]: version must be 1 or greater"),
        (condition(json!({"name": "a", "attr": "k", "is": "="})), "bad_request", "if[1]: a condition with `attr`"),
        (condition(json!({"name": "a", "attr": "k", "is": "~", "value": 1})), "bad_request", "if[1]:"),
        (condition(json!({"name": "a", "hash": hash("a").to_uppercase()})), "bad_request", "if[1]: bad hash"),
        (condition(json!({"name": "../a", "exists": true})), "bad_name", "if[1]: bad file name"),
        (operation(json!({})), "bad_request", "then[0]: an operation needs exactly one of"),
        (operation(json!({"set": {}, "delete": {"name": "a"}})), "bad_request", "then[0]: missing field"),
        (
            operation(json!({"unset": {"name": "a", "attr": "k"}, "delete": {"name": "a"}})),
            "bad_request",
            "`unset` and `delete`",
        ),
        (operation(json!("set")), "bad_request", "then[0]:"),
        (operation(set("a", "sp ace", 1)), "bad_request", "then[0]: bad attribute key"),
        (operation(set("a", &"k".repeat(65), 1)), "bad_request", "longer than 64 bytes"),
        (operation(set("a", "k", 1.5)), "bad_request", "a whole number of 64 bits or a string"),
        (operation(set("a", "k", u64::MAX)), "bad_request", "between -2^63 and 2^63 - 1"),
        (operation(set("a", "k", true)), "bad_request", "a whole number of 64 bits or a string"),
        (operation(set("a", "k", "x".repeat(1_025))), "bad_request", "at most 1,024 bytes"),
        (operation(set("a/", "k", 1)), "bad_name", "then[0]: bad file name"),
        (add(json!({"by": 0.5})), "bad_request", "then[0]:"),
        (add(json!({"by": "1"})), "bad_request", "then[0]:"),
        (add(json!({"min": 2, "max": 1})), "bad_request", "no sum lies between them"),
        (txn(json!([]), json!(vec![set("a", "k", 1); 65]), json!([])), "bad_request", "`then` has more than 64 items"),
        (txn(json!([]), json!([]), json!(vec![set("a", "k", 1); 65])), "bad_request", "`else` has more than 64 items"),
        (json!({"peerId": "nobody", "then": [set("a", "k", 1)]}), "unknown_peer", "register it first"),
    ];
    for (body, code, said) in cases {
        let answer = cluster.post(0, "/txn", body.clone()).await;
        assert_eq!(answer.code(), code, "{body}: {}", answer.text);
        assert!(answer.json["detail"].as_str().unwrap().contains(said), "{body}: {}", answer.text);
        assert_eq!(answer.json["applied"], "no", "{body}");
    }
    let large: Vec<_> = (0..64).map(|n| set(&format!("a{n}"), "k", "x".repeat(1_024))).collect();
    let answer = cluster.post(0, "/txn", txn(json!([]), json!(large), json!([]))).await;
    assert_eq!((answer.status, answer.code()), (413, "too_large"), "{}", answer.text);
    for (id, status) in [("", 400), ("?id=x", 400), ("?id=1", 400), ("?id=1.-1", 400), ("?id=1.0", 404)] {
        assert_eq!(cluster.get(0, &format!("/txn{id}")).await.status, status, "{id}");
    }
    assert_eq!(cluster.get(0, "/stats").await.json["records"], 0, "none of it did anything");
}

#[tokio::test]
async fn a_transaction_is_applied_once_and_told_again() {
    let cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "doc", 1, "a").await;
    let body = txn(
        json!([{"name": "doc", "version": 1}, {"name": "shop/apple", "attr": "stock", "is": "!=", "value": 7}]),
        json!([{"add": {"name": "shop/apple", "attr": "stock", "by": 5, "min": 0}}, set("doc", "colour", "red")]),
        json!([]),
    );
    let key = [("idempotency-key", "s:1")];
    let first = cluster.post_with(0, "/txn", body.clone(), &key).await;
    let id = format!("{}.0", first.index());
    let expected = json!({"ok": true, "branch": "then", "txn": id, "names": [
        {"name": "shop/apple", "version": null, "attributes": {"stock": 5}},
        {"name": "doc", "version": 1, "attributes": {"colour": "red"}},
    ]});
    assert_eq!((first.status, &first.json), (200, &expected), "{}", first.text);
    let changed = cluster.post(1, "/txn", txn(json!([]), json!([{"delete": {"name": "shop/apple"}}]), json!([]))).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    for node in 0..3 {
        assert_eq!(cluster.post_with(node, "/txn", body.clone(), &key).await.json, expected, "X1, on node {node}");
        let told = cluster.get(node, &format!("/txn?id={id}&consistency=linearizable")).await;
        assert_eq!((told.status, told.json), (200, expected.clone()), "K5, on node {node}");
    }
    let without_key = changed.json["txn"].as_str().unwrap();
    assert_eq!(cluster.get(0, &format!("/txn?id={without_key}")).await.status, 404, "it had no key");
    let other = cluster.post_with(0, "/txn", txn(json!([]), json!([]), json!([])), &key).await;
    assert_eq!((other.status, other.code()), (422, "key_reused"));
    cluster.equal_digests().await;
}

#[tokio::test]
async fn refusals_name_what_was_refused() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    cluster.register("p2").await;
    let put = cluster.post(0, "/txn", txn(json!([]), json!([set("a", "n", 3), set("a", "t", "x")]), json!([]))).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let add = |attr: &str, by: i64| json!([set("b", "k", 1), {"add": {"name": "a", "attr": attr, "by": by, "min": 0}}]);
    let refused = cluster.post(0, "/txn", txn(json!([]), add("n", -4), json!([]))).await;
    assert_eq!((refused.status, refused.code()), (409, "out_of_bounds"), "{}", refused.text);
    assert_eq!(
        [&refused.json["name"], &refused.json["attr"], &refused.json["value"]],
        [&json!("a"), &json!("n"), &json!(3)]
    );
    let refused = cluster.post(0, "/txn", txn(json!([]), add("t", 1), json!([]))).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_request"), "{}", refused.text);
    let many: Vec<_> = (0..33).map(|n| set("c", &format!("k{n}"), n)).collect();
    let refused = cluster.post(0, "/txn", txn(json!([]), json!(many), json!([]))).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_request"), "K1: {}", refused.text);

    let lease = cluster.post(0, "/lease", json!({"peerId": "p2", "fileName": "a"})).await.json["leaseToken"].clone();
    let refused = cluster.post(0, "/txn", txn(json!([]), json!([set("b", "k", 1), set("a", "n", 1)]), json!([]))).await;
    assert_eq!((refused.status, refused.code()), (403, "lease_required"), "K4: {}", refused.text);
    assert_eq!([&refused.json["name"], &refused.json["holder"]], [&json!("a"), &json!("p2")]);
    for name in ["b", "c"] {
        assert_eq!(cluster.get(0, &format!("/file?name={name}")).await.status, 404, "K2: nothing was applied");
    }
    let held = json!([{"name": "a", "leaseToken": lease}]);
    let with_token = json!([{"set": {"name": "a", "attr": "n", "value": 9, "leaseToken": lease}}]);
    let answer = cluster.post(0, "/txn", txn(held, with_token, json!([]))).await;
    assert_eq!((answer.status, &answer.json["branch"]), (200, &json!("then")), "{}", answer.text);
}

#[tokio::test]
async fn records_are_names_without_bytes() {
    let cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let put = json!([set("market/apple", "stock", 3), set("market/apple", "unit", "kg")]);
    assert_eq!(cluster.post(0, "/txn", txn(json!([]), put, json!([]))).await.status, 200);
    let record = cluster.get(0, "/file?name=market/apple").await;
    assert_eq!(record.status, 200, "{}", record.text);
    for field in ["version", "size", "hash", "lease"] {
        assert_eq!(record.json.get(field), Some(&Value::Null), "{field} is null and present: {}", record.text);
    }
    assert_eq!(record.json["holders"], json!([]));
    assert_eq!(record.json["attributes"], json!({"stock": 3, "unit": "kg"}));
    assert_eq!(cluster.get(0, "/peers?file=market/apple").await.json, json!([]));
    assert_eq!(cluster.get(0, "/why?file=market/apple").await.status, 404, "it has no copies to explain");
    let stats = cluster.get(0, "/stats").await.json;
    assert_eq!((&stats["files"], &stats["records"]), (&json!(0), &json!(1)));
    assert_eq!(stats["underReplicated"], 0, "a record is never replicated");

    // It becomes a file, and a record again once the file is deleted.
    cluster.announce("p1", "market/apple", 1, "a").await;
    let found = cluster.get(0, "/file?name=market/apple").await.json;
    assert_eq!((&found["version"], &found["attributes"]["stock"]), (&json!(1), &json!(3)));
    let lease = cluster.post(0, "/lease", json!({"peerId": "p1", "fileName": "market/apple"})).await;
    let delete =
        json!({"peerId": "p1", "fileName": "market/apple", "everywhere": true, "leaseToken": lease.json["leaseToken"]});
    assert_eq!(cluster.post(0, "/delete", delete).await.status, 204);
    let deleted = cluster.get(0, "/file?name=market/apple").await;
    assert_eq!((deleted.status, &deleted.json["version"], &deleted.json["holders"]), (200, &Value::Null, &json!([])));
    assert_eq!(names(&cluster.get(0, "/search?q=apple").await), [""; 0]);
    assert_eq!(names(&cluster.get(0, "/search?q=apple&records=true").await), ["market/apple"]);
    let end = txn(json!([]), json!([{"delete": {"name": "market/apple"}}]), json!([]));
    assert_eq!(cluster.post(0, "/txn", end).await.json["names"][0]["attributes"], json!({}));
    assert_eq!(cluster.get(0, "/file?name=market/apple").await.status, 404);
    assert_eq!(names(&cluster.get(0, "/search?q=apple&records=true").await), [""; 0]);
}

#[tokio::test]
async fn searches_find_records_and_filter_by_attributes() {
    let cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "market/list.txt", 1, "a").await;
    cluster.announce("p1", "marketing/plan.txt", 1, "b").await;
    let put = json!([
        set("market/north/apple", "stock", 3),
        set("market/north/apple", "unit", "kg"),
        set("market/south/apple", "stock", 12),
        set("market/south/pear", "stock", "many"),
        set("market/list.txt", "stock", 7),
    ]);
    let written = cluster.post(0, "/txn", txn(json!([]), put, json!([]))).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let at = format!("consistency=stale&min_index={}", written.index());
    let cases: [(&str, &[&str]); 12] = [
        ("q=", &["market/list.txt", "marketing/plan.txt"]),
        ("q=&records=false", &["market/list.txt", "marketing/plan.txt"]),
        ("q=&under=market", &["market/list.txt"]),
        (
            "q=&under=market/&records=true",
            &["market/list.txt", "market/north/apple", "market/south/apple", "market/south/pear"],
        ),
        ("q=apple&records=true&under=market/south/", &["market/south/apple"]),
        ("q=&records=true&attr=stock%3E%3D5", &["market/list.txt", "market/south/apple"]),
        ("q=&records=true&attr=stock%3E%3D5&attr=stock%3C12", &["market/list.txt"]),
        ("q=&attr=stock%3E%3D5", &["market/list.txt"]),
        ("q=&records=true&attr=stock=many", &["market/south/pear"]),
        ("q=&records=true&attr=unit=kg&limit=1", &["market/north/apple"]),
        ("q=&records=true&attr=stock!=3&under=market/north", &[]),
        ("q=appel&records=true&attr=stock=12", &["market/south/apple"]),
    ];
    for node in 0..3 {
        for (query, expected) in cases {
            let answer = cluster.get(node, &format!("/search?{query}&{at}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text);
            assert_eq!(names(&answer), expected, "{query} on node {node}");
            assert_eq!(answer.header("raftshare-total"), expected.len().to_string(), "{query}");
        }
    }
    let hits = cluster.get(0, "/search?q=apple&records=true&attr=stock=3").await.json;
    let expected = json!([{"fileName": "market/north/apple", "version": null, "size": null, "hash": null,
        "score": hits[0]["score"], "peers": [], "attributes": {"stock": 3, "unit": "kg"}}]);
    assert_eq!(hits, expected);
    let plain = cluster.get(0, "/search?q=plan").await.json;
    assert_eq!(plain[0].get("attributes"), None, "a name without attributes has no such field");
    for wrong in ["attr=stock", "attr=stock~5", "attr=%3D5", "records=maybe"] {
        let answer = cluster.get(0, &format!("/search?{wrong}")).await;
        assert_eq!((answer.status, answer.code()), (400, "bad_request"), "{wrong}: {}", answer.text);
    }
    assert_eq!(cluster.get(0, "/search?under=..").await.code(), "bad_name");
}

/// A restarted node builds its name index from the catalog instead of events.
#[tokio::test]
async fn a_restarted_node_finds_records() {
    let mut cluster = Cluster::start(1).await;
    cluster.register("p1").await;
    let put = json!([set("one", "k", 1), set("two", "k", 1), set("three", "k", 1)]);
    cluster.post(0, "/txn", txn(json!([]), put, json!([]))).await;
    cluster.post(0, "/txn", txn(json!([]), json!([{"delete": {"name": "two"}}]), json!([]))).await;
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.ready().await;
    assert_eq!(names(&cluster.get(0, "/search?q=&records=true&consistency=linearizable").await), ["one", "three"]);
}

#[tokio::test]
async fn events_tell_each_change_with_its_transaction() {
    let cluster = Cluster::start(1).await;
    let from = cluster.register("p1").await.index();
    let first = cluster
        .post(0, "/txn", txn(json!([]), json!([set("a", "k", 1), set("a", "l", "x"), set("b", "k", 1)]), json!([])))
        .await;
    let second = cluster
        .post(0, "/txn", txn(json!([]), json!([set("a", "k", 2), {"unset": {"name": "a", "attr": "l"}}]), json!([])))
        .await;
    let unchanged = cluster.post(0, "/txn", txn(json!([]), json!([set("a", "k", 2)]), json!([]))).await;
    assert_eq!(unchanged.status, 200);
    let last = cluster.post(0, "/txn", txn(json!([]), json!([{"delete": {"name": "b"}}]), json!([]))).await;
    let mut stream = cluster.http.get(cluster.nodes[0].url(&format!("/events?from={from}"))).send().await.unwrap();
    let mut text = String::new();
    while !text.contains(&format!("id: {}.0\n", last.index())) || !text.ends_with("\n\n") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    let told: Vec<Value> = text
        .split("\n\n")
        .filter(|event| event.contains("event: attributes-changed\n"))
        .map(|event| serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap())
        .collect();
    let event = |answer: &Answer, file: &str, changed: Value, removed: Value| json!({"file": file, "peerId": "p1", "txn": answer.json["txn"], "changed": changed, "removed": removed});
    let expected = [
        event(&first, "a", json!({"k": 1, "l": "x"}), json!([])),
        event(&first, "b", json!({"k": 1}), json!([])),
        event(&second, "a", json!({"k": 2}), json!(["l"])),
        event(&last, "b", json!({}), json!(["k"])),
    ];
    assert_eq!(told, expected);
}
