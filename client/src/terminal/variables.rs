//! The environment variables of all programs, and a warning about variables that none of them reads.
//!
//! Invariant: every variable has one constant here, which command lines pass to clap as `env = variables::NAME`. A test
//! compares [`ALL`] with the command lines of all programs, so neither can name a variable that the other lacks.

use std::collections::BTreeSet;

use super::Output;

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

/// A variable of an earlier version, whose shadow server no longer exists.
const SHADOW: &str = "NAPSTER_SHADOW_ADDR";

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
            "{SHADOW} is set, but there is no shadow server any more; start a learner instead: --join URL --learner"
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

    #[test]
    fn only_unknown_variables_are_reported() {
        let read = ["PATH", "RAFTSHARE_SERVER", "RAFTSHARE_BIND", "RAFTSHARE_LOG", "RAFTSHARE_ID"];
        let unread = ["RAFTSHARE_CA", "RAFTSHARE_FENCE", "RAFTSHARE_PEER_TTL", "RAFTSHARE_SERVERS"];
        let names = read.into_iter().chain(unread).map(str::to_owned);
        assert_eq!(unknown(names), unread);
    }
}
