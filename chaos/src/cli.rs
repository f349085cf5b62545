//! The command line of `raftshare-chaos`.
//!
//! Invariant: results go to standard output, everything else to standard error; exit codes are 0 pass, 12 violation,
//! 13 failure of the harness, 14 skipped because this machine lacks something, 130 interrupted, 2 wrong usage
//! (clap's), 1 everything else (unknown, invalid).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use rand::Rng;

#[cfg(feature = "bench")]
use crate::bench;
use crate::fault::Unavailable;
use crate::report::{Report, Verdict};
use crate::runner::{self, RunOptions};
use crate::scenario::{self, find};
use crate::{interrupt, matrix, sim};

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
    /// Run a scenario again with the seed and options of an earlier run
    Replay {
        /// The report.json of its report directory
        file: PathBuf,
        /// Report directory; chaos-report/SCENARIO-SEED if absent
        #[arg(long)]
        report: Option<PathBuf>,
        /// Directory of the raftshare binaries; beside this program if absent
        #[arg(long)]
        bin_dir: Option<PathBuf>,
    },
    /// Run mixed faults for a long time
    Soak(SoakArgs),
    /// Run every scenario as often as a release demands; stopped, it goes on where it was
    Matrix(matrix::MatrixOptions),
    /// Check the history of an earlier run again, and write its report anew
    Check {
        /// The history.jsonl of a report directory
        file: PathBuf,
    },
    /// Explain every scenario
    List,
    /// Simulate whole clusters from seeds: simulated disks, network and time; a failing seed replays bit for bit
    Sim(sim::cli::SimArgs),
    /// A client of a run in a process of its own
    #[command(hide = true)]
    Client(crate::holder::HolderArgs),
    #[command(hide = true)]
    SimOne(sim::cli::SimOneArgs),
    /// Measure a cluster on this machine and show the original system's figures beside it
    #[cfg(feature = "bench")]
    Bench(Box<bench::cli::BenchArgs>),
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
    /// Go on with rounds for so long (90s, 30m), instead of so many
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
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
struct SoakArgs {
    /// How long
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Clients
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// The scenario whose rounds are repeated
    #[arg(long, default_value = "mixed")]
    mix: String,
    /// Seed of schedule and workload; drawn and printed if absent
    #[arg(long)]
    seed: Option<u64>,
    /// Report directory; chaos-report/SCENARIO-SEED if absent
    #[arg(long)]
    report: Option<PathBuf>,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// The harness could not do its work; nothing is said about the product.
#[derive(Debug, thiserror::Error)]
#[error("failure of the harness: {0}")]
struct Harness(String);

/// Parses the command line and carries it out.
pub async fn run() -> ExitCode {
    match carry_out(Cli::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            if error.downcast_ref::<Unavailable>().is_some() {
                eprintln!("{error:#}");
                return ExitCode::from(Verdict::Skipped.exit_code());
            }
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Harness>() { Verdict::Harness.exit_code() } else { 1 })
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
        Command::Replay { file, report, bin_dir } => {
            let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let earlier: Report = serde_json::from_slice(&text)
                .with_context(|| format!("{} is not the report of a run", file.display()))?;
            run_scenario(again(&earlier, report, bin_dir)).await
        }
        Command::Client(arguments) => {
            crate::holder::run(arguments).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Soak(arguments) => {
            let SoakArgs { duration, clients, mix, seed, report, bin_dir } = arguments;
            let (rounds, duration) = (1, Some(duration));
            let run = RunArgs {
                scenario: mix,
                seed,
                rounds,
                duration,
                nodes: None,
                clients,
                report,
                bin_dir,
                node_arg: Vec::new(),
            };
            run_scenario(run).await
        }
        Command::Matrix(arguments) => run_matrix(arguments).await,
        Command::List => {
            for scenario in scenario::all() {
                let runs = scenario.release;
                println!("{:<18} {}\n{}", scenario.name, scenario.summary, indent(scenario.explanation));
                let nodes = scenario.setup.nodes;
                println!("    {nodes} nodes; before a release: {} runs of {} rounds\n", runs.runs, runs.rounds);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Sim(arguments) => sim::cli::run(arguments).await,
        Command::SimOne(arguments) => sim::cli::run_one(&arguments),
        #[cfg(feature = "bench")]
        Command::Bench(arguments) => bench::cli::run(*arguments).await,
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
        duration: arguments.duration,
        nodes: arguments.nodes.unwrap_or(scenario.setup.nodes),
        clients: arguments.clients,
        bin_dir: arguments.bin_dir,
        report: arguments.report.unwrap_or_else(|| PathBuf::from(format!("chaos-report/{}-{seed}", scenario.name))),
        node_arguments: arguments.node_arg,
    };
    eprintln!("{} with seed {seed}: {}", scenario.name, scenario.summary);
    interrupt::listen()?;
    let report: Report = match runner::run(scenario, &options, |line| println!("{line}")).await {
        Ok(report) => report,
        Err(error) if error.downcast_ref::<Unavailable>().is_some() => return Err(error),
        Err(error) => return Err(Harness(format!("{error:#}")).into()),
    };
    println!("{}", report.text(&options.report));
    if report.verdict != Verdict::Pass {
        eprintln!("the nodes' data and logs are kept in {}", options.report.display());
    }
    if interrupt::asked() && report.verdict != Verdict::Violation {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// The arguments of an earlier run.
fn again(earlier: &Report, report: Option<PathBuf>, bin_dir: Option<PathBuf>) -> RunArgs {
    RunArgs {
        scenario: earlier.scenario.clone(),
        seed: Some(earlier.seed),
        rounds: earlier.rounds.max(1),
        duration: earlier.duration_s.map(Duration::from_secs),
        nodes: Some(earlier.nodes).filter(|&nodes| nodes > 0),
        clients: earlier.clients.max(1),
        report,
        bin_dir,
        node_arg: earlier.node_arguments.clone(),
    }
}

#[allow(clippy::print_stdout, reason = "the program's results")]
async fn run_matrix(options: matrix::MatrixOptions) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    match matrix::run(&options, |line| println!("{line}")).await? {
        Some(verdict) => {
            println!("{}  {}", verdict.word(), options.out.join("index.html").display());
            Ok(ExitCode::from(verdict.exit_code()))
        }
        None => {
            println!("STOPPED  the same command goes on where it was");
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
    }
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
