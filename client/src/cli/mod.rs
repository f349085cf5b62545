//! The command line of `raftshare`: parse, run one command, print its result, and exit with the documented code.
//!
//! Invariant: results go to the standard output and nothing else does; every failure is one sentence that says what is
//! wrong, followed by what to do about it.

pub mod args;
mod edit;
mod editor;
mod exit;
mod explain;
pub mod health;
mod leases;
mod output;
mod queries;
mod remove;
mod session;
mod transfer;

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{CommandFactory, Parser};

pub use exit::{Exit, Failure};
pub use output::{Format, Output, conclude, note_stdout_failure, write_stdout};
pub use session::Session;

use args::{Action, Cli, Command};

/// The filter of log lines; both programs read it.
pub const LOG_VARIABLE: &str = "RAFTSHARE_LOG";
/// Environment variables that `raftshare-node` reads. Its own tests hold this list to its command line.
pub const NODE_VARIABLES: &[&str] = &[
    "RAFTSHARE_DATA_DIR",
    "RAFTSHARE_HTTP",
    "RAFTSHARE_ID",
    "RAFTSHARE_JOIN",
    "RAFTSHARE_LEASE_TTL",
    "RAFTSHARE_LOG_FORMAT",
    "RAFTSHARE_OUTPUT",
    "RAFTSHARE_REPLICAS",
    "RAFTSHARE_SERVER",
];

/// The environment variables that a command line and its subcommands read.
pub fn variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

/// Runs the program and answers its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(args::modernise(args)) {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, std::env::args_os()),
    };
    start_logging(cli.common.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Output { format: cli.common.output, quiet: false }.warn(&format!("cannot start: {error}"));
            return Exit::Other as u8;
        }
    };
    let code = runtime.block_on(run_command(cli));
    // A command that was interrupted may have left a read of the standard input behind, which never ends.
    runtime.shutdown_background();
    code
}

async fn run_command(cli: Cli) -> u8 {
    let output = Output { format: cli.common.output, quiet: cli.common.quiet };
    warn_about_variables(output);
    let result = match Session::new(&cli.common) {
        Err(failure) => Err(failure),
        Ok(session) => match &cli.command {
            Command::Serve(serve) => crate::serve::run(&session, serve).await,
            Command::Action(action) => tokio::select! {
                result = act(&session, action) => result,
                _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
            },
        },
    };
    match conclude(result) {
        Ok(()) => Exit::Done as u8,
        Err(failure) => {
            print_failure(output, &failure);
            failure.exit as u8
        }
    }
}

/// A misspelt variable would otherwise be ignored in silence.
pub fn warn_about_variables(output: Output) {
    for unknown in unknown_variables(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())) {
        output.warn(&format!("{unknown} is set, but nothing reads it; a typing error?"));
    }
    if std::env::var_os("NAPSTER_SHADOW_ADDR").is_some() {
        output.warn("NAPSTER_SHADOW_ADDR is set, but there is no shadow any more; a learner takes its place: --join URL --learner");
    }
}

/// Prints a failure on the standard error; one without words has printed itself.
pub fn print_failure(output: Output, failure: &Failure) {
    if !failure.what.is_empty() {
        output.failure(failure);
    }
}

/// Prints what the command line's parser has to say, a help text or an error, and answers the exit code.
pub fn print_usage(error: &clap::Error, args: impl Iterator<Item = OsString>) -> u8 {
    if error.use_stderr() && asks_for_json(args) {
        let text = error.render().to_string();
        let what = text.trim().trim_start_matches("error: ");
        let json = Output { format: Format::Json, quiet: false };
        print_failure(json, &Failure::new(Exit::Usage, what));
        return Exit::Usage as u8;
    }
    let printed = error.print();
    if error.use_stderr() {
        return Exit::Usage as u8;
    }
    if let Err(error) = printed {
        note_stdout_failure(&error);
    }
    match conclude(Ok(())) {
        Ok(()) => Exit::Done as u8,
        Err(failure) => {
            print_failure(Output { format: Format::Table, quiet: false }, &failure);
            failure.exit as u8
        }
    }
}

/// Whether a command line that could not be parsed asks for JSON.
fn asks_for_json(args: impl Iterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for arg in args {
        let value_of = before == "-o" || before == "--output";
        if (value_of && arg == "json") || arg == "-ojson" || arg == "-o=json" || arg == "--output=json" {
            return true;
        }
        before = arg;
    }
    false
}

/// Runs a command of the command line or of the shell.
pub async fn act(session: &Session, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Search(search) => queries::search(session, search).await,
        Action::Get(get) => transfer::get(session, get).await,
        Action::List(list) => queries::list(session, list).await,
        Action::Update(update) => edit::update(session, update).await,
        Action::Append(append) => edit::append(session, append).await,
        Action::Rm(remove) => remove::remove(session, remove).await,
        Action::Lease(lease) => leases::run(session, lease).await,
        Action::Peers { name } => queries::peers(session, name.as_ref()).await,
        Action::Status => queries::status(session).await,
        Action::Why { name } => queries::why(session, name).await,
    }
}

fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = variables(&Cli::command());
    let is_known = |name: &str| name == LOG_VARIABLE || NODE_VARIABLES.contains(&name) || known.contains(name);
    let mut unknown: Vec<_> = names.filter(|name| name.starts_with("RAFTSHARE_") && !is_known(name)).collect();
    unknown.sort();
    unknown
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,client=debug",
        _ => "debug,client=trace",
    };
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).unwrap_or_else(|_| default.into());
    // A second start within one process keeps the first one's settings.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_in_every_spelling() {
        for (args, expected) in [
            ("x -o json", true),
            ("x --output=json y", true),
            ("x -ojson", true),
            ("x -o table json", false),
            ("json", false),
        ] {
            assert_eq!(asks_for_json(args.split(' ').map(OsString::from)), expected, "{args}");
        }
    }

    #[test]
    fn only_unknown_variables_are_reported() {
        let read = ["PATH", "RAFTSHARE_SERVER", "RAFTSHARE_BIND", "RAFTSHARE_LOG", "RAFTSHARE_ID"];
        let unread = ["RAFTSHARE_CA", "RAFTSHARE_FENCE", "RAFTSHARE_PEER_TTL", "RAFTSHARE_SERVERS"];
        let names = read.into_iter().chain(unread).map(str::to_owned);
        assert_eq!(unknown_variables(names), unread);
    }
}
