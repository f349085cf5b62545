//! The command line of `raftshare-node`: parse it, run the command, and end with its exit code.

mod args;
pub mod dev;
pub mod operate;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use client::cluster::NewNode;
use client::terminal::{self, Exit, Failure, Format, Output, print_failure, print_usage, variables};

use self::args::{Cli, Command, TargetArgs, VerifyArgs};
use self::operate::Change;
use crate::start;
use crate::sys::logging::{LogFormat, Logging};

/// The command line as its parser sees it, for tests that go through all commands.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let plain = Output { format: Format::Table, quiet: false };
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(failure) = variables::start_like_original(&args) {
        print_failure(plain, &failure);
        return ExitCode::from(failure.exit as u8);
    }
    let cli = match Cli::try_parse_from(variables::with_original(args, plain)) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(print_usage(&error, std::env::args_os())),
    };
    let output = cli.command.format();
    let (filter, format) = match &cli.command {
        Command::Start(args) => ("info,openraft=error", args.log_format),
        _ => ("warn", LogFormat::Text),
    };
    let logging = Logging::start(filter, format);
    variables::warn_about_unknown(plain);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&logging, output, Err(operate::failure(&error.into()))),
    };
    let starts = matches!(cli.command, Command::Start(_));
    let outcome = runtime.block_on(run(cli.command));
    // Blocking work that still runs, such as a snapshot, must not delay the exit of a failed node (W4).
    runtime.shutdown_timeout(Duration::from_millis(500));
    // A node prints no result, so it does no harm if its standard output is gone.
    end(&logging, output, if starts { outcome } else { terminal::conclude(outcome) })
}

/// Says why the program ends, through the log: a standard error that nobody reads must not delay the exit.
fn end(logging: &Logging, format: Format, outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if !failure.what.is_empty() {
        logging.say(&Output { format, quiet: false }.words_of(&failure));
    }
    ExitCode::from(failure.exit as u8)
}

async fn run(command: Command) -> Result<(), Failure> {
    let own = |outcome: anyhow::Result<()>| outcome.map_err(|error| operate::failure(&error));
    match command {
        Command::Dev(args) => own(dev::run(args).await),
        Command::Start(args) => {
            let config = args.into_config().map_err(|reason| Failure::new(Exit::Usage, reason))?;
            own(start::run(config, operate::stop_signal()).await)
        }
        command => operate_on(command).await,
    }
}

/// The commands that talk to a running cluster; each ends within its timeout.
async fn operate_on(command: Command) -> Result<(), Failure> {
    let target = match &command {
        Command::Replace(_) | Command::Backup(_) | Command::Verify(_) => command.args().map(TargetArgs::long_target),
        Command::Promote(args) => {
            let mut target = args.target.target();
            target.timeout += args.wait;
            Some(target)
        }
        _ => command.args().map(TargetArgs::target),
    };
    let Some(target) = target else { return Ok(()) };
    let change = async |change| operate::change(&target, change).await;
    target
        .within(async {
            match command {
                Command::Dev(_) | Command::Start(_) => Ok(()),
                Command::Init(args) => operate::init(&target, &args.members).await,
                Command::Status(_) => operate::status(&target).await,
                Command::Members(_) => operate::members(&target).await,
                Command::Promote(args) => change(Change::Promote(args.id, args.wait)).await,
                Command::Demote(args) => change(Change::Demote(args.id)).await,
                Command::Remove(args) => change(Change::Remove(args.id)).await,
                Command::TransferLeader(args) => change(Change::Transfer(args.id)).await,
                Command::Snapshot(_) => change(Change::Snapshot).await,
                Command::Replace(args) => {
                    crate::config::check_address(&args.addr).map_err(|reason| Failure::new(Exit::Usage, reason))?;
                    operate::replace(&target, args.old, &NewNode { id: args.new, address: args.addr }).await
                }
                Command::Backup(args) => operate::backup(&target, &args.file).await,
                Command::Verify(VerifyArgs { file: Some(file), .. }) => operate::verify_file(&target, &file),
                Command::Verify(_) => operate::verify_cluster(&target).await,
            }
        })
        .await
}

#[cfg(test)]
mod tests;
