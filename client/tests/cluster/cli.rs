//! The built binary against a scripted index: what it prints where, its exit codes, and what it keeps between commands.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen, TOKEN, dead_url, denied, grant, leader, no_quorum, ok, problem};

/// A server that leads, with `script` for everything else.
pub fn index(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => no_quorum(), // then any server is asked
        "/lease/release" | "/lease/leave" => Reply::Json(204, Value::Null, Vec::new()),
        _ => script(seen),
    })
}

pub fn raftshare(server: &str, dir: &Path, args: &[&str]) -> Output {
    with_input(server, dir, args, "")
}

#[expect(clippy::disallowed_methods, reason = "the program is run without the settings of this shell")]
pub fn with_input(server: &str, dir: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RAFTSHARE_")) {
        command.env_remove(name);
    }
    command.env_remove("EDITOR").env_remove("VISUAL").env("RAFTSHARE_SERVER", server).current_dir(dir).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes()); // the command may have ended without reading it
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Exit code, standard output, standard error.
pub fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub fn file_answer(version: u64, content: &str) -> Value {
    json!({"name": "a.txt", "version": version, "size": content.len(), "hash": sha256(content), "holders": [],
           "lease": null, "replicas": {"desired": 2, "live": 1}, "attributes": {}})
}

pub fn sha256(content: &str) -> String {
    client::files::hash_bytes(content.as_bytes()).to_string()
}

fn announced(seen: &Seen) -> Reply {
    ok(json!({"ok": true, "version": seen.body["file"]["version"], "tasks": []}))
}

fn fresh_grant(version: u64) -> Value {
    let mut answer = grant(60_000, 6);
    answer["version"] = json!(version);
    answer
}

#[test]
fn a_search_prints_the_apis_json_and_nothing_else() {
    let hit = json!({"fileName": "a.txt", "version": 2, "size": 1_500, "hash": sha256("x"), "score": 1.0,
                     "peers": [{"id": "p", "address": "http://p:1"}]});
    let answer = json!([hit]);
    let expected = answer.clone();
    let fake = index(move |_| Reply::Json(200, answer.clone(), vec![("raftshare-total", "7".into())]));
    let dir = folder();
    let (code, out, _) = told(&raftshare(&fake.url(), dir.path(), &["search", "a", "-o", "json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()), (0, expected));
    let (_, out, _) = told(&raftshare(&fake.url(), dir.path(), &["search", "a", "-o", "plain"]));
    assert_eq!(out, "1\ta.txt\tv2\t1.5K\t1\tp\n");
    let (_, out, err) = told(&raftshare(&fake.url(), dir.path(), &["search", "a"]));
    assert!(out.contains("NAME") && out.contains("a.txt") && !out.contains("matches"), "{out}");
    assert!(err.contains("1 of 7 matches") && err.contains("! stale answer"), "{err}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking does not make the folder a shared one");
}

#[test]
fn a_search_without_a_hit_is_a_result() {
    let fake = index(|_| ok(json!([])));
    let (code, out, _) = told(&raftshare(&fake.url(), folder().path(), &["search", "x", "-o", "json"]));
    assert_eq!((code, out.as_str()), (0, "[]\n"));
}

#[test]
fn status_tells_the_clusters_health_by_its_exit_code() {
    let node = |id: u64, alive: bool| {
        json!({"id": id, "address": "h:1", "role": "follower", "lastContactMs": 5, "appliedIndex": 9, "lag": 0,
               "alive": alive, "version": "0.1.0"})
    };
    let cluster = move |leader: Option<u64>, alive: [bool; 3]| {
        let nodes: Vec<_> = (1..).zip(alive).map(|(id, alive)| node(id, alive)).collect();
        let healthy = alive.iter().filter(|alive| **alive).count();
        json!({"clusterId": "c", "leader": leader, "term": 3, "nodes": nodes, "quorum": {"size": 2, "healthy": healthy}})
    };
    for (leader, alive, code, word) in [
        (Some(1), [true, true, true], 0, "HEALTHY"),
        (Some(1), [true, true, false], 11, "DEGRADED"),
        (None, [true, false, false], 6, "NO QUORUM"),
    ] {
        let fake = index(move |seen| match seen.path.as_str() {
            "/cluster" => ok(cluster(leader, alive)),
            _ => problem(404, "not_found", json!({})),
        });
        let (exit, out, err) = told(&raftshare(&fake.url(), folder().path(), &["status"]));
        assert_eq!(exit, code, "{out}{err}");
        assert!(out.contains(word), "{out}");
        assert_eq!(err.contains("does not answer"), alive != [true, true, true], "{err}");
    }
}

#[test]
fn failures_have_their_exit_code_and_say_what_to_do() {
    let dir = folder();
    let refusing = |status: u16, code: &'static str| index(move |_| problem(status, code, json!({"applied": "no"})));
    let (missing, locked, held) =
        (refusing(404, "not_found"), refusing(401, "unauthorized"), index(|_| ok(denied(None))));
    let dead = dead_url();
    for (server, args, code, advice) in [
        (missing.url(), &["get", "a.txt"][..], 3, "raftshare search"),
        (held.url(), &["append", "a.txt", "x"], 4, "--wait"),
        (held.url(), &["lease", "acquire", "a.txt"], 4, "lease queue 'a.txt'"),
        (dead.clone(), &["search", "x", "--timeout", "100ms"], 6, "raftshare-node"),
        (locked.url(), &["peers"], 10, "RAFTSHARE_TOKEN"),
        (dead.clone(), &["get", "../x"], 2, "'.' or '..' segment"),
        (dead.clone(), &["fetch", "x"], 2, "unrecognized subcommand"),
        (dead.clone(), &["search", "--server", "ftp://x"], 2, "http://127.0.0.1:8080"),
        (dead.clone(), &["update", "a.txt"], 2, "export EDITOR="),
        (dead, &["lease", "renew", "a.txt"], 3, "lease acquire 'a.txt'"),
    ] {
        let (exit, out, err) = told(&raftshare(&server, dir.path(), args));
        assert_eq!(exit, code, "{args:?}: {err}");
        assert!(err.contains(advice), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
    }
}

#[test]
fn unknown_variables_are_warned_about() {
    let fake = index(|_| ok(json!([])));
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare"));
    command.env("RAFTSHARE_SERVRE", "x").args(["search", "--server", &fake.url(), "--quiet"]);
    let (code, _, err) = told(&command.output().unwrap());
    assert_eq!(code, 0);
    assert!(err.contains("RAFTSHARE_SERVRE"), "{err}");
}

#[test]
fn a_lease_is_kept_between_commands() {
    let fake = index(|_| ok(grant(60_000, 6)));
    let dir = folder();
    let (code, out, _) = told(&raftshare(&fake.url(), dir.path(), &["lease", "acquire", "a.txt", "-o", "json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()), (0, grant(60_000, 6)));
    for command in ["renew", "release"] {
        let (code, _, err) = told(&raftshare(&fake.url(), dir.path(), &["lease", command, "a.txt"]));
        assert_eq!(code, 0, "{err}");
        assert_eq!(fake.seen(&format!("/lease/{command}"))[0].body["leaseToken"], json!(TOKEN));
    }
    assert_eq!(told(&raftshare(&fake.url(), dir.path(), &["lease", "release", "a.txt"])).0, 3);
    let peers: Vec<_> = ["/lease", "/lease/renew", "/lease/release"]
        .map(|path| fake.seen(path)[0].body["peerId"].clone())
        .into_iter()
        .collect();
    assert!(peers.iter().all(|peer| *peer == peers[0]), "one folder is one peer: {peers:?}");
}

#[test]
fn an_unknown_peer_registers_as_one_that_does_not_serve() {
    let asked = AtomicU64::new(0);
    let fake = index(move |seen| match seen.path.as_str() {
        "/lease" if asked.fetch_add(1, Ordering::SeqCst) == 0 => problem(409, "unknown_peer", json!({"applied": "no"})),
        "/lease" => ok(grant(60_000, 6)),
        _ => ok(json!({"ok": true, "incarnation": 4, "tasks": [], "listing": "accepted", "conflicts": []})),
    });
    let dir = folder();
    let args = ["lease", "acquire", "a.txt", "--peer-id", "desk"];
    assert_eq!(told(&raftshare(&fake.url(), dir.path(), &args)).0, 0);
    let registration = &fake.seen("/register")[0].body;
    assert_eq!((&registration["peerId"], &registration["serving"]), (&json!("desk"), &json!(false)));
    let leases = fake.seen("/lease");
    assert_ne!(leases[0].key(), leases[1].key(), "a refusal is remembered under its key");
}

#[test]
fn append_creates_a_name_and_publishes_what_was_appended() {
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(0)),
        "/announce" => announced(seen),
        _ => problem(404, "not_found", json!({})),
    });
    let dir = folder();
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &["append", "d/a.txt", "hello", "-o", "json"]));
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["version"], &report["changed"], &report["hash"]),
        (&json!(1), &json!(true), &json!(sha256("hello\n")))
    );
    assert_eq!(std::fs::read_to_string(dir.path().join("d/a.txt")).unwrap(), "hello\n");
    let sent = &fake.seen("/announce")[0].body;
    assert_eq!((&sent["leaseToken"], &sent["file"]["hash"]), (&json!(TOKEN), &json!(sha256("hello\n"))));
    assert!(fake.seen("/lease/release").is_empty(), "publishing ends the lease");
}

#[test]
fn append_reads_the_standard_input() {
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(0)),
        _ => announced(seen),
    });
    let dir = folder();
    assert_eq!(told(&with_input(&fake.url(), dir.path(), &["append", "a.txt", "-"], "one\ntwo")).0, 0);
    assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), "one\ntwo");
}

/// A folder whose `a.txt` is the current version 1 with the content `old`.
fn with_version_one() -> tempfile::TempDir {
    let dir = folder();
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(0)),
        _ => announced(seen),
    });
    assert_eq!(told(&with_input(&fake.url(), dir.path(), &["update", "a.txt", "--from", "-"], "old")).0, 0);
    dir
}

/// An index whose current version of `a.txt` is that one.
fn at_version_one(announce: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    index(move |seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(1)),
        "/file" => ok(file_answer(1, "old")),
        "/announce" => announce(seen),
        _ => no_quorum(),
    })
}

fn conflict_copies(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("a.txt.conflict-")).collect()
}

const EDIT: [&str; 4] = ["update", "a.txt", "--exec", "printf new > \"$1\""];

#[test]
fn update_edits_a_copy_and_publishes_the_next_version() {
    let (dir, fake) = (with_version_one(), at_version_one(announced));
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &EDIT));
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("a.txt v2 published"), "{out}");
    assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), "new");
    assert_eq!(fake.seen("/announce")[0].body["file"]["version"], json!(2));
}

#[test]
fn an_update_that_changes_nothing_gives_the_lease_back() {
    let (dir, fake) = (with_version_one(), at_version_one(announced));
    let (code, out, _) = told(&raftshare(&fake.url(), dir.path(), &["update", "a.txt", "--exec", "true"]));
    assert_eq!(code, 0);
    assert!(out.contains("unchanged"), "{out}");
    assert!(fake.seen("/announce").is_empty());
    assert_eq!(fake.seen("/lease/release").len(), 1);
}

#[test]
fn a_refused_update_is_kept_as_a_conflict_copy() {
    let refused = |_: &Seen| problem(409, "version_conflict", json!({"applied": "no", "currentVersion": 2}));
    let (dir, fake) = (with_version_one(), at_version_one(refused));
    let (code, _, err) = told(&raftshare(&fake.url(), dir.path(), &EDIT));
    assert_eq!(code, 5, "{err}");
    let copies = conflict_copies(dir.path());
    assert_eq!(copies.len(), 1, "{err}");
    assert_eq!(std::fs::read_to_string(dir.path().join(&copies[0])).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), "old");
}

#[test]
fn an_edit_whose_lease_was_lost_is_not_published_but_kept() {
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => {
            let mut over = fresh_grant(1);
            over["ttlMs"] = json!(0);
            ok(over)
        }
        "/file" => ok(file_answer(1, "old")),
        "/lease/renew" => problem(403, "lease_expired", json!({"applied": "no"})),
        _ => announced(seen),
    });
    let dir = with_version_one();
    let (code, _, err) = told(&raftshare(&fake.url(), dir.path(), &EDIT));
    assert_eq!(code, 5, "{err}");
    assert!(fake.seen("/announce").is_empty());
    let copies = conflict_copies(dir.path());
    assert_eq!(std::fs::read_to_string(dir.path().join(&copies[0])).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), "old");
}

#[test]
fn an_unknown_outcome_is_neither_success_nor_failure() {
    let unknown = |_: &Seen| problem(503, "outcome_unknown", json!({"applied": "unknown"}));
    let (dir, fake) = (with_version_one(), at_version_one(unknown));
    let args = [&EDIT[..], &["--timeout", "300ms"]].concat();
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &args));
    assert_eq!((code, out.as_str()), (8, ""));
    assert!(err.contains("unknown"), "{err}");
    assert!(conflict_copies(dir.path()).is_empty());
}

#[test]
fn an_unknown_outcome_that_the_leader_shows_applied_is_a_success() {
    let published = AtomicU64::new(0);
    let fake = index(move |seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(1)),
        "/file" if published.load(Ordering::SeqCst) == 0 => ok(file_answer(1, "old")),
        "/file" => ok(file_answer(2, "new")),
        _ => {
            published.store(1, Ordering::SeqCst);
            problem(503, "outcome_unknown", json!({"applied": "unknown"}))
        }
    });
    let dir = with_version_one();
    let args = [&EDIT[..], &["--timeout", "300ms"]].concat();
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &args));
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("a.txt v2 published"), "{out}");
}

#[test]
fn an_editor_that_fails_publishes_nothing_and_gives_the_lease_back() {
    let (dir, fake) = (with_version_one(), at_version_one(announced));
    let (code, _, err) = told(&raftshare(&fake.url(), dir.path(), &["update", "a.txt", "--editor", "false"]));
    assert_eq!(code, 1, "{err}");
    assert!(fake.seen("/announce").is_empty());
    assert_eq!(fake.seen("/lease/release").len(), 1);
}

#[test]
fn rm_deletes_everywhere_under_a_lease_and_trashes_the_copy() {
    let fake = index(|seen| match seen.path.as_str() {
        "/lease" => ok(fresh_grant(1)),
        "/delete" => Reply::Json(204, Value::Null, Vec::new()),
        _ => no_quorum(),
    });
    let dir = with_version_one();
    let (code, out, err) = told(&raftshare(&fake.url(), dir.path(), &["rm", "a.txt", "--yes", "-o", "json"]));
    assert_eq!(code, 0, "{err}");
    let sent = &fake.seen("/delete")[0].body;
    assert_eq!((&sent["everywhere"], &sent["leaseToken"]), (&json!(true), &json!(TOKEN)));
    assert!(!dir.path().join("a.txt").exists());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(std::fs::read_to_string(report["trash"].as_str().unwrap()).unwrap(), "old");
}

#[test]
fn the_remote_list_goes_page_by_page_and_never_asks_for_more_than_a_page() {
    let hit = |name: String| json!({"fileName": name, "version": 1, "size": 1, "hash": sha256("x"), "score": 1.0, "peers": []});
    let fake = index(move |seen| match seen.path.as_str() {
        "/search" => {
            let at = if seen.query.contains("cursor=second") { 1_000..1_003 } else { 0..1_000 };
            let mut headers = vec![("raftshare-total", "1003".to_owned())];
            if at.start == 0 {
                headers.push(("raftshare-cursor", "second".to_owned()));
            }
            Reply::Json(200, at.map(|n| hit(format!("f{n:04}"))).collect(), headers)
        }
        _ => no_quorum(),
    });
    let (code, out, err) = told(&raftshare(&fake.url(), folder().path(), &["list", "--remote", "-o", "plain"]));
    assert_eq!((code, out.lines().count()), (0, 1_003), "{err}");
    let seen = fake.seen("/search");
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.query.contains("limit=1000")), "{seen:?}");
}

#[test]
fn rm_without_a_terminal_needs_yes_and_touches_nothing_without_it() {
    let fake = index(|_| ok(json!({})));
    let dir = folder();
    std::fs::write(dir.path().join("a.txt"), "old").unwrap();
    for args in [&["rm", "a.txt"][..], &["rm", "a.txt", "--local"], &["rm", "a.txt", "-o", "json"]] {
        let (code, out, err) = told(&with_input(&fake.url(), dir.path(), args, "y\n"));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains("--yes"), "{err}");
    }
    let requests = ["/lease", "/delete", "/register"].map(|path| fake.seen(path).len());
    assert_eq!(requests, [0, 0, 0], "the index was asked nothing");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "and nothing was written");
}

#[test]
fn the_shell_of_serve_runs_commands_and_leaves_on_quit() {
    let hit = json!({"fileName": "a.txt", "version": 2, "size": 1, "hash": sha256("x"), "score": 1.0, "peers": []});
    let fake = index(move |seen| match seen.path.as_str() {
        "/search" => ok(json!([hit])),
        "/peers" => ok(json!([])),
        "/register" => ok(json!({"ok": true, "incarnation": 4, "tasks": [], "listing": "accepted", "conflicts": []})),
        "/heartbeat" => Reply::Never,
        _ => no_quorum(),
    });
    let lines = "search a\npeers 1\nnonsense\nquit\nsearch b\n";
    let (code, out, err) = told(&with_input(&fake.url(), folder().path(), &["serve", "--peer-id", "desk"], lines));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("serving as desk at http://127.0.0.1:") && out.contains("a.txt"), "{out}");
    assert!(err.contains("unrecognized subcommand 'nonsense'"), "{err}");
    assert!(fake.seen("/peers")[0].query.starts_with("file=a.txt"), "1 is the first row of the search");
    assert_eq!(fake.seen("/search").len(), 1, "nothing runs after quit");
}

#[test]
fn a_dead_leader_does_not_stop_a_search() {
    let dead = dead_url();
    let address = dead.trim_start_matches("http://").to_owned();
    let fake = Fake::start(move |seen| match seen.path.as_str() {
        "/leader" => ok(leader(1, &address, 3)),
        _ if seen.query.contains("consistency=stale") => ok(json!([])),
        _ => no_quorum(),
    });
    let servers = format!("{dead},{}", fake.url());
    let (code, out, err) = told(&raftshare(&servers, folder().path(), &["search", "-o", "json"]));
    assert_eq!((code, out.as_str()), (0, "[]\n"));
    assert!(err.contains("! stale answer"), "{err}");
}

#[test]
fn the_flags_of_the_original_do_nothing_and_name_todays_command() {
    let fake = index(|_| no_quorum());
    let url = fake.url();
    let args = ["-cmd", "serve", "-server", &url, "-dir", "my files", "-bind", ":9001"];
    let (code, out, err) = told(&raftshare(&url, folder().path(), &args));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("raftshare serve --server {url} --dir 'my files' --bind :9001\n")), "{err}");
    assert!(fake.seen("/register").is_empty() && fake.seen("/search").is_empty(), "nothing was asked");
}
