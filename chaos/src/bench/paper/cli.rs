//! `raftshare-chaos bench paper`: its options.
//!
//! Invariant: the exit code is 0 only if every check passes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{PARTS, PEERS, PaperOptions, QUICK_PEERS};
use crate::bench::load::Wire;

/// Measured time of a point, and the warm-up before it.
const PACE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// The same with `--quick`.
const QUICK_PACE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(500));
/// Most peers of a point.
const PEERS_MAX: u64 = 100_000;
/// Most runs.
const REPEAT_MAX: i64 = 99;

/// Arguments of `bench paper`.
#[derive(Debug, Args)]
pub struct PaperArgs {
    /// Fewer samples and fewer points
    #[arg(long)]
    quick: bool,
    /// The page: one file with every table and chart, and nothing loaded from elsewhere
    #[arg(long, value_name = "PAGE", default_value = "raftshare-paper.html")]
    out: PathBuf,
    /// Only these parts; all if absent
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(PARTS))]
    only: Vec<String>,
    /// Numbers of peers [default: 10,20,50,100,200,500,1000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=PEERS_MAX))]
    peers: Vec<u64>,
    /// Measured time of each number of peers [default: 5s]
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Time before it that is not counted [default: 1s]
    #[arg(long, value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// Runs of each figure and of each number of peers; figures are the medians of the runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPEAT_MAX))]
    repeat: u32,
    /// The wire format of core flows, follower policy and scalability; if absent both, if the nodes serve /v0
    #[arg(long)]
    wire: Option<Wire>,
    /// Directory for the figures as JSON and for the nodes' logs; a temporary one if absent
    #[arg(long)]
    report: Option<PathBuf>,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// Carries out `bench paper`.
#[allow(clippy::print_stdout, reason = "the program's results")]
pub(in crate::bench) async fn run(arguments: PaperArgs) -> anyhow::Result<ExitCode> {
    let options = arguments.options()?;
    let evaluation = super::run(&options, |line| eprintln!("{line}")).await?;
    println!("{}", evaluation.text());
    eprintln!("the page is {}", options.out.display());
    match evaluation.failed() {
        0 => Ok(ExitCode::SUCCESS),
        failed => bail!("{failed} of {} checks fail", evaluation.checks.len()),
    }
}

impl PaperArgs {
    fn options(self) -> anyhow::Result<PaperOptions> {
        let usual = if self.quick { QUICK_PACE } else { PACE };
        let pace = (self.duration.unwrap_or(usual.0), self.warm_up.unwrap_or(usual.1));
        if pace.0.is_zero() {
            bail!("--duration must be longer than 0");
        }
        let peers = match (self.peers.is_empty(), self.quick) {
            (false, _) => self.peers,
            (true, true) => QUICK_PEERS.to_vec(),
            (true, false) => PEERS.to_vec(),
        };
        let Self { quick, only, repeat, wire, out, report, bin_dir, .. } = self;
        Ok(PaperOptions { quick, only, peers, pace, repeat, wire, out, report, bin_dir })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        paper: PaperArgs,
    }

    fn parse(line: &str) -> Result<PaperArgs, String> {
        let words = std::iter::once("paper").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.paper).map_err(|error| error.to_string())
    }

    #[test]
    fn the_short_form_has_fewer_points_and_what_is_given_counts() {
        let options = |line: &str| parse(line).expect("valid").options().expect("sensible");
        assert_eq!((options("").peers.len(), options("--quick").peers), (7, vec![10, 100]));
        let given = options("--quick --peers 3 --duration 300ms --only core,policy --wire native");
        assert_eq!((given.peers, given.pace.0, given.only.len()), (vec![3], Duration::from_millis(300), 2));
        assert_eq!(given.wire, Some(Wire::Native));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, word) in [
            ("--only speed", "possible values: core,"),
            ("--wire grpc", "possible values: native, v0"),
            ("--peers 0", "0 is not in"),
            ("--repeat 0", "0 is not in"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
        let error = parse("--duration 0s").expect("valid").options().expect_err("zero").to_string();
        assert!(error.contains("longer than 0"), "{error}");
    }
}
