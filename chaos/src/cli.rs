//! The command line of `raftshare-chaos`.
//!
//! Invariant: results go to standard output, everything else to standard error; exit codes are 0 pass, 12 violation, 2 wrong
//! usage (clap's), 1 everything else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Parser, Subcommand};
use rand::Rng;

use crate::bench;
use crate::report::{Report, Verdict};
use crate::runner::{self, RunOptions};
use crate::scenario::{self, find};

/// Starts real index nodes, breaks them on purpose, and checks everything that clients saw.
#[derive(Debug, Parser)]
#[command(name = "raftshare-chaos", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario; see `list`
    Run(RunArgs),
    /// Check the history of an earlier run again
    Check {
        /// The history.jsonl of a report directory
        file: PathBuf,
    },
    /// Explain every scenario
    List,
    /// Measure a cluster on this machine and show the original system's figures beside it
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Name of the scenario
    scenario: String,
    /// Seed of schedule and workload; drawn and printed if absent
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Index nodes; as many as the scenario is made for if absent
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,
    /// Clients
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Report directory; chaos-report/SCENARIO-SEED if absent
    #[arg(long)]
    report: Option<PathBuf>,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// One more argument for every node, such as --node-arg=--snapshot-every=100; may be repeated
    #[arg(long)]
    node_arg: Vec<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// A short form of every measurement
    #[arg(long)]
    quick: bool,
    /// Only this measurement; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Directory for bench.json and the nodes' logs; a temporary one if absent
    #[arg(long)]
    report: Option<PathBuf>,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// Parses the command line and carries it out.
pub async fn run() -> ExitCode {
    match carry_out(Cli::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

#[allow(clippy::print_stdout, reason = "the program's results")]
async fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => run_scenario(arguments).await,
        Command::Check { file } => {
            let report = runner::check(&file)?;
            let directory = file.parent().map(PathBuf::from).unwrap_or_default();
            println!("{}", report.text(&directory));
            Ok(ExitCode::from(report.verdict.exit_code()))
        }
        Command::List => {
            for scenario in scenario::all() {
                println!("{:<16} {}\n{}\n", scenario.name, scenario.summary, indent(scenario.explanation));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench(arguments) => {
            let options = bench::BenchOptions {
                quick: arguments.quick,
                only: arguments.only,
                report: arguments.report,
                bin_dir: arguments.bin_dir,
            };
            let results = bench::run(&options, |line| eprintln!("{line}")).await?;
            println!("{}", bench::table(&results));
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[allow(clippy::print_stdout, reason = "the program's results")]
async fn run_scenario(arguments: RunArgs) -> anyhow::Result<ExitCode> {
    let names = || scenario::all().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let scenario = find(&arguments.scenario)
        .ok_or_else(|| anyhow!("there is no scenario {:?}; there are {}", arguments.scenario, names()))?;
    if arguments.clients == 0 {
        bail!("--clients must be at least 1");
    }
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let options = RunOptions {
        seed,
        rounds: arguments.rounds,
        nodes: arguments.nodes.unwrap_or(scenario.setup.nodes),
        clients: arguments.clients,
        bin_dir: arguments.bin_dir,
        report: arguments.report.unwrap_or_else(|| PathBuf::from(format!("chaos-report/{}-{seed}", scenario.name))),
        node_arguments: arguments.node_arg,
    };
    eprintln!("{} with seed {seed}: {}", scenario.name, scenario.summary);
    let report: Report = runner::run(scenario, &options, |line| println!("{line}")).await?;
    println!("{}", report.text(&options.report));
    if report.verdict != Verdict::Pass {
        eprintln!("the nodes' data and logs are kept in {}", options.report.display());
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn indent(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| line.len() + word.len() > 92);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "    " } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn long_texts_are_wrapped() {
        let text = indent(&"word ".repeat(60));
        assert!(text.lines().count() > 2);
        assert!(text.lines().all(|line| line.len() <= 100 && line.starts_with("    ")));
    }
}
