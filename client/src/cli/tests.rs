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
        "raftshare lease queue a.txt --consistency linearizable -o json",
        "raftshare exists a.txt b.txt --ask --max-staleness 5s",
        "raftshare get a.txt --allow-peers laptop,10.0.0.7,http://10.0.0.8:9001",
        "raftshare append a.txt hello --allow-peers laptop",
        "raftshare serve --allow-peers laptop --discover",
        "raftshare list --remote --consistency stale",
        "raftshare peers",
        "raftshare peers a.txt -o plain",
        "raftshare status --timeout 1s",
        "raftshare why a.txt",
        "raftshare info a.txt",
        "raftshare search --records --under market/ --attr stock>=5 --attr unit=kg",
        "raftshare txn -",
        "raftshare txn --json --must-hold",
        "raftshare txn --id 1204.0",
        "raftshare attr get a.txt",
        "raftshare attr get a.txt price -o json",
        "raftshare attr set a.txt balance -5",
        "raftshare attr add market/a stock -3 --min 0 --max=100",
        "raftshare attr unset market/a price stock",
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

/// Wrong values of options that several commands have.
const LEVEL: &[&str] = &["", "strong"];
const AGE: &[&str] = &["", "old", "-1s", "5"];
const ALLOW: &[&str] = &["", ",", "https://a:1", "10.0.0.7:x", "a\tb"];

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
    ("serve --allow-peers", ALLOW),
    ("serve --capacity", &["", "-1", "1.5", "many", "18446744073709551616"]),
    ("search query", &[]),
    ("search --limit", &["", "0", "-1", "1001", "x"]),
    ("search --mode", &["", "regex"]),
    ("search --consistency", LEVEL),
    ("search --max-staleness", AGE),
    ("get names", &["", "/a", "../a", "a//b", "a\\b", "sub/.raftshare/identity.json", ".RAFTSHARE/x"]),
    ("get --out", &[]),
    ("get --allow-peers", ALLOW),
    ("get --consistency", LEVEL),
    ("get --max-staleness", AGE),
    ("exists names", &["", "/a", "../a"]),
    ("exists --consistency", LEVEL),
    ("exists --max-staleness", AGE),
    ("list --consistency", LEVEL),
    ("list --max-staleness", AGE),
    ("update name", &["", "/a", ".raftshare/x"]),
    ("update --editor", &["", " "]),
    ("update --from", &[]),
    ("update --exec", &["", " "]),
    ("update --wait", &["", "soon", "-1s"]),
    ("update --ttl", &["", "0s", "99ms", "1000d", "60", "soon"]),
    ("update --allow-peers", ALLOW),
    ("append --allow-peers", ALLOW),
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
    ("lease status --consistency", LEVEL),
    ("lease status --max-staleness", AGE),
    ("lease queue name", &["", "/a"]),
    ("lease queue --consistency", LEVEL),
    ("lease queue --max-staleness", AGE),
    ("attr get name", &["", "/a"]),
    ("attr get key", &["", "a key", "a:b"]),
    ("attr set name", &["", "/a"]),
    ("attr set key", &["", "a key"]),
    ("attr set value", &["99999999999999999999", "\"open"]),
    ("attr add name", &["", "/a"]),
    ("attr add key", &["", "a key"]),
    ("attr add by", &["", "1.5", "x", "9223372036854775808"]),
    ("attr add --min", &["", "x"]),
    ("attr add --max", &["", "x"]),
    ("attr unset name", &["", "/a"]),
    ("attr unset keys", &["", "a key"]),
    ("txn file", &[]),
    ("txn --if", &["", "a", "a>=1", "version a", "exists /a"]),
    ("txn --then", &["", "set a", "set a:k", "add a:k x", "put a:k 1"]),
    ("txn --else", &["", "unset a", "delete /a"]),
    ("txn --key", &["", "a b"]),
    ("txn --id", &["", "1", "1.", "a.b"]),
    ("info name", &["", "/a"]),
    ("search --under", &["", "/", "/a", "a//b"]),
    ("search --attr", &["", "stock", ">=5", "a key=1"]),
    ("peers name", &["", "/a"]),
    ("peers --consistency", LEVEL),
    ("peers --max-staleness", AGE),
    ("why name", &["", "/a"]),
    ("why --consistency", LEVEL),
    ("why --max-staleness", AGE),
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
            match (words.join(" ").as_str(), arg.get_id().as_str()) {
                ("attr add", "min" | "max") => line.extend(["a".into(), "k".into(), "1".into()]),
                ("attr get", "key") => line.insert(line.len() - 1, "a".into()),
                ("attr set", "key") => line.splice(3..3, ["a".into()]).for_each(drop),
                ("attr set", "value") | ("attr add", "by") => {
                    line.splice(3..3, ["a".into(), "k".into()]).for_each(drop)
                }
                ("attr add", "key") | ("attr unset", "keys") => line.insert(line.len() - 1, "a".into()),
                _ => {}
            }
            if arg.get_long().is_some()
                && ["get", "exists", "update", "append", "rm", "lease", "why"]
                    .contains(&words.first().map_or("", String::as_str))
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

#[test]
fn the_verbose_flag_wins_over_the_variable() {
    let filter = |verbose, variable: &str| super::log_filter(verbose, Some(variable.to_owned())).to_string();
    assert_eq!(filter(0, "error"), "error");
    assert_eq!(filter(0, "=="), "warn", "a filter that cannot be read");
    assert!(filter(1, "error").contains("client=debug"));
    assert!(filter(2, "error").contains("client=trace"));
}
