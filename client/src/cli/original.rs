//! The command line of the original client (`-cmd serve -server URL …`): answered with the command line that does the
//! same today, with the caller's own values.
//!
//! Invariant: nothing is done under the old flags. Some of them mean something else today (`-bind :9001` was open to
//! every machine), so the user should see what will run.

use std::fmt::Write;
use std::net::IpAddr;

use crate::terminal::{Exit, Failure};

/// The flags of the original client, each with its default.
const FLAGS: [(&str, &str); 6] = [
    ("cmd", "serve"),
    ("server", "http://localhost:8080"),
    ("dir", "shared"),
    ("bind", ":9000"),
    ("addr", ""),
    ("logdir", "logs"),
];

/// The values of a command line of the original.
#[derive(Debug)]
struct Original {
    values: [Option<String>; FLAGS.len()],
    words: Vec<String>,
}

impl Original {
    /// Reads the arguments as Go's `flag` package does: flags with one or two dashes, up to the first other word.
    fn read(args: &[String]) -> Self {
        let mut values = [const { None }; FLAGS.len()];
        let mut words = args.iter().peekable();
        while let Some(word) = words.peek() {
            let Some((place, value)) = flag(word) else { break };
            let value = value.map(str::to_owned);
            words.next();
            values[place] = value.or_else(|| words.next().cloned());
        }
        Self { values, words: words.skip_while(|word| *word == "--").cloned().collect() }
    }

    fn given(&self, name: &str) -> Option<&str> {
        let place = FLAGS.iter().position(|(flag, _)| *flag == name)?;
        self.values[place].as_deref()
    }

    fn value(&self, name: &str) -> &str {
        let default = FLAGS.iter().find(|(flag, _)| *flag == name).map_or("", |(_, default)| default);
        self.given(name).unwrap_or(default)
    }

    /// The command line of today, and what should be known about it.
    fn today(&self) -> Result<(String, Vec<String>), String> {
        let mut notes = Vec::new();
        let mut line = "raftshare ".to_owned();
        let named = || self.words.first().map_or("NAME".to_owned(), |name| quoted(name));
        line += &match self.value("cmd") {
            "serve" => "serve".to_owned(),
            "search" if self.words.is_empty() => "search WORDS".to_owned(),
            "search" => format!("search {}", self.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
            "get" => format!("get {}", named()),
            "update" => format!("update {}", named()),
            "delete" => format!("rm --local {}", named()),
            "list" => "list".to_owned(),
            other => {
                return Err(format!("-cmd {other}: the original knew serve, search, get, update, delete and list"));
            }
        };
        let servers = self.value("server").split(',').map(|server| server.trim().trim_end_matches('/'));
        let servers: Vec<_> = servers.map(|server| server.trim_end_matches("/v0")).collect();
        let _ = write!(line, " --server {} --dir {}", quoted(&servers.join(",")), quoted(self.value("dir")));
        if self.value("cmd") == "serve" {
            line += &self.listening(&mut notes);
        }
        if self.given("logdir").is_some() {
            notes.push("-logdir: log lines go to the standard error; add -v, and 2> FILE to keep them".to_owned());
        }
        Ok((line, notes))
    }

    /// `--bind`, and what others need where the original was open to other machines.
    fn listening(&self, notes: &mut Vec<String>) -> String {
        let (bind, addr) = (self.value("bind"), self.value("addr").trim_end_matches('/'));
        let port = bind.rsplit_once(':').map_or(bind, |(_, port)| port);
        let host = bind.rsplit_once(':').map_or("", |(host, _)| host);
        let host_of_addr = addr.split("://").last().and_then(|addr| addr.rsplit_once(':')).map_or("", |(host, _)| host);
        let is_local = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if is_local(host) || (host.is_empty() && (addr.is_empty() || is_local(host_of_addr))) {
            if host.is_empty() {
                notes.push(format!(
                    "--bind :{port} is open to this machine only; for others: --bind 0.0.0.0:{port} --insecure \
                     --advertise http://THIS-HOST:{port}"
                ));
            }
            return format!(" --bind {}", quoted(bind));
        }
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        let advertise = if addr.is_empty() { format!("http://THIS-HOST:{port}") } else { addr.to_owned() };
        notes.push("--insecure: anyone who can reach this address can read the shared files".to_owned());
        format!(" --bind {}:{} --insecure --advertise {}", quoted(host), quoted(port), quoted(&advertise))
    }
}

/// The place of a flag of the original in [`FLAGS`], and its value if it is in the same word.
fn flag(word: &str) -> Option<(usize, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
    Some((FLAGS.iter().position(|(flag, _)| *flag == name)?, value))
}

/// Whether a word is a flag that only the original has.
fn is_original(word: &str) -> bool {
    flag(word).is_some_and(|(place, _)| !word.starts_with("--") || FLAGS[place].0 == "cmd")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-._/:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The answer to a command line of the original; `None` to one of today. `args` are without the program's name.
pub fn answer(args: &[String]) -> Option<Failure> {
    if !args.iter().take_while(|arg| *arg != "--").any(|arg| is_original(arg)) {
        return None;
    }
    let what = "these are the flags of the original client";
    Some(match Original::read(args).today() {
        Err(why) => Failure::new(Exit::Usage, format!("{what}; {why}")).hint("raftshare --help lists the commands"),
        Ok((line, notes)) => {
            let notes = notes.iter().fold(String::new(), |text, note| text + "\n  " + note);
            Failure::new(Exit::Usage, format!("{what}; the same is done by")).hint(format!("{line}{notes}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Option<String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        answer(&args).map(|failure| {
            assert_eq!(failure.exit, Exit::Usage);
            failure.to_string()
        })
    }

    #[test]
    fn every_command_of_the_original_names_the_one_of_today() {
        for (line, expected) in [
            (
                "-cmd serve -server http://localhost:8080,http://localhost:8081 -dir tmp/peer1 -bind :9001",
                "raftshare serve --server http://localhost:8080,http://localhost:8081 --dir tmp/peer1 --bind :9001",
            ),
            (
                "--cmd=serve -server=http://10.0.0.1:8080/v0 -dir d -bind 127.0.0.1:9001",
                "raftshare serve --server http://10.0.0.1:8080 --dir d --bind 127.0.0.1:9001",
            ),
            (
                "-cmd serve -bind :9001 -addr http://192.168.1.20:9001/ -dir tmp/peerA",
                "raftshare serve --server http://localhost:8080 --dir tmp/peerA --bind 0.0.0.0:9001 --insecure \
                 --advertise http://192.168.1.20:9001",
            ),
            (
                "-bind :9001 -addr http://localhost:9001",
                "raftshare serve --server http://localhost:8080 --dir shared --bind :9001",
            ),
            (
                "-cmd search -dir d annual report",
                "raftshare search annual report --server http://localhost:8080 --dir d",
            ),
            ("-cmd get -server http://a:1 -dir d doc.txt", "raftshare get doc.txt --server http://a:1 --dir d"),
            ("-cmd update -dir d doc.txt", "raftshare update doc.txt --server http://localhost:8080 --dir d"),
            ("-cmd delete -dir d doc.txt", "raftshare rm --local doc.txt --server http://localhost:8080 --dir d"),
            ("-cmd list -dir d -logdir l", "raftshare list --server http://localhost:8080 --dir d"),
            ("-cmd get", "raftshare get NAME --server"),
            ("-cmd fly", "the original knew serve"),
        ] {
            let answer = answered(line).unwrap_or_else(|| panic!("{line} is taken for a command of today"));
            assert!(answer.contains(expected), "{line}:\n{answer}");
        }
        assert!(answered("-cmd list -logdir l").expect("old").contains("standard error"));
        assert!(answered("-cmd serve").expect("old").contains("this machine only"));
    }

    #[test]
    fn todays_command_lines_are_left_alone() {
        for line in
            ["serve --dir d --bind :9001", "append a.txt -- -cmd", "search -o json x", "-q status", "--help", ""]
        {
            assert_eq!(answered(line), None, "{line}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in
            [("a.txt", "a.txt"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), expected);
        }
    }
}
