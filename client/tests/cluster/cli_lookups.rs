//! The built binary against a scripted index: which servers it asks, how consistent its reads are, whom it fetches
//! from, whether a file exists, and who waits for a lease.

use serde_json::{Value, json};

use crate::cli::{file_answer, folder, index, raftshare, sha256, told};
use crate::fake::{Fake, Reply, Seen, no_quorum, ok, problem};
use crate::servers::cluster_of;

fn queue(fencing_token: u64, line: &[&str]) -> Value {
    let place = |(position, peer): (u64, &&str)| json!({"peerId": peer, "position": position});
    let line: Vec<_> = (1..).zip(line).map(place).collect();
    json!({"fileName": "a.txt", "holder": "desk", "fencingToken": fencing_token, "expiration": 1_790_000_000,
           "remainingMs": 41_000, "line": line})
}

#[test]
fn the_queue_shows_the_holder_its_fencing_token_and_every_waiter_with_its_position() {
    let answer = queue(1_204, &["lab", "laptop"]);
    let expected = answer.clone();
    let fake = index(move |_| ok(answer.clone()));
    let dir = folder();
    let (code, out, _) = told(&raftshare(&fake.url(), dir.path(), &["lease", "queue", "a.txt"]));
    assert_eq!(code, 0);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..2], ["-", "desk"]);
    assert!(out.contains("holder, ends in 0:41, fencing token 1,204"), "{out}");
    assert_eq!((rows[2].clone(), rows[3].clone()), (vec!["1", "lab", "waiting"], vec!["2", "laptop", "waiting"]));
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &["lease", "queue", "a.txt", "-o", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &["lease", "status", "a.txt", "-o", "plain"]));
    assert_eq!(out.lines().count(), 1, "the holder alone");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking does not make the folder a shared one");
}

#[test]
fn an_unclaimed_grant_and_an_empty_queue_are_said() {
    let fake = index(|_| ok(queue(0, &[])));
    let (code, out, err) = told(&raftshare(&fake.url(), folder().path(), &["lease", "queue", "a.txt"]));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("its turn; has 0:41 to claim the lease"), "{out}");
    assert!(err.contains("nobody waits"), "{err}");
}

#[test]
fn a_lease_that_nobody_has_is_exit_code_3_in_words_and_in_json() {
    let fake = index(|_| problem(404, "not_found", json!({})));
    let dir = folder();
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &["lease", "queue", "a.txt"]));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("nobody has the lease of a.txt, and nobody waits for it"), "{err}");
    let (_, _, err) = told(&raftshare(&fake.url(), dir.path(), &["lease", "queue", "a.txt", "-o", "json"]));
    let error: Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&json!("not_found"), &json!(3)));
}

#[test]
fn whoever_does_not_hold_the_lease_is_told_who_does() {
    let fake = index(|_| ok(queue(7, &[])));
    for command in ["renew", "release"] {
        let (code, _, err) = told(&raftshare(&fake.url(), folder().path(), &["lease", command, "a.txt"]));
        assert_eq!(code, 3);
        assert!(err.contains("this folder does not hold the lease of a.txt; desk has it"), "{err}");
        assert!(fake.seen(&format!("/lease/{command}")).is_empty(), "the index was asked to change nothing");
    }
}

#[test]
fn every_reading_command_passes_its_consistency_on() {
    let fake = index(|seen| match seen.path.as_str() {
        "/file" => ok(file_answer(1, "old")),
        "/lease" => ok(queue(7, &[])),
        "/why" => ok(json!({"name": "a.txt", "rule": {"desired": 1, "live": 1, "underWay": 0, "summary": ""},
                            "holders": [], "tasks": [], "refused": []})),
        _ => ok(json!([])),
    });
    for (path, command) in [
        ("/search", &["search", "x"][..]),
        ("/search", &["list", "--remote"]),
        ("/peers", &["peers"]),
        ("/peers", &["peers", "a.txt"]),
        ("/file", &["exists", "a.txt"]),
        ("/file", &["get", "a.txt", "-O", "x", "--timeout", "300ms"]),
        ("/lease", &["lease", "queue", "a.txt"]),
        ("/why", &["why", "a.txt"]),
    ] {
        for level in ["leader", "linearizable", "stale"] {
            let seen = fake.seen(path).len();
            let args = [command, &["--consistency", level, "--max-staleness", "3s"]].concat();
            raftshare(&fake.url(), folder().path(), &args);
            let query = &fake.seen(path)[seen].query;
            let expected = format!("consistency={level}&max_staleness_ms=3000");
            assert!(query.contains(&expected), "{command:?}: {query}");
        }
    }
}

#[test]
fn members_are_learned_and_remembered_in_a_shared_folder() {
    let answering = |seen: &Seen| if seen.path == "/search" { ok(json!([])) } else { no_quorum() };
    let other = Fake::start(answering);
    let address = other.address;
    let mut first = Fake::start(move |seen| match seen.path.as_str() {
        "/cluster" => ok(cluster_of(&[address])),
        _ => answering(seen),
    });
    let (dir, shared) = (folder(), folder());
    client::peer::Folder::open(shared.path(), None).unwrap();
    for dir in [dir.path(), shared.path()] {
        let (code, _, err) = told(&raftshare(&first.url(), dir, &["search", "--discover"]));
        assert_eq!(code, 0, "{err}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no other folder becomes a shared one");
    first.stop();
    let args = ["search", "--discover", "--timeout", "500ms"];
    assert_eq!(told(&raftshare(&first.url(), dir.path(), &args)).0, 6);
    assert_eq!(told(&raftshare(&first.url(), shared.path(), &args[..1])).0, 6, "only where it is asked for");
    let before = other.seen("/search").len();
    let (code, _, err) = told(&raftshare(&first.url(), shared.path(), &args));
    assert_eq!(code, 0, "{err}");
    assert_eq!(other.seen("/search").len(), before + 1);
}

/// A peer that has the bytes `old`, or says that it has nothing.
fn holder(has: bool) -> Fake {
    Fake::start(move |seen| match (seen.path.as_str(), has) {
        ("/files/a.txt", true) => Reply::Json(200, json!("old"), vec![("etag", format!("\"{}\"", sha256("\"old\"")))]),
        _ => problem(404, "not_found", json!({})),
    })
}

/// An index that knows these holders of `a.txt`.
fn held_by(holders: &[(&str, String)]) -> Fake {
    let entry = |(id, address): &(&str, String)| json!({"id": id, "address": address, "version": 1, "current": true, "live": true});
    let mut answer = file_answer(1, "\"old\"");
    answer["holders"] = holders.iter().map(entry).collect();
    index(move |seen| match seen.query.contains("name=a.txt") {
        true => ok(answer.clone()),
        false => problem(404, "not_found", json!({})),
    })
}

#[test]
fn existence_is_told_by_the_exit_code_and_every_holder_can_be_asked() {
    let (has, has_not) = (holder(true), holder(false));
    let both = held_by(&[("desk", has.url()), ("lab", has_not.url())]);
    let (nobody, dead) = (held_by(&[]), held_by(&[("lab", has_not.url())]));
    let run = |fake: &Fake, args: &[&str]| told(&raftshare(&fake.url(), folder().path(), args));
    let (code, out, _) = run(&both, &["exists", "a.txt", "-o", "plain"]);
    assert_eq!((code, out.as_str()), (0, "a.txt\tyes\tv1\t5\t2\n"));
    let (code, out, err) = run(&both, &["exists", "a.txt", "--ask", "-o", "plain"]);
    assert_eq!((code, out.as_str()), (0, "a.txt\tyes\tv1\t5\t1/2\n"), "{err}");
    assert!(err.contains("lab at ") && err.contains("HTTP 404"), "{err}");
    let (code, out, _) = run(&both, &["exists", "a.txt", "b.txt", "-o", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found[0]["exists"], &found[1]["exists"]), (3, &json!(true), &json!(false)));
    assert_eq!(found[0]["holders"].as_array().unwrap().len(), 2);
    assert_eq!(run(&nobody, &["exists", "a.txt"]).0, 6);
    assert_eq!(run(&dead, &["exists", "a.txt"]).0, 0, "the index says so");
    assert_eq!(run(&dead, &["exists", "a.txt", "--ask"]).0, 6, "and the holder does not");
}

#[test]
fn bytes_come_from_allowed_peers_only() {
    let (known, unknown) = (holder(true), holder(true));
    let fake = held_by(&[("desk", known.url()), ("lab", unknown.url())]);
    let address = known.url();
    for list in ["desk", &address, "x,desk"] {
        let args = ["get", "a.txt", "-O", "-", "--allow-peers", list];
        let (code, out, err) = told(&raftshare(&fake.url(), folder().path(), &args));
        assert_eq!((code, out.as_str()), (0, "\"old\""), "{err}");
    }
    assert!(unknown.seen("/files/a.txt").is_empty());
    let args = ["get", "a.txt", "-O", "-", "--allow-peers", "laptop,10.9.9.9"];
    let (code, out, err) = told(&raftshare(&fake.url(), folder().path(), &args));
    assert_eq!((code, out.as_str()), (6, ""));
    assert!(err.contains("no allowed peer holds version 1 of a.txt"), "{err}");
    assert!(err.contains("desk at ") && err.contains("lab at ") && err.contains("--allow-peers"), "{err}");
}
