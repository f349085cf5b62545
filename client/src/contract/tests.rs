//! Compares the documents with the code: every route, every error code, every field of the contract's types.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::*;

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn document() -> Value {
    document::openapi()
}

#[test]
fn every_route_is_described() {
    let document = document();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.name().to_lowercase()];
        assert!(operation["operationId"].is_string(), "{route:?} is not described");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(summary.len() > 5 && !summary.contains('\n'), "{route:?}: '{summary}'");
    }
    assert!(ROUTES.len() >= 33, "the routes were not found");
}

#[test]
fn no_two_endpoints_share_a_name_or_a_place() {
    let document = document();
    let operations: Vec<_> = document["paths"]
        .as_object()
        .into_iter()
        .flat_map(|paths| paths.values())
        .filter_map(Value::as_object)
        .collect();
    let ids: BTreeSet<_> = operations
        .iter()
        .flat_map(|methods| methods.values())
        .map(|operation| operation["operationId"].to_string())
        .collect();
    assert_eq!(ids.len(), ROUTES.len() + 1, "and /raft, which is refused");
}

#[test]
fn the_list_for_readers_has_every_endpoint() {
    let list = markdown::endpoints();
    for route in ROUTES {
        assert!(list.contains(&format!("#### `{} {}`\n", route.method.name(), route.path)), "{route:?}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 120), "too wide");
}

#[test]
fn every_error_code_is_described_and_known() {
    let document = document();
    let codes = document["components"]["schemas"]["ErrorCode"]["enum"].as_array().expect("a list of codes");
    for code in codes {
        let parsed: ErrorCode = serde_json::from_value(code.clone()).expect("any text is a code");
        assert_ne!(parsed, ErrorCode::Unknown, "{code} is described but not known to the code");
    }
    assert_eq!(codes.len(), 30, "the contract has 30 codes");
    let responses = document["components"]["responses"].as_object().expect("shared responses").values();
    let used: BTreeSet<&str> =
        responses.filter_map(|response| response["x-codes"].as_array()).flatten().filter_map(Value::as_str).collect();
    assert_eq!(used.len(), codes.len(), "every code appears in some answer");
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    let pointer = target.strip_prefix('#').expect("a local reference");
                    assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
                }
                map.values().for_each(|value| walk(value, document));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

/// Reads a sample with every field of the schema into the type and writes it again: neither side may know more fields.
fn fields_agree<T: DeserializeOwned + Serialize>(schema: &str, sample: Value) {
    let document = document();
    let described = document["components"]["schemas"][schema]["properties"].as_object().expect(schema).clone();
    let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
    let value: T = serde_json::from_value(sample).expect(schema);
    let written = serde_json::to_value(&value).expect(schema);
    let written = written.as_object().expect("an object");
    let expected = keys(&described);
    assert_eq!(keys(written), expected, "fields of {schema}");
    let required = document["components"]["schemas"][schema]["required"].as_array().expect("required fields").clone();
    assert!(required.iter().filter_map(Value::as_str).all(|field| written.contains_key(field)), "{schema}");
}

#[test]
fn every_answer_has_the_fields_that_are_described() {
    let task = json!({"id": "t", "type": "UPDATE", "file": "f", "version": 1, "size": 1, "hash": HASH, "fencingToken": 1,
        "source": "http://a", "sources": ["http://a"]});
    let lease =
        json!({"fileName": "f", "holder": "p", "fencingToken": 1, "expiration": 1, "remainingMs": 1, "line": []});
    fields_agree::<Task>("Task", task);
    fields_agree::<LeaseStatus>("LeaseStatus", lease);
    fields_agree::<RegisterResponse>(
        "RegisterResponse",
        json!({"ok": true, "incarnation": 1, "tasks": [], "listing": "wanted", "conflicts": []}),
    );
    fields_agree::<AnnounceResponse>(
        "AnnounceResponse",
        json!({"ok": true, "version": 1, "fencingToken": 1, "tasks": []}),
    );
    fields_agree::<AnnounceManyResponse>("AnnounceManyResponse", json!({"ok": true, "results": [], "tasks": []}));
    fields_agree::<GrantResponse>(
        "GrantResponse",
        json!({"granted": true, "expiration": 1, "leaseToken": "00112233445566778899aabbccddeeff", "fencingToken": 1,
            "ttlMs": 1, "version": 0}),
    );
    fields_agree::<DeniedResponse>(
        "DeniedResponse",
        json!({"granted": false, "holder": "p", "expiration": 1, "remainingMs": 1, "position": 1}),
    );
    fields_agree::<HeartbeatResponse>("HeartbeatResponse", json!({"ok": false, "reason": "replaced", "tasks": []}));
    fields_agree::<SearchHit>(
        "SearchHit",
        json!({"fileName": "f", "version": 1, "size": 1, "hash": HASH, "score": 1.0, "peers": [],
            "attributes": {"stock": 1}}),
    );
    fields_agree::<FilePeer>(
        "FilePeer",
        json!({"id": "p", "address": "http://a", "lastSeen": 1, "version": 1, "current": true}),
    );
    fields_agree::<PeerEntry>(
        "PeerEntry",
        json!({"id": "p", "address": "http://a", "zone": null, "lastSeen": 1, "files": 1}),
    );
    fields_agree::<FileResponse>(
        "FileResponse",
        json!({"name": "f", "version": 1, "size": 1, "hash": HASH, "holders": [], "lease": null,
            "replicas": {"desired": 2, "live": 1}, "attributes": {}}),
    );
    fields_agree::<TxnResponse>("TxnResponse", json!({"ok": true, "branch": "then", "txn": "7.0", "names": []}));
    fields_agree::<TxnName>("TxnName", json!({"name": "f", "version": null, "attributes": {}}));
    fields_agree::<LeaderInfo>("LeaderInfo", json!({"id": 1, "address": "h:1", "term": 1}));
    fields_agree::<ClusterResponse>(
        "ClusterResponse",
        json!({"clusterId": null, "leader": null, "term": 1, "nodes": [], "quorum": {"size": 1, "healthy": 1},
            "condition": "ok"}),
    );
    fields_agree::<ClusterNode>(
        "ClusterNode",
        json!({"id": 1, "address": "h:1", "role": null, "voter": true, "lastContactMs": null, "appliedIndex": null,
            "lag": null, "alive": null, "loading": 0.5, "condition": null, "version": null}),
    );
    let stats = serde_json::to_value(StatsResponse::default()).expect("figures");
    fields_agree::<StatsResponse>("StatsResponse", stats);
    fields_agree::<Problem>(
        "Problem",
        json!({"type": "t", "title": "t", "status": 409, "detail": "d", "code": "not_leader", "applied": "no",
            "leader": {"id": 1, "address": "h:1", "term": 1}, "currentVersion": 1, "hash": HASH, "size": 1, "holder": "p",
            "fencingToken": 1, "name": "f", "attr": "stock", "value": 1, "progress": 0.5, "retryAfterMs": 1}),
    );
}
