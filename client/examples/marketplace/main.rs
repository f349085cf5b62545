//! A marketplace on raftshare, as an example of a program that uses only the client's public library.
//!
//! ```text
//! cargo build --release && cargo build --release -p client --example marketplace
//! target/release/examples/marketplace --local
//! ```
//!
//! `market/` is the market itself, and what to copy into a program of your own. `stress/` lets many buyers order at
//! once and checks the books afterwards. The rest is a command line and a menu. `docs/guide/marketplace.md` explains
//! how to use it.

mod args;
mod commands;
mod faults;
mod local;
mod market;
mod menu;
mod stress;

use clap::Parser;
use client::cluster::{IndexClient, Options};
use client::terminal::{Exit, Failure, Output, conclude, print_failure, print_usage};

use args::{Cli, Command};
use commands::Shop;
use local::LocalCluster;
use market::Market;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, std::env::args_os()).into(),
    };
    let output = Output { format: cli.output, quiet: false };
    let result = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from);
    let result = result.and_then(|runtime| {
        let result = runtime.block_on(run(cli, output));
        // A menu that was interrupted may have left a read of the standard input behind, which never ends.
        runtime.shutdown_background();
        result
    });
    match conclude(result) {
        Ok(()) => Exit::Done as u8,
        Err(failure) => {
            print_failure(output, &failure);
            failure.exit as u8
        }
    }
    .into()
}

async fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    tokio::select! {
        result = act(cli, output) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

async fn act(cli: Cli, output: Output) -> Result<(), Failure> {
    let mut local = None;
    let servers: Vec<String> = if cli.local {
        let cluster = LocalCluster::start(cli.node_program.as_deref(), cli.nodes).await?;
        local.insert(cluster).servers()
    } else {
        cli.server.split(',').map(|server| server.trim().to_owned()).filter(|server| !server.is_empty()).collect()
    };
    let client = IndexClient::new(Options::new(servers))?;
    let market = Market::enter(&client, cli.trader.clone()).await?;
    let mut shop = Shop { market, output, local };
    let command = cli.command.unwrap_or(Command::Menu);
    if cli.local && !matches!(command, Command::Stress(_) | Command::Seed) {
        shop.seed().await?;
    }
    shop.run(&command).await
}
