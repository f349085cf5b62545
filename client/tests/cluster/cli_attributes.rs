//! The verbs about attributes, as the built program runs them against a scripted index.

use serde_json::{Value, json};

use crate::cli::{folder, index, raftshare, told, with_input};
use crate::fake::{Fake, Reply, Seen, TOKEN, dead_url, grant, ok, problem};

fn answered(branch: &str) -> Value {
    json!({"ok": true, "branch": branch, "txn": "12.3",
           "names": [{"name": "market/a", "version": null, "attributes": {"price": 120, "unit": "kg"}}]})
}

fn selling(branch: &'static str) -> Fake {
    index(move |seen| match seen.path.as_str() {
        "/txn" => ok(answered(branch)),
        "/lease" => ok(grant(60_000, 6)),
        "/file" => ok(json!({"name": "market/a", "version": null, "size": null, "hash": null, "holders": [],
            "lease": null, "replicas": {"desired": 2, "live": 0}, "attributes": {"price": 120, "unit": "kg"}})),
        _ => problem(404, "not_found", json!({})),
    })
}

fn parts(seen: &Seen) -> Value {
    let mut body = seen.body.clone();
    body.as_object_mut().unwrap().remove("peerId").expect("the folder's peer acts");
    body
}

#[test]
fn a_typed_transaction_is_sent_and_its_outcome_printed() {
    let (fake, dir) = (selling("then"), folder());
    let args = [
        "txn",
        "--if",
        "market/a:stock>=3",
        "--if",
        "exists market/a",
        "--then",
        "add market/a:stock -3 min 0",
        "--else",
        "unset market/a:price",
    ];
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &args));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("BRANCH") && out.contains("then") && out.contains("price=120 unit=\"kg\""), "{out}");
    let expected = json!({
        "if": [{"name": "market/a", "attr": "stock", "is": ">=", "value": 3}, {"name": "market/a", "exists": true}],
        "then": [{"add": {"name": "market/a", "attr": "stock", "by": -3, "min": 0}}],
        "else": [{"unset": {"name": "market/a", "attr": "price"}}],
    });
    assert_eq!(parts(&fake.seen("/txn")[0]), expected);
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &[&args[..], &["-o", "json"]].concat()));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), answered("then"));
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &[&args[..], &["-o", "plain"]].concat()));
    assert_eq!(out, "then\t12.3\tmarket/a\t-\tprice=120 unit=\"kg\"\n");
}

#[test]
fn json_is_read_from_the_standard_input_and_joined_with_what_was_typed() {
    let (fake, dir) = (selling("then"), folder());
    let text = r#"{"if": [{"name": "a", "version": 3}], "then": [{"delete": {"name": "market/a"}}]}"#;
    for flag in ["-", "--json"] {
        let args = ["txn", flag, "--then", "set b:n 1"];
        let (code, _, err) = told(&with_input(&fake.url(), dir.path(), &args, text));
        assert_eq!(code, 0, "{err}");
        let expected = json!({
            "if": [{"name": "a", "version": 3}],
            "then": [{"delete": {"name": "market/a"}}, {"set": {"name": "b", "attr": "n", "value": 1}}],
            "else": [],
        });
        assert_eq!(parts(fake.seen("/txn").last().unwrap()), expected, "{flag}");
    }
    for (text, expected) in [
        ("", "is not a transaction"),
        ("[]", "is not an object"),
        (r#"{"iff": []}"#, "unknown field \"iff\""),
        (r#"{"then": [{"set": {"name": "a"}}]}"#, "then[0]"),
        (r#"{"then": []}"#, "is empty"),
    ] {
        let (code, out, err) = told(&with_input(&fake.url(), dir.path(), &["txn", "-"], text));
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains(expected), "{text}: {err}");
    }
    assert_eq!(fake.seen("/txn").len(), 2, "nothing else was sent");
}

#[test]
fn the_branch_else_is_a_result_unless_the_conditions_must_hold() {
    let (fake, dir) = (selling("else"), folder());
    let args = ["txn", "--if", "exists a", "--then", "set market/a:n 1"];
    let (code, out, _) = told(&raftshare(&fake.url(), dir.path(), &args));
    assert!(code == 0 && out.contains("else"), "{out}");
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &[&args[..], &["--must-hold"]].concat()));
    assert!(code == 5 && out.contains("else") && err.contains("did not hold"), "{out}{err}");
}

#[test]
fn refusals_have_their_exit_code_and_say_what_to_do() {
    let dir = folder();
    let refusing = |status, code: &'static str, extra: Value| index(move |_| problem(status, code, extra.clone()));
    let bounds = refusing(409, "out_of_bounds", json!({"applied": "no", "name": "a", "attr": "n", "value": 2}));
    let leased = refusing(403, "lease_required", json!({"applied": "no", "holder": "p", "name": "a"}));
    let unknown = refusing(503, "outcome_unknown", json!({"applied": "unknown"}));
    let forgotten = refusing(404, "not_found", json!({}));
    let add = ["attr", "add", "a", "n", "-3", "--min", "0"];
    for (server, args, code, advice) in [
        (bounds.url(), &add[..], 5, "out_of_bounds"),
        (leased.url(), &add, 5, "lease acquire 'a'"),
        (unknown.url(), &["txn", "--key", "k7", "--then", "set a:n 1", "--timeout", "300ms"], 8, "--key k7"),
        (forgotten.url(), &["txn", "--id", "9.0"], 3, "does not know transaction 9.0"),
        (forgotten.url(), &["attr", "get", "a"], 3, "search --records"),
        (forgotten.url(), &["info", "a"], 3, "search --records"),
        (dead_url(), &["txn"], 2, "the transaction is empty"),
        (dead_url(), &["txn", "--if", "a>=3"], 2, "market/a:stock>=3"),
        (dead_url(), &["attr", "add", "a", "n", "1", "--min", "3", "--max", "2"], 2, "greater"),
    ] {
        let (exit, out, err) = told(&raftshare(&server, dir.path(), args));
        assert_eq!((exit, out.as_str()), (code, ""), "{args:?}: {err}");
        assert!(err.contains(advice), "{args:?}: {err}");
    }
}

#[test]
fn attributes_are_read_and_changed_one_by_one() {
    let (fake, dir) = (selling("then"), folder());
    for (args, expected) in [
        (&["attr", "get", "market/a"][..], "price\t120\nunit\tkg\n"),
        (&["attr", "get", "market/a", "unit"], "kg\n"),
        (&["attr", "set", "market/a", "balance", "-5"], "price\t120\nunit\tkg\n"),
        (&["attr", "unset", "market/a", "x", "y"], "price\t120\nunit\tkg\n"),
    ] {
        let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &[args, &["-o", "plain"]].concat()));
        assert_eq!((code, out.as_str()), (0, expected), "{args:?}: {err}");
    }
    let sent: Vec<_> = fake.seen("/txn").iter().map(|seen| seen.body["then"].clone()).collect();
    let unset = |key: &str| json!({"unset": {"name": "market/a", "attr": key}});
    let set = json!([{"set": {"name": "market/a", "attr": "balance", "value": -5}}]);
    assert_eq!(sent, [set, json!([unset("x"), unset("y")])]);
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &["attr", "get", "market/a", "price", "-o", "json"]));
    assert_eq!(out, "120\n");
    let (code, _, err) = told(&raftshare(&fake.url(), dir.path(), &["attr", "get", "market/a", "weight"]));
    assert!(code == 3 && err.contains("has no attribute weight"), "{err}");
}

#[test]
fn a_lease_that_the_folder_keeps_is_shown_with_its_operations() {
    let (fake, dir) = (selling("then"), folder());
    let run = |args: &[&str]| told(&raftshare(&fake.url(), dir.path(), args));
    let args = ["txn", "--if", "lease market/a", "--then", "set market/a:n 1", "--then", "set market/b:n 1"];
    let (code, _, err) = run(&args);
    assert!(code == 3 && err.contains("lease acquire 'market/a'"), "{err}");
    assert_eq!(run(&["lease", "acquire", "market/a"]).0, 0);
    assert_eq!(run(&args).0, 0);
    let sent = &fake.seen("/txn")[0].body;
    assert_eq!(sent["if"][0]["leaseToken"], json!(TOKEN));
    assert_eq!(
        (&sent["then"][0]["set"]["leaseToken"], sent["then"][1]["set"].get("leaseToken")),
        (&json!(TOKEN), None)
    );
}

#[test]
fn a_lease_that_is_over_is_forgotten_and_said() {
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => ok(grant(60_000, 6)),
        _ => problem(403, "lease_expired", json!({"applied": "no"})),
    });
    let dir = folder();
    let run = |args: &[&str]| told(&raftshare(&fake.url(), dir.path(), args));
    assert_eq!(run(&["lease", "acquire", "market/a"]).0, 0);
    let (code, _, err) = run(&["attr", "set", "market/a", "n", "1"]);
    assert!(code == 5 && err.contains("is over"), "{err}");
    run(&["attr", "set", "market/a", "n", "1"]);
    assert_eq!(fake.seen("/txn")[1].body["then"][0]["set"].get("leaseToken"), None);
}

#[test]
fn a_record_is_described_found_and_no_file() {
    let (fake, dir) = (selling("then"), folder());
    let run = |args: &[&str]| told(&raftshare(&fake.url(), dir.path(), args));
    let (code, out, _) = run(&["info", "market/a"]);
    assert!(code == 0 && out.starts_with("market/a: a record\n") && out.contains("price = 120"), "{out}");
    let (code, _, err) = run(&["get", "market/a"]);
    assert!(code == 3 && err.contains("is a record"), "{err}");
    let hits = json!([{"fileName": "market/a", "version": null, "size": null, "hash": null, "score": 1.0, "peers": [],
                       "attributes": {"stock": 4}}]);
    let fake = index(move |_| Reply::Json(200, hits.clone(), Vec::new()));
    let args = ["search", "a", "--records", "--under", "market", "--attr", "stock>=3", "-o", "plain"];
    let (_, out, err) = told(&raftshare(&fake.url(), dir.path(), &args));
    assert_eq!(out, "1\tmarket/a\t-\t-\t0\t\tstock=4\n", "{err}");
    assert!(fake.seen("/search")[0].query.contains("under=market%2F"), "{:?}", fake.seen("/search"));
}
