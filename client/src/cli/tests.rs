//! Tests of the command line: what it accepts, and which values each setting refuses.

use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::command_line::Cli;
use super::values::Patience;
use super::verbs::{CommandLineVerb, Verb};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_command_parses() {
    for line in [
        "raftshare serve --server http://a:1,http://b:2 --dir d --bind 127.0.0.1:9001 --no-shell --peer-id p",
        "raftshare search quarterly reprt --server http://a:1 -o json",
        "raftshare search",
        "raftshare get a.txt b/c.txt --dir d",
        "raftshare get a.txt -O -",
        "raftshare list --remote",
        "raftshare update a.txt --editor vim --wait=5m",
        "raftshare update a.txt --from f --wait",
        "raftshare append a.txt -",
        "raftshare append a.txt hello --wait --server http://a:1",
        "raftshare rm a.txt --local --yes",
        "raftshare lease acquire a.txt --ttl 250ms --wait=1s",
        "raftshare lease renew a.txt --ttl 2h",
        "raftshare lease release ./a.txt",
        "raftshare lease status a.txt",
        "raftshare lease queue a.txt",
        "raftshare peers",
        "raftshare peers a.txt -o plain",
        "raftshare status --timeout 1s",
        "raftshare why a.txt",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn names_and_durations_are_checked_with_their_rule() {
    for (line, expected) in [
        ("raftshare get ../etc/passwd", "'.' or '..' segment"),
        ("raftshare get /etc/passwd", "starts with '/'"),
        ("raftshare why a\\b", "backslash"),
        ("raftshare lease acquire a --ttl soon", "examples: 250ms"),
        ("raftshare update a --from x --exec y", "cannot be used with"),
    ] {
        let error = parse(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn wait_takes_a_duration_only_with_an_equals_sign() {
    let wait = |line: &str| match parse(line).expect(line).verb {
        CommandLineVerb::Both(Verb::Append(append)) => (append.waiting.wait, append.text),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("raftshare append a --wait 5m"), (Some(Patience::Forever), Some("5m".into())));
    assert_eq!(wait("raftshare append a --wait=5m").0, Some(Patience::For(Duration::from_secs(300))));
    assert_eq!(wait("raftshare append a").0, None);
}

/// Settings, as `COMMAND --option` or `COMMAND NAME`, and the values that each must refuse. An empty row means that any
/// text is valid, such as any path.
const WRONG: &[(&str, &[&str])] = &[
    ("--server", &["", ",", "https://a:1", "ftp://a:1", "::1", "localhost", "http://a:1/x", "a:0", "a:65536"]),
    ("--dir", &[]),
    ("--peer-id", &["", "a\nb"]),
    ("--token", &[]),
    ("--output", &["", "yaml", "JSON"]),
    ("--timeout", &["", "0s", "soon", "5", "-1s", "1h", "1000d"]),
    ("serve --bind", &["", "localhost", "::1", "::1:80", "9001", "http://a:1", "a:99999", "a:-1"]),
    ("serve --advertise", &["", "a", "0.0.0.0:1", "[::]:1", "a:0", "https://a:1", "http://a:1/x"]),
    ("serve --zone", &["", "a\tb"]),
    ("serve --capacity", &["", "-1", "1.5", "many", "18446744073709551616"]),
    ("search query", &[]),
    ("search --limit", &["", "0", "-1", "1001", "x"]),
    ("search --mode", &["", "regex"]),
    ("search --consistency", &["", "strong"]),
    ("get names", &["", "/a", "../a", "a//b", "a\\b", "sub/.raftshare/identity.json", ".RAFTSHARE/x"]),
    ("get --out", &[]),
    ("update name", &["", "/a", ".raftshare/x"]),
    ("update --editor", &["", " "]),
    ("update --from", &[]),
    ("update --exec", &["", " "]),
    ("update --wait", &["", "soon", "-1s"]),
    ("update --ttl", &["", "0s", "99ms", "1000d", "60", "soon"]),
    ("append name", &["", "/a"]),
    ("append text", &[]),
    ("append --wait", &["", "soon"]),
    ("append --ttl", &["", "0s", "25h"]),
    ("rm name", &["", "/a"]),
    ("rm --wait", &["", "soon"]),
    ("rm --ttl", &["", "0s", "25h"]),
    ("lease acquire name", &["", "/a"]),
    ("lease acquire --wait", &["", "soon"]),
    ("lease acquire --ttl", &["", "0s", "25h"]),
    ("lease renew name", &["", "/a"]),
    ("lease renew --ttl", &["", "0s", "25h"]),
    ("lease release name", &["", "/a"]),
    ("lease status name", &["", "/a"]),
    ("lease queue name", &["", "/a"]),
    ("peers name", &["", "/a"]),
    ("why name", &["", "/a"]),
];

/// Every argument with a value: the words of its command, the clap argument, and its name in the table.
fn settings(command: &clap::Command, words: &[String], all: &mut Vec<(Vec<String>, clap::Arg, String)>) {
    for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        if arg.is_global_set() && !words.is_empty() {
            continue; // an option of every command, listed once
        }
        let name = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
        let key = words.iter().cloned().chain([name]).collect::<Vec<_>>().join(" ");
        all.push((words.to_vec(), arg.clone(), key));
    }
    for inner in command.get_subcommands() {
        let words: Vec<String> = words.iter().cloned().chain([inner.get_name().to_owned()]).collect();
        settings(inner, &words, all);
    }
}

#[test]
fn every_setting_refuses_wrong_values() {
    let mut all = Vec::new();
    settings(&Cli::command(), &[], &mut all);
    let mut rows: std::collections::BTreeMap<&str, &[&str]> = WRONG.iter().copied().collect();
    assert_eq!(rows.len(), WRONG.len(), "a setting has one row");
    for (words, arg, key) in all {
        let wrong = rows.remove(key.as_str()).unwrap_or_else(|| panic!("'{key}' has no row with wrong values"));
        for value in wrong {
            let mut line = vec!["raftshare".to_owned()];
            line.extend(if words.is_empty() { vec!["status".to_owned()] } else { words.clone() });
            line.push(match arg.get_long() {
                Some(long) => format!("--{long}={value}"),
                None => (*value).to_owned(),
            });
            // What else the command needs.
            if arg.get_long().is_some()
                && ["get", "update", "append", "rm", "lease"].contains(&words.first().map_or("", String::as_str))
            {
                line.push("a.txt".to_owned());
            }
            let error = Cli::try_parse_from(&line).err().unwrap_or_else(|| panic!("{line:?} is accepted"));
            let kind = error.kind();
            let about_value = [clap::error::ErrorKind::ValueValidation, clap::error::ErrorKind::InvalidValue];
            assert!(about_value.contains(&kind), "{line:?}: {kind:?} {error}");
        }
    }
    assert!(rows.is_empty(), "no such settings: {rows:?}");
}
