//! The environment variables of all programs, and a warning about variables that none of them reads.
//!
//! Invariant: every variable has one constant here, which command lines pass to clap as `env = variables::NAME`. A test
//! compares [`ALL`] with the command lines of all programs, so neither can name a variable that the other lacks.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::{Exit, Failure, Output};

macro_rules! variables {
    ($($(#[$documentation:meta])+ $name:ident = $text:literal;)+) => {
        $($(#[$documentation])+ pub const $name: &str = $text;)+

        /// Every variable that a program reads.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

variables! {
    /// Address that a peer listens on.
    BIND = "RAFTSHARE_BIND";
    /// How consistent a search has to be.
    CONSISTENCY = "RAFTSHARE_CONSISTENCY";
    /// Data directory of a node.
    DATA_DIR = "RAFTSHARE_DATA_DIR";
    /// The shared folder.
    DIR = "RAFTSHARE_DIR";
    /// Address that a node listens on.
    HTTP = "RAFTSHARE_HTTP";
    /// Number of a node.
    ID = "RAFTSHARE_ID";
    /// Servers of the cluster that a node joins.
    JOIN = "RAFTSHARE_JOIN";
    /// Duration of a lease.
    LEASE_TTL = "RAFTSHARE_LEASE_TTL";
    /// Filter of log lines. Both programs read it before any command line is parsed.
    LOG = "RAFTSHARE_LOG";
    /// Format of a node's log lines.
    LOG_FORMAT = "RAFTSHARE_LOG_FORMAT";
    /// Peer ID for a new folder.
    NAME = "RAFTSHARE_NAME";
    /// Format of results.
    OUTPUT = "RAFTSHARE_OUTPUT";
    /// Live copies that every file should have.
    REPLICAS = "RAFTSHARE_REPLICAS";
    /// Servers of the cluster to talk to.
    SERVER = "RAFTSHARE_SERVER";
    /// Token to present to the cluster.
    TOKEN = "RAFTSHARE_TOKEN";
}

/// The original's variable for its shadow server, which has no successor.
const SHADOW: &str = "NAPSTER_SHADOW_ADDR";

/// A variable of the original that a node still takes.
struct Original {
    name: &'static str,
    /// The option that has its value today.
    option: &'static str,
    /// The variable of today, which wins.
    today: &'static str,
    /// The value of today, or why there is none.
    value: fn(&str, &[OsString]) -> Result<String, &'static str>,
}

const ORIGINAL: [Original; 2] = [
    Original { name: "NAPSTER_SERVER_ADDR", option: "--listen", today: HTTP, value: listen },
    Original { name: "NAPSTER_REPLICATION_FACTOR", option: "--replicas", today: REPLICAS, value: replicas },
];

/// `:8080` was every address of the machine. Today that takes `--insecure`; without it, it is this machine alone.
fn listen(text: &str, args: &[OsString]) -> Result<String, &'static str> {
    let port_alone = text.starts_with(':') && text.matches(':').count() == 1;
    let host = if args.iter().any(|arg| arg == "--insecure") { "0.0.0.0" } else { "127.0.0.1" };
    Ok(if port_alone { format!("{host}{text}") } else { text.to_owned() })
}

fn replicas(text: &str, _: &[OsString]) -> Result<String, &'static str> {
    match text.parse::<u32>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err("it is not a number from 1, and was ignored before as well"),
    }
}

/// Adds to the arguments of `start` what variables of the original say, where neither an option nor a variable of today
/// does. Each is told with a notice.
#[expect(clippy::disallowed_methods, reason = "clap reads one variable for an option, and these are the second ones")]
pub fn with_original(args: Vec<OsString>, output: Output) -> Vec<OsString> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (args, notices) = taken_from_original(args, read);
    notices.iter().for_each(|notice| output.warn(notice));
    args
}

fn taken_from_original(mut args: Vec<OsString>, read: impl Fn(&str) -> Option<String>) -> (Vec<OsString>, Vec<String>) {
    let mut notices = Vec::new();
    if args.get(1).is_none_or(|command| command != "start") {
        return (args, notices);
    }
    for Original { name, option, today, value } in ORIGINAL {
        let Some(text) = read(name) else { continue };
        let is_option = |arg: &OsString| {
            let arg = arg.to_string_lossy();
            arg == option || arg.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))
        };
        if args.iter().any(is_option) || read(today).is_some() {
            notices.push(format!("{name} is set and not used: {option} or {today} is given as well"));
            continue;
        }
        match value(&text, &args) {
            Ok(value) => {
                notices.push(format!("{name}={text} is taken as {option} {value}; set {today} instead"));
                args.extend([option.into(), value.into()]);
            }
            Err(why) => notices.push(format!("{name}={text} is ignored: {why}; set {today} instead")),
        }
    }
    (args, notices)
}

/// How a node is started today, for somebody who starts a server of the original: without arguments, by variables.
#[expect(clippy::disallowed_methods, reason = "clap does not tell of variables it does not know")]
pub fn start_like_original(args: &[OsString]) -> Option<Failure> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    started_like_original(args, read)
}

fn started_like_original(args: &[OsString], read: impl Fn(&str) -> Option<String>) -> Option<Failure> {
    let is_set = |name: &str| read(name).is_some();
    if args.len() > 1 || !(is_set(SHADOW) || ORIGINAL.iter().any(|original| is_set(original.name))) {
        return None;
    }
    let mut line = "raftshare-node start --id 1 --data n1".to_owned();
    for Original { name, option, value, .. } in ORIGINAL {
        if let Some(value) = read(name).and_then(|text| value(&text, &[]).ok()) {
            line += &format!(" {option} {value}");
        }
    }
    let what = "the original's server was started by variables alone; a node takes a command";
    let address = read("NAPSTER_SERVER_ADDR").and_then(|text| listen(&text, &[]).ok());
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let hint = format!(
        "{line} --bootstrap-expect 1 --members 1={address}\n  three nodes, each with its own --id, --data and --listen, \
         replace primary and shadow; docs/migration.md says how"
    );
    Some(Failure::new(Exit::Usage, what).hint(hint))
}

/// The variables that a command and its subcommands read.
pub fn read_by(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(read_by)).collect()
}

/// Warns about variables that no program reads, because a misspelt one would be ignored silently.
#[expect(clippy::disallowed_methods, reason = "clap does not tell of variables it does not know")]
pub fn warn_about_unknown(output: Output) {
    for unknown in unknown(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())) {
        output.warn(&format!("{unknown} is set, but no program reads it; is it misspelt?"));
    }
    if std::env::var_os(SHADOW).is_some() {
        output.warn(&format!(
            "{SHADOW} is set, but there is no shadow any more: nodes replicate by themselves. List all nodes in --server \
             (or {SERVER}), for example --server http://a:8080,http://b:8080,http://c:8080"
        ));
    }
}

fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut unknown: Vec<_> =
        names.filter(|name| name.starts_with("RAFTSHARE_") && !ALL.contains(&name.as_str())).collect();
    unknown.sort();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str, set: &[(&str, &str)]) -> (String, Vec<String>) {
        let read = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let (args, notices) = taken_from_original(line.split(' ').map(OsString::from).collect(), read);
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        (words.join(" "), notices)
    }

    #[test]
    fn variables_of_the_original_are_taken_where_nothing_of_today_is_given() {
        let (addr, factor) = (("NAPSTER_SERVER_ADDR", ":8080"), ("NAPSTER_REPLICATION_FACTOR", "3"));
        let (line, notices) = taken("node start --id 1", &[addr, factor]);
        assert_eq!(line, "node start --id 1 --listen 127.0.0.1:8080 --replicas 3");
        assert!(notices.len() == 2 && notices[0].contains("set RAFTSHARE_HTTP instead"), "{notices:?}");
        assert_eq!(taken("node start --insecure", &[addr]).0, "node start --insecure --listen 0.0.0.0:8080");
        let whole = ("NAPSTER_SERVER_ADDR", "[::1]:80");
        assert_eq!(taken("node start", &[whole]).0, "node start --listen [::1]:80");
        for (line, today) in [
            ("node start --listen 127.0.0.1:1 --replicas=2", None),
            ("node start --replicas 2 --listen=127.0.0.1:1", None),
            ("node start --replicas 2", Some((HTTP, "127.0.0.1:1"))),
        ] {
            let set: Vec<_> = [addr, factor].into_iter().chain(today).collect();
            let (taken, notices) = taken(line, &set);
            assert_eq!(taken, line);
            assert!(notices.iter().all(|notice| notice.contains("not used")) && notices.len() == 2, "{notices:?}");
        }
        let (line, notices) = taken("node start", &[("NAPSTER_REPLICATION_FACTOR", "many")]);
        assert!(line == "node start" && notices[0].contains("is ignored"), "{notices:?}");
        assert_eq!(taken("node status", &[addr]), ("node status".into(), vec![]));
    }

    #[test]
    fn a_start_by_variables_alone_is_answered_with_a_command() {
        let answered = |args: &[&str], set: &[(&str, &str)]| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            let read = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            started_like_original(&args, read).map(|failure| failure.to_string())
        };
        let said = answered(&["node"], &[("NAPSTER_SERVER_ADDR", ":8081")]).expect("an answer");
        assert!(said.contains("start --id 1 --data n1 --listen 127.0.0.1:8081"), "{said}");
        assert!(said.contains("--members 1=127.0.0.1:8081"), "{said}");
        assert!(answered(&["node"], &[("NAPSTER_SHADOW_ADDR", "x")]).is_some());
        assert_eq!(answered(&["node"], &[]), None);
        assert_eq!(answered(&["node", "status"], &[("NAPSTER_SERVER_ADDR", ":1")]), None);
    }

    #[test]
    fn only_unknown_variables_are_reported() {
        let read = ["PATH", "RAFTSHARE_SERVER", "RAFTSHARE_BIND", "RAFTSHARE_LOG", "RAFTSHARE_ID"];
        let unread = ["RAFTSHARE_CA", "RAFTSHARE_FENCE", "RAFTSHARE_PEER_TTL", "RAFTSHARE_SERVERS"];
        let names = read.into_iter().chain(unread).map(str::to_owned);
        assert_eq!(unknown(names), unread);
    }
}
