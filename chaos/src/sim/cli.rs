//! `raftshare-chaos sim`: many seeds, one seed, or one seed twice.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::batch::{self, in_a_process};
use super::run::run_seed;

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// Seeds to run, such as 0..200
    #[arg(long, value_parser = seeds, conflicts_with = "seed", required_unless_present = "seed")]
    seeds: Option<Range<u64>>,
    /// One seed, in this process
    #[arg(long)]
    seed: Option<u64>,
    /// Run that seed in two processes and compare everything that happened
    #[arg(long, requires = "seed")]
    twice: bool,
    /// Print the plan, every fault and the whole history of that seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Processes at the same time; as many as there are processors if absent
    #[arg(long)]
    jobs: Option<usize>,
    /// Directory of the results; a later run with the same directory goes on where this one stopped
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Arguments of `sim-one`, which `sim` starts once per seed.
#[derive(Debug, Args)]
pub struct SimOneArgs {
    /// The seed
    #[arg(long)]
    seed: u64,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("'{text}' is not A..B, for example 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(format!("'{text}' holds no seed")) } else { Ok(range) }
}

/// Carries out `sim`.
#[allow(clippy::print_stdout, reason = "the program's results")]
pub async fn run(arguments: SimArgs) -> anyhow::Result<ExitCode> {
    if let Some(seeds) = arguments.seeds {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let jobs = arguments.jobs.unwrap_or(processors);
        let batch = batch::run(seeds, jobs, arguments.report.as_deref(), |line| eprintln!("{line}")).await?;
        println!("{}", batch.text());
        return Ok(ExitCode::from(batch.exit_code()));
    }
    let Some(seed) = arguments.seed else { bail!("pass --seeds A..B or --seed N") };
    if arguments.twice {
        let (one, other) = (in_a_process(seed).await?, in_a_process(seed).await?);
        let same = one.trace == other.trace;
        println!("seed {seed}: {} and {}: {}", one.trace, other.trace, if same { "the same" } else { "DIFFERENT" });
        return Ok(ExitCode::from(if same { 0 } else { 12 }));
    }
    let outcome = run_seed(seed, arguments.trace);
    println!("{}", serde_json::to_string_pretty(&outcome)?);
    Ok(ExitCode::from(outcome.verdict.exit_code()))
}

/// Carries out `sim-one`: prints the result as one line.
#[allow(clippy::print_stdout, reason = "the program's results")]
pub fn run_one(arguments: &SimOneArgs) -> anyhow::Result<ExitCode> {
    let outcome = run_seed(arguments.seed, false);
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::from(outcome.verdict.exit_code()))
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn ranges_of_seeds() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        assert!(seeds("7..3").is_err_and(|why| why.contains("no seed")));
        assert!(seeds("7").is_err() && seeds("a..b").is_err());
    }
}
