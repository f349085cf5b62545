//! Settings of the command line: what is understood, and what every one of them refuses.

use super::*;
use crate::config::{Bootstrap, Config};

fn config(arguments: &str) -> Result<Config, String> {
    let words = format!("raftshare-node start --id 1 --data d {arguments}");
    match Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())?.command {
        Command::Start(args) => args.into_config(),
        _ => Err("not start".into()),
    }
}

#[test]
fn start_checks_its_settings() {
    assert_eq!(config("").expect("defaults are valid").bootstrap, Bootstrap::Wait);
    let three = "--bootstrap-expect 3 --members 1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3";
    assert!(matches!(config(three).expect("valid").bootstrap, Bootstrap::Found { members } if members.len() == 3));
    for (arguments, word) in [
        ("--bootstrap-expect 3 --members 1=127.0.0.1:1", "names 1"),
        ("--bootstrap-expect 1 --members 2=127.0.0.1:1", "does not name this node"),
        ("--bootstrap-expect 2 --members 1=127.0.0.1:1,1=127.0.0.1:2", "twice"),
        ("--bootstrap-expect 1 --members 1=nowhere", "HOST:PORT"),
        ("--listen 0.0.0.0:8080 --insecure", "--advertise"),
        ("--heartbeat 100ms", "election"),
        ("--election 300ms..200ms", "election"),
    ] {
        let error = config(arguments).expect_err(arguments);
        assert!(error.contains(word), "{arguments}: {error}");
    }
}

/// Every setting of `start` with values it must refuse, and a word of each refusal. A
/// setting without a row fails the test.
const WRONG: &[(&str, &[(&str, &str)])] = &[
    ("id", &[("0", "--id"), ("-1", "invalid"), ("one", "invalid"), ("18446744073709551616", "invalid")]),
    (
        "listen",
        &[
            ("8080", "HOST:PORT"),
            ("http://127.0.0.1:1", "URL"),
            ("::1:8080x", "brackets"),
            ("127.0.0.1:65536", "HOST:PORT"),
            ("no.such.host.invalid:1", "host name"),
            ("0.0.0.0:8080", "--insecure"),
        ],
    ),
    (
        "advertise",
        &[
            ("host", "HOST:PORT"),
            ("https://host:1", "URL"),
            ("::1:8080", "brackets"),
            ("[::1:8080", "brackets"),
            ("host:0", "port 0"),
            ("a/b:1", "HOST:PORT"),
            ("user@host:1", "HOST:PORT"),
        ],
    ),
    ("data", &[]),
    ("bootstrap-expect", &[("0", "--members"), ("x", "invalid")]),
    (
        "members",
        &[
            ("127.0.0.1:1", "ID=HOST:PORT"),
            ("x=127.0.0.1:1", "node id"),
            ("0=127.0.0.1:1", "start at 1"),
            ("1=::1:1", "brackets"),
            ("1=http://h:1", "URL"),
        ],
    ),
    (
        "join",
        &[
            ("127.0.0.1:8080", "scheme"),
            ("https://127.0.0.1:8080", "https"),
            ("ftp://h:1", "base URL"),
            ("http://h", "HOST:PORT"),
            ("http://h:1/path", "HOST:PORT"),
        ],
    ),
    ("log-format", &[("xml", "invalid value")]),
    ("learner", &[]),
    ("replicas", &[("0", "--replicas"), ("101", "--replicas"), ("two", "invalid")]),
    ("lease-ttl", &[("0s", "--lease-ttl"), ("99ms", "--lease-ttl"), ("1000d", "--lease-ttl"), ("60", "invalid")]),
    ("peer-ttl", &[("0s", "--peer-ttl"), ("2d", "--peer-ttl"), ("soon", "invalid")]),
    ("grace", &[("2d", "--grace"), ("-1s", "invalid")]),
    ("heartbeat", &[("0s", "--heartbeat"), ("1us", "--heartbeat"), ("1h", "election")]),
    ("election", &[("200ms", "SHORTEST..LONGEST"), ("1s..2h", "--election"), ("0s..0s", "election")]),
    ("snapshot-every", &[("0", "--snapshot-every"), ("many", "invalid")]),
    ("follower-writes", &[("drop", "forward")]),
    ("v0", &[("yes", "on, off")]),
    ("insecure", &[]),
];

#[test]
fn every_setting_refuses_wrong_values() {
    use clap::CommandFactory;
    let cli = Cli::command();
    let start = cli.find_subcommand("start").expect("it exists");
    for argument in start.get_arguments().filter(|argument| argument.get_long() != Some("help")) {
        let name = argument.get_long().expect("every setting has a long name");
        let (_, values) =
            WRONG.iter().find(|(setting, _)| *setting == name).unwrap_or_else(|| panic!("no row for --{name}"));
        for (value, word) in *values {
            let rest = match name {
                "id" => String::new(),
                "bootstrap-expect" => "--members 1=127.0.0.1:1".to_owned(),
                "members" => "--bootstrap-expect 1".to_owned(),
                _ => String::new(),
            };
            let id = if name == "id" { "" } else { "--id 1" };
            let words = format!("raftshare-node start --data d {id} --{name}={value} {rest}");
            let parsed = Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string());
            let refused = parsed.and_then(|cli| match cli.command {
                Command::Start(args) => args.into_config().map(drop),
                _ => Err("not start".into()),
            });
            let error = refused.expect_err(&words);
            assert!(error.contains(word), "{words}: {error}");
        }
    }
}

#[test]
fn names_and_both_kinds_of_ip_address_are_understood() {
    for listen in ["127.0.0.1:0", "[::1]:8080", "localhost:8080"] {
        let config = config(&format!("--listen {listen}")).expect(listen);
        assert!(config.listen.ip().is_loopback(), "{listen}");
    }
    for advertise in ["index-1.example:8080", "[fe80::1]:8080", "10.0.0.1:1"] {
        config(&format!("--advertise {advertise}")).expect(advertise);
    }
}

#[test]
fn every_variable_is_read_by_a_program_and_no_program_reads_another() {
    use std::collections::BTreeSet;

    use client::terminal::variables;
    let known: BTreeSet<String> = variables::ALL.iter().map(|name| (*name).to_owned()).collect();
    let mut read = variables::read_by(&command());
    read.extend(variables::read_by(&client::cli::command()));
    read.insert(variables::LOG.to_owned());
    assert_eq!(read, known);
}
