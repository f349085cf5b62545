//! The command line of `raftshare`: parses it, runs one verb, prints its result, and exits with the documented code.
//!
//! ```text
//! command_line.rs  options of every verb       verbs/   one file for each verb
//! original.rs      the original's flags
//! session.rs       cluster, folder and peer    shell/   the verbs, typed into a running `serve`
//! reading.rs       consistency of reads        servers.rs   what `--discover` has learned
//!                                              edit/, fetch.rs, leases.rs, attributes.rs   what several verbs share
//! ```

mod attributes;
mod command_line;
mod edit;
mod failures;
mod fetch;
mod leases;
mod original;
mod reading;
mod servers;
mod session;
mod shell;
mod values;
mod verbs;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use self::command_line::Cli;
use self::session::Session;
use crate::terminal::{Exit, Failure, Format, Output, conclude, print_failure, print_usage, variables};

/// The clap definition of the command line, for tests that go through all verbs.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program and returns its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(failure) = original::answer(args.get(1..).unwrap_or_default()) {
        print_failure(Output { format: Format::Table, quiet: false }, &failure);
        return failure.exit as u8;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, std::env::args_os()),
    };
    start_logging(cli.common.verbose);
    let output = Output { format: cli.common.output, quiet: cli.common.quiet };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.warn(&format!("cannot start: {error}"));
            return Exit::Other as u8;
        }
    };
    variables::warn_about_unknown(output);
    let result = runtime.block_on(run_verb(cli));
    let code = match conclude(result) {
        Ok(()) => Exit::Done as u8,
        Err(failure) => {
            print_failure(output, &failure);
            failure.exit as u8
        }
    };
    // An interrupted command may have left behind a read of the standard input, which never ends.
    runtime.shutdown_background();
    code
}

async fn run_verb(cli: Cli) -> Result<(), Failure> {
    let session = Session::new(&cli.common)?;
    if cli.common.discover {
        session.discover().await;
    }
    cli.verb.run(&session).await
}

#[expect(clippy::disallowed_methods, reason = "RAFTSHARE_LOG is for tracing; no verb has it as an argument")]
fn start_logging(verbose: u8) {
    let filter = log_filter(verbose, std::env::var(variables::LOG).ok());
    // A second start within one process keeps the first one's settings.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

/// What is logged: as asked for on the command line, else as the variable says.
fn log_filter(verbose: u8, variable: Option<String>) -> EnvFilter {
    let by_flag = match verbose {
        0 => "warn",
        1 => "info,client=debug",
        _ => "debug,client=trace",
    };
    let named = variable.filter(|_| verbose == 0).and_then(|filter| EnvFilter::try_new(filter).ok());
    named.unwrap_or_else(|| by_flag.into())
}

#[cfg(test)]
mod tests;
