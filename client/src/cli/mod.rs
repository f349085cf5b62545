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

use std::ffi::OsString;

use clap::Parser;

pub use exit::{Exit, Failure};
pub use output::{Format, Output, conclude, note_stdout_failure, write_stdout};
pub use session::Session;

use args::{Action, Cli, Command};

/// Environment variables that mean something to one of the binaries.
const VARIABLES: [&str; 23] = [
    "SERVER",
    "DIR",
    "BIND",
    "NAME",
    "TOKEN",
    "CA",
    "CERT",
    "KEY",
    "CONSISTENCY",
    "OUTPUT",
    "LOG",
    "LOG_FORMAT",
    "ID",
    "DATA_DIR",
    "HTTP",
    "RAFT",
    "JOIN",
    "REPLICAS",
    "LEASE_TTL",
    "LEASE_TOKEN",
    "FENCE",
    "ADVERTISE",
    "PEER_TTL",
];

/// Runs the program and answers its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(args::modernise(args)) {
        Ok(cli) => cli,
        Err(error) => {
            let output = Output { format: Format::Table, quiet: false };
            return conclude(print_usage(&error)).map_or_else(
                |failure| {
                    print_failure(output, &failure);
                    failure.exit as u8
                },
                |()| Exit::Done as u8,
            );
        }
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

/// Prints what was asked for (`--help`, `--version`) or what is wrong with the command line.
pub fn print_usage(error: &clap::Error) -> Result<(), Failure> {
    let printed = error.print();
    if error.use_stderr() {
        return Err(Failure::new(Exit::Usage, ""));
    }
    if let Err(error) = printed {
        note_stdout_failure(&error);
    }
    Ok(())
}

/// Prints a failure on the standard error; one without words has printed itself.
pub fn print_failure(output: Output, failure: &Failure) {
    if !failure.what.is_empty() {
        output.error(&failure.to_string());
    }
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
    let unknown = |name: &String| name.strip_prefix("RAFTSHARE_").is_some_and(|rest| !VARIABLES.contains(&rest));
    let mut unknown: Vec<_> = names.filter(unknown).collect();
    unknown.sort();
    unknown
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,client=debug",
        _ => "debug,client=trace",
    };
    let filter = std::env::var("RAFTSHARE_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).unwrap_or_else(|_| default.into());
    // A second start within one process keeps the first one's settings.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unknown_variables_are_reported() {
        let names = ["PATH", "RAFTSHARE_SERVER", "RAFTSHARE_SERVERS", "RAFTSHARE_LOG"].map(str::to_owned);
        assert_eq!(unknown_variables(names.into_iter()), ["RAFTSHARE_SERVERS"]);
    }
}
