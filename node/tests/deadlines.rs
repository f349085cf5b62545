//! No command and no request waits longer than its deadline, whatever the state of the cluster (W6,
//! R4): commands are taken from the parsers' own lists and requests from the API's description, so
//! that a new one without a row here fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and measure")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use support::{Cluster, eventually, hash};

/// What a command or a request is told.
const DEADLINE: Duration = Duration::from_secs(5);
/// What it may take in all.
const LIMIT: Duration = Duration::from_secs(6);
/// On a machine that does much else at once, starting a process takes its time.
const START_MARGIN: Duration = Duration::from_secs(2);

/// How the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// One follower of three is left.
    NoLeader,
    /// The leader is left, and nobody answers it.
    NoQuorum,
    /// The leader is left; the others take connections and say nothing.
    Isolated,
    /// The asked node itself takes connections and says nothing.
    Silent,
    /// The asked node was removed from its cluster.
    Removed,
    /// The node belongs to no cluster.
    NotFounded,
}

const STATES: [State; 6] =
    [State::NoLeader, State::NoQuorum, State::Isolated, State::Silent, State::Removed, State::NotFounded];

/// How a command may end: exit codes per kind.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Looks at one node, and at what that one knows.
    Look,
    /// Reads the index; a stale answer is one.
    Read,
    /// Needs a majority.
    Change,
    /// Needs nobody.
    Local,
}

impl Kind {
    fn codes(self, state: State) -> &'static [i32] {
        match (self, state) {
            (Self::Local, _) => &[0],
            (_, State::Silent) => &[6, 8],
            (Self::Look, _) => &[0, 6, 11],
            (Self::Read, _) => &[0, 3, 6],
            // A write that its leader took before it knew that it is alone is unknown.
            (Self::Change, State::NoQuorum | State::Isolated) => &[5, 6, 8],
            (Self::Change, _) => &[6],
        }
    }
}

/// Commands of `raftshare-node` that ask a cluster, and how; `SERVER` and `DIR` are filled in.
const NODE_COMMANDS: &[(&str, &str, Kind)] = &[
    ("init", "", Kind::Change),
    ("status", "", Kind::Look),
    ("members", "", Kind::Look),
    ("promote", "2", Kind::Change),
    ("demote", "2", Kind::Change),
    ("remove", "2", Kind::Change),
    ("transfer-leader", "2", Kind::Change),
    ("replace", "2 9 --addr 127.0.0.1:1", Kind::Change),
    ("snapshot", "", Kind::Look),
    ("backup", "DIR/backup", Kind::Look),
    ("verify", "", Kind::Look),
];

/// Commands that run until they are stopped.
const ENDLESS: [&str; 3] = ["dev", "start", "serve"];

/// Commands of `raftshare`. In arguments, `_` stands for a space.
const CLIENT_COMMANDS: &[(&str, &str, Kind)] = &[
    ("search", "a", Kind::Read),
    ("get", "a.txt", Kind::Read),
    ("exists", "a.txt", Kind::Read),
    ("info", "a.txt", Kind::Read),
    ("list", "", Kind::Local),
    ("update", "a.txt --exec true", Kind::Change),
    ("append", "a.txt text", Kind::Change),
    ("rm", "a.txt --yes", Kind::Change),
    ("lease acquire", "a.txt", Kind::Change),
    ("lease renew", "a.txt", Kind::Change),
    ("lease release", "a.txt", Kind::Change),
    ("lease status", "a.txt", Kind::Read),
    ("lease queue", "a.txt", Kind::Read),
    ("attr get", "a.txt", Kind::Read),
    ("attr set", "a.txt k 1", Kind::Change),
    ("attr add", "a.txt k 1", Kind::Change),
    ("attr unset", "a.txt k", Kind::Change),
    ("txn", "--then set_a.txt:k_1", Kind::Change),
    ("peers", "", Kind::Read),
    ("status", "", Kind::Look),
    ("why", "a.txt", Kind::Read),
];

/// A cluster in that state and the place of the node to ask.
async fn cluster_in(state: State) -> (Cluster, usize) {
    if state == State::NotFounded {
        let mut cluster = Cluster::start_with(0, &[]).await;
        let mut alone = cluster.extra_node(1, &[]);
        alone.start();
        let url = alone.url("/healthz");
        cluster.nodes.push(alone);
        eventually("the node listens", async || cluster.http.get(&url).send().await.is_ok()).await;
        return (cluster, 0);
    }
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.announce("p1", "a.txt", 1, "a").await;
    cluster.equal_digests().await;
    let leader = cluster.leader().await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let asked = if matches!(state, State::NoLeader | State::Removed) { one } else { leader };
    match state {
        State::NoLeader => {
            cluster.nodes[leader].kill();
            cluster.nodes[other].kill();
        }
        State::NoQuorum => {
            cluster.nodes[one].kill();
            cluster.nodes[other].kill();
        }
        State::Isolated => {
            cluster.nodes[one].signal(support::Signal::STOP);
            cluster.nodes[other].signal(support::Signal::STOP);
        }
        State::Silent => cluster.nodes[leader].signal(support::Signal::STOP),
        State::Removed => {
            let removed = cluster.post(leader, "/cluster/remove", json!({"id": cluster.nodes[one].id})).await;
            assert_eq!(removed.status, 200, "{removed:?}");
            eventually("it knows", async || cluster.get(one, "/leader").await.code() == "removed").await;
        }
        State::NotFounded => {}
    }
    if !matches!(state, State::Silent | State::Removed) {
        // Seconds later: what is still on its way when the others are lost is not what is looked at here.
        let url = cluster.nodes[asked].url("/leader");
        eventually("nobody leads", async || {
            cluster.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 503)
        })
        .await;
    }
    (cluster, asked)
}

/// Runs a command and says how it ended, if that is not how it may.
async fn complaint(state: State, name: &str, kind: Kind, mut command: Command) -> Option<String> {
    let started = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (took, code) = (started.elapsed(), output.status.code());
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = format!("{state:?}: {name} ended with {code:?} after {took:?}: {errors}");
    let expected = kind.codes(state);
    let in_time = took <= LIMIT + START_MARGIN;
    // The debug form of a type is not for people.
    let readable = !["Some(", "None", "{ ", "LogId", "Error("].iter().any(|mark| errors.contains(mark));
    // What is no failure but a result was printed as one, whatever the exit code says.
    let is_json =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().any(|line| serde_json::from_str::<Value>(line).is_ok());
    let is_json = errors.is_empty() || is_json(&output.stdout) || is_json(&output.stderr) || code == Some(0);
    (!in_time || !code.is_some_and(|code| expected.contains(&code)) || !readable || !is_json).then_some(text)
}

/// Names of all commands that can be called, groups left out.
fn leaves(command: &clap::Command, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("{prefix}{}", sub.get_name());
        if sub.has_subcommands() {
            names.extend(leaves(sub, &format!("{name} ")));
        } else {
            names.insert(name);
        }
    }
    names
}

#[test]
fn every_command_has_a_row() {
    for (command, rows) in [(node::cli::command(), NODE_COMMANDS), (client::cli::command(), CLIENT_COMMANDS)] {
        let rows: BTreeSet<_> = rows.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let names = leaves(&command, "").into_iter().filter(|name| !ENDLESS.contains(&name.as_str()));
        assert_eq!(names.collect::<BTreeSet<_>>(), rows, "commands of {}", command.get_name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_node_end_in_time() {
    let mut complaints = Vec::new();
    for state in STATES {
        let (cluster, asked) = cluster_in(state).await;
        let server = cluster.nodes[asked].url("");
        let dir = cluster.dir.path().display().to_string();
        let runs = NODE_COMMANDS.iter().map(|(name, args, kind)| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare-node"));
            command.arg(name).args(args.replace("DIR", &dir).split_whitespace());
            command.args(["--node", &server, "--timeout", "5s", "-o", "json"]).env("RUST_BACKTRACE", "0");
            // A cluster of one node is founded where none is.
            let kind = if *name == "init" && state != State::Silent { None } else { Some(*kind) };
            async move {
                match kind {
                    Some(kind) => complaint(state, name, kind, command).await,
                    None => None,
                }
            }
        });
        complaints.extend(join_all(runs).await.into_iter().flatten());
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_client_end_in_time() {
    let mut complaints = Vec::new();
    for state in STATES {
        let (cluster, asked) = cluster_in(state).await;
        let server = cluster.nodes[asked].url("");
        let runs = CLIENT_COMMANDS.iter().enumerate().map(|(row, (name, args, kind))| {
            let dir = cluster.dir.path().join(format!("peer{row}"));
            std::fs::create_dir(&dir).unwrap();
            let mut line: Vec<OsString> = vec!["raftshare".into()];
            line.extend(name.split(' ').map(OsString::from));
            line.extend(args.split_whitespace().map(|arg| arg.replace('_', " ").into()));
            line.extend(["--server", &server, "--timeout", "5s", "--dir"].map(OsString::from));
            line.push(dir.into());
            async move {
                let started = Instant::now();
                let code = tokio::task::spawn_blocking(move || client::cli::run(line)).await.unwrap();
                let took = started.elapsed();
                // Renewing and releasing want a lease, which this folder does not have.
                let own = matches!(*name, "lease renew" | "lease release") && matches!(code, 1 | 3 | 5);
                let expected = own || kind.codes(state).contains(&i32::from(code));
                (!expected || took > LIMIT + START_MARGIN)
                    .then(|| format!("{state:?}: {name} ended with {code} after {took:?}"))
            }
        });
        complaints.extend(join_all(runs).await.into_iter().flatten());
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A body that suits every path: fields that a path does not know are ignored.
fn body(path: &str) -> Value {
    let address = if path == "/cluster/learners" { "127.0.0.1:1" } else { "http://127.0.0.1:1" };
    let file = json!({"name": "b.txt", "version": 1, "size": 1, "hash": hash("b")});
    let mut body = json!({
        "peerId": "p1", "address": address, "fileName": "a.txt", "id": 2, "leaseToken": "00112233445566778899aabbccddeeff",
    });
    match path {
        "/register" => body["files"] = json!([]),
        "/announce" => {
            body["file"] = file;
            body.as_object_mut().unwrap().remove("leaseToken");
        }
        "/txn" => body["then"] = json!([{"set": {"name": "a.txt", "attr": "k", "value": 1}}]),
        "/cluster/init" => body["nodes"] = json!([{"id": 1, "address": "127.0.0.1:1"}]),
        _ => {}
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_in_time() {
    let mut complaints = Vec::new();
    for state in STATES.into_iter().filter(|state| *state != State::Silent) {
        let (cluster, asked) = cluster_in(state).await;
        let document = cluster.get(asked, "/openapi.json").await.json;
        let calls: Vec<(String, bool)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (path.clone(), method == "post"))
            })
            .collect();
        assert!(calls.len() >= 30, "the list was not found");
        let answers = calls.iter().map(|(path, is_post)| {
            let query = match path.as_str() {
                "/search" => "?q=a",
                "/file" => "?name=a.txt&consistency=linearizable",
                "/peers" | "/why" | "/lease" => "?file=a.txt",
                "/events" => "?from=1",
                "/txn" => "?id=1.0",
                _ => "",
            };
            let url = cluster.nodes[asked].url(&path.replace("{path}", "x"));
            let request = match is_post {
                true => cluster.http.post(url).body(body(path).to_string()),
                false => cluster.http.get(format!("{url}{query}")),
            };
            async move {
                let started = Instant::now();
                // The head is the answer: events go on.
                let answer = request.send().await.unwrap();
                let (took, status) = (started.elapsed(), answer.status().as_u16());
                let problem: Value = match status {
                    400.. => serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null),
                    _ => Value::Null,
                };
                // A heartbeat is no logged write.
                let definite = !is_post
                    || status < 400
                    || path == "/heartbeat"
                    || matches!(problem["applied"].as_str(), Some("no" | "unknown"));
                (took > LIMIT || !matches!(status, 200..500 | 503) || !definite)
                    .then(|| format!("{state:?}: {path} was answered {status} after {took:?}: {problem}"))
            }
        });
        complaints.extend(join_all(answers).await.into_iter().flatten());
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// W6: a caller's own deadline is kept, and what was not begun by then is refused as not applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_the_caller_names_is_kept() {
    let (cluster, asked) = cluster_in(State::NoLeader).await;
    let announce = json!({"peerId": "p1", "file": {"name": "b", "version": 1, "size": 1, "hash": hash("b")}});
    for (path, body) in [("/announce", announce), ("/cluster/remove", json!({"id": 2}))] {
        let started = Instant::now();
        let answer = cluster.post_with(asked, path, body, &[("raftshare-deadline-ms", "700")]).await;
        assert_eq!((answer.code(), &answer.json["applied"]), ("no_quorum", &json!("no")), "{answer:?}");
        assert!(started.elapsed() < DEADLINE / 2, "{path}: {:?}", started.elapsed());
    }
    let wrong = cluster.post_with(asked, "/delete", json!({}), &[("raftshare-deadline-ms", "5s")]).await;
    assert_eq!((wrong.status, wrong.code()), (400, "bad_request"), "{wrong:?}");
}
